"""The native front: HTTP/1.1 before the Python app, without Python.

Threads of its own answer the v2 protocol's infer requests for native models, predictions of endpoints that are native
throughout, and reads of features in native tables, and
pass every other request, byte for byte, over a Unix socket to the app behind them; and so they do with a request of those
that is wrong or unusual, so that every refusal is worded by the app. See docs/adr/0014-native-front.md and
docs/adr/0016-feature-reads-in-the-front.md and docs/adr/0024-predictions-in-the-front.md.

    >>> import numpy as np
    >>> from mainspring.native import front, mlp
    >>> model = mlp.make(2, [mlp.Layer(np.ones((1, 2), np.float32))])
    >>> sockets = front.listen("127.0.0.1", 0, threads=1)
    >>> with front.Front(sockets, front.Options(upstream="/run/app.sock")) as server:
    ...     server.set_models([front.Model("sum", "1", model, input="x", output="y", max_rows=64)])
    ...     server.counts()["connections"]
    0
"""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self, final

from mainspring.native import _native, limits, status
from mainspring.native.front_parts import (
    LATENCY_EDGES,
    ROW_EDGES,
    Bundle,
    Endpoint,
    Key,
    Lookup,
    Model,
    ModelCounts,
    Policy,
    Predictions,
    Service,
    Span,
    SpanPart,
    Use,
    View,
)

__all__ = [
    "LATENCY_EDGES",
    "ROW_EDGES",
    "Bundle",
    "Endpoint",
    "Front",
    "Key",
    "Lookup",
    "Model",
    "ModelCounts",
    "Options",
    "Policy",
    "Predictions",
    "Service",
    "Span",
    "SpanPart",
    "Use",
    "View",
    "goes_to_canary",
    "listen",
    "why_no_grpc",
]


@dataclass(frozen=True)
class Options:
    """Limits of a front. Times are in seconds, sizes in bytes."""

    upstream: str
    """Path of the app's Unix socket."""
    request_id: str = "front"
    """What the request ids made here begin with: 1 to 64 of letters, digits, `.`, `_`, `:` and `-`."""
    max_connections: int = 4096
    """Of all threads at once; more are told to come back."""
    max_pipelined: int = 64
    """Requests of one connection that are answered before others have their turn."""
    max_head_bytes: int = 16 << 10
    """Of a request's line and fields."""
    max_body_bytes: int = 4 << 20
    """Of a request that is answered here; a larger one streams to the app."""
    max_held_bytes: int = 256 << 20
    """Of such bodies at once; beyond it they stream, too."""
    idle_seconds: float = 75.0
    """A connection without a request is closed after this."""
    head_seconds: float = 10.0
    """For a whole head, from its first byte."""
    body_seconds: float = 30.0
    """Without a byte of a body coming."""
    write_seconds: float = 30.0
    """Without a byte of an answer going."""
    answer_seconds: float = 300.0
    """Without a byte of the app's answer coming."""
    grpc_upstream: str = ""
    """Path of the Unix socket of the app's gRPC, where there are sockets for gRPC."""
    max_calls: int = 1024
    """gRPC calls of one connection at once."""
    grpc_idle_seconds: float = 600.0
    """A gRPC connection without a call is told to go after this; clients keep theirs longer than those of HTTP/1.1."""


def listen(host: str, port: int, *, threads: int, backlog: int = 1024) -> list[socket.socket]:
    """A socket for each thread, all on one port, among which the kernel shares new connections out.

    Errors: OSError; EADDRINUSE if anybody has the port, for the first of them is bound without sharing.
    """
    if not 1 <= threads <= 64:
        raise status.NativeError("bad_spec", f"`threads` is {threads}; start 1 to 64")
    sockets: list[socket.socket] = []
    try:
        ((family, _, _, _, address), *_) = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for _ in range(threads):
            one = socket.socket(family, socket.SOCK_STREAM)
            sockets.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if len(sockets) > 1:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            one.bind(address)
            one.setblocking(False)
            if len(sockets) == 1 and threads > 1:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            address = one.getsockname()  # the system's choice for port 0
        for one in sockets:
            one.listen(backlog)
    except BaseException:
        for one in sockets:
            one.close()
        raise
    return sockets


@final
class Front:
    """Serves from construction until :meth:`stop`; a `with` stops it. Thread-safe; counts may be read at any time.

    Errors: NativeError `bad_spec` for options that make no sense, `io` if the system gives no thread.
    Threads: one for each socket, which never take the GIL.
    """

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        options: Options,
        *,
        grpc_listeners: Sequence[socket.socket] = (),
    ) -> None:
        """`grpc_listeners`: none, or as many again, whose clients speak gRPC. All of them are closed by :meth:`stop`."""
        _check(options)
        self._listeners = [*listeners, *grpc_listeners]
        self._front = _native.Front(
            [one.fileno() for one in listeners],
            dataclasses.asdict(options),
            [one.fileno() for one in grpc_listeners],
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listeners[0].getsockname()[1])

    def set_models(self, models: Sequence[Model]) -> None:
        """Answer these from now on, and no others; every request sees the old ones or the new ones.

        Errors: NativeError `bad_spec`, `bad_dtype` for a model that only the app can serve; nothing changes then.
        """
        self._front.set_models([model.written() for model in models])

    def set_views(self, views: Sequence[View], *, max_rows: int, services: Sequence[Service] = ()) -> None:
        """Answer reads of these from now on, and of no others, at `/v1/features:read` and `/get-online-features`.

        By feature, and by the name of a service; one with a view that is not among them is the app's.

        Every request sees the old ones or the new ones; without any, reads are the app's. A request of more than
        `max_rows` is for the app to refuse. The tables are held on to until the next call, and by who reads them then.
        Errors: NativeError `bad_spec`; nothing changes then.
        """
        self._front.set_views(
            [(view.name, view.table.native) for view in views],
            [(service.name, list(service.features)) for service in services],
            max_rows,
        )

    def set_guard(
        self, keys: Sequence[Key] = (), *, needs_key: bool = False, limited_by: limits.Limits | None = None
    ) -> None:
        """Answer these callers from now on; every request whose head is read after the return meets these keys.

        Everybody else is the app's to judge: who shows another key or none where `needs_key`, a token, a key without the
        scope, more than one of them, and who is beyond the limits, from which nothing is taken then. Without a demand
        and without limits in force nobody is asked. Who shows nothing counts as `anonymous`; models count by their name,
        reads as `features`.
        Errors: NativeError `bad_spec`; nothing changes then.
        """
        self._front.set_guard(
            [
                (k.id, k.caller, k.secret_sha256, k.may_predict, k.may_read, k.expires_us, k.project)
                for k in keys
            ],
            None if limited_by is None else limited_by.native,
            needs_key,
        )

    def set_endpoints(self, endpoints: Sequence[Endpoint]) -> list[str]:
        """Answer predictions of these from now on, and of no others, at `/v1/endpoints/NAME:predict`; and infer requests at
        `/v2/models/NAME[/versions/DIGEST]/infer` of those that infer.

        Every request sees the old ones or the new ones. Returns what is wrong with those whose parts do not belong together:
        a table with other keys, an input that nothing gives, a canary that asks for other fields; they are the app's.
        Errors: NativeError `bad_spec`, `bad_dtype` for a name or a part that only the app can serve; nothing changes then.
        """
        return self._front.set_endpoints([endpoint.written() for endpoint in endpoints])

    def drain_predictions(self) -> list[Predictions]:
        """What was answered since the last call, also by endpoints that are no longer answered here.

        Every answer is in one drain, and in one only. Until there is one 1,024 callers are told apart by each thread; more
        are the app's to answer.
        """
        drained = [Predictions(*sums) for sums in self._front.drain_predictions()]
        return [dataclasses.replace(one, used=[Use(*use) for use in one.used]) for one in drained]

    def predict_counts(self) -> list[ModelCounts]:
        """Of predictions, by endpoint, of every one that was ever set; `infer_nanos` is look-up, transform and model."""
        return [ModelCounts(*counts) for counts in self._front.predict_counts()]

    def set_traces(self, share: float, *, max_waiting: int) -> None:
        """Keep a span of each answer from now on that is sampled: as its client says in `traceparent`, else a `share`.

        At most `max_waiting` requests wait for :meth:`drain_spans`; what is more is dropped and counted. Who shows a
        credential that is not surely known is the app's where he is sampled: a span names its caller.
        Errors: NativeError `bad_spec`.
        """
        if not 0 <= share <= 1 or not 1 <= max_waiting <= 1 << 20:
            raise status.NativeError(
                "bad_spec",
                f"`share` is {share} and `max_waiting` {max_waiting}; expected 0 to 1, and 1 to {1 << 20}",
            )
        self._front.set_traces(share, max_waiting)

    def drain_spans(self) -> tuple[list[Span], int]:
        """Take what waits, and how many spans were dropped since the last time; also after :meth:`stop`."""
        spans, dropped = self._front.drain_spans()
        made = [Span(*span) for span in spans]
        return [one._replace(parts=[SpanPart(*part) for part in one.parts]) for one in made], dropped

    def model_counts(self) -> list[ModelCounts]:
        """Of every version that was ever set, by name and version."""
        return [ModelCounts(*counts) for counts in self._front.model_counts()]

    def read_counts(self) -> ModelCounts:
        """Of reads of features; `infer_nanos` is the tables' part."""
        return ModelCounts(*self._front.read_counts())

    def counts(self) -> dict[str, int]:
        """`accepted` connections; requests `answered` here, `passed` on, `refused` by the front, `timed_out`;
        `upstream_failures` of the app; `connections` and `held_bytes` are now."""
        return self._front.counts()

    def stop(self, drain_seconds: float = 0.0) -> None:
        """Take no more connections, let requests end for so long, close the rest. Again: no change.

        Idle connections have half a second of it to bring a last request, so that callers in a loop lose none.
        """
        self._front.stop(drain_seconds)
        for one in self._listeners:
            one.close()


def why_no_grpc() -> str:
    """Why this build, or this machine, has no gRPC in the front, and what to do about it; "": it has."""
    return _native.Front.why_no_grpc()


def goes_to_canary(endpoint: str, key: str, percent: int) -> bool:
    """Whether a prediction that `key` sticks goes to the endpoint's canary, which has `percent` of 100 of them."""
    return _native.Front.goes_to_canary(endpoint, key, percent)


def _check(options: Options) -> None:
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if isinstance(value, int | float) and not 0 < value < 1 << 40:
            raise status.NativeError("bad_spec", f"`{field.name}` is {value}; expected a number above 0")
    plain = options.request_id.isascii() and all(c.isalnum() or c in "._:-" for c in options.request_id)
    if not plain or not 1 <= len(options.request_id) <= 64:
        raise status.NativeError(
            "bad_spec",
            f"`request_id` is `{options.request_id[:80]}`; use 1 to 64 letters, digits, `.`, `_`, `:`, `-`",
        )
