"""Traces: from the client's `traceparent` (W3C) to the model, told to any receiver of OTLP over HTTP.

Own code, of what is needed: OpenTelemetry's SDK would cost each request some 100 us of spans that nobody asked for. Here a request
that is not sampled costs one look at its header; a sampled one some microseconds a span. Spans go into a bounded buffer, a
thread sends them as OTLP's JSON; what finds no room or no receiver is dropped and counted.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import orjson

from mainspring.core import errors, settings

if TYPE_CHECKING:
    import httpx

__all__ = [
    "Exporter",
    "Receiver",
    "Trace",
    "Tracer",
    "current_trace_id",
    "encode",
    "grpc_attributes",
    "grpc_name",
    "is_sampled",
    "request_attributes",
    "span",
]

_LOG: Final = logging.getLogger("mainspring.serving")
_TRACEPARENT: Final = re.compile(r"^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$")
_SAMPLED: Final = 0x01
SERVER, INTERNAL = 2, 1
_ERROR: Final = 2

#: Of the v2 protocol, as calls name it.
GRPC_SERVICE: Final = "inference.GRPCInferenceService"

MAX_WAITING_SPANS: Final = 8192
SEND_SECONDS: Final = 2.0

Value: TypeAlias = str | int | float | bool
#: Takes one OTLP JSON document. Errors: OSError, or one of ours.
Send: TypeAlias = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class Span:
    """One piece of work; times are Unix nanoseconds."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: int
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Value]
    error: str = ""


@dataclass(frozen=True, slots=True)
class Trace:
    """What a request's spans belong to. `exporter` is None where it is not sampled: then its id is for logs only."""

    trace_id: str
    parent_id: str
    span_id: str
    exporter: Exporter | None
    start_ns: int


_NOTHING: Final = contextlib.nullcontext()
_CURRENT: Final[contextvars.ContextVar[Trace | None]] = contextvars.ContextVar("trace", default=None)


def current_trace_id() -> str:
    """Of the request at work; "" if its client sent none and it is not sampled."""
    trace = _CURRENT.get()
    return "" if trace is None else trace.trace_id


def span(name: str, /, **attributes: Value) -> contextlib.AbstractContextManager[None]:
    """What is done within is a span of the request at work, if that is sampled; one that raises is marked so."""
    trace = _CURRENT.get()
    if trace is None or trace.exporter is None:
        return _NOTHING
    return _timed(trace, trace.exporter, name, attributes)


def is_sampled() -> bool:
    """Whether the spans of the request at work are kept: what they would say need not be put together else."""
    trace = _CURRENT.get()
    return trace is not None and trace.exporter is not None


@contextlib.contextmanager
def _timed(trace: Trace, exporter: Exporter, name: str, attributes: Mapping[str, Value]) -> Iterator[None]:
    began, error = time.time_ns(), ""
    try:
        yield
    except BaseException as raised:
        error = type(raised).__name__
        raise
    finally:
        ended = time.time_ns()
        span_id = _new_id(16)
        exporter.add(
            Span(trace.trace_id, span_id, trace.span_id, name, INTERNAL, began, ended, attributes, error)
        )


def request_attributes(method: str, path: str, status: int, request_id: str, caller: str) -> dict[str, Value]:
    """What a request's span says, whoever answered it."""
    return {
        "http.request.method": method,
        "url.path": path,
        "http.response.status_code": status,
        "mainspring.request_id": request_id,
        "mainspring.caller": caller,
    }


def grpc_name(method: str) -> str:
    """Of a call's span."""
    return f"{GRPC_SERVICE.rpartition('.')[2]}/{method}"


def grpc_attributes(method: str, code: int, request_id: str, caller: str) -> dict[str, Value]:
    """What a call's span says, whoever answered it."""
    return {
        "rpc.system": "grpc",
        "rpc.service": GRPC_SERVICE,
        "rpc.method": method,
        "rpc.grpc.status_code": code,
        "mainspring.request_id": request_id,
        "mainspring.caller": caller,
    }


class Tracer:
    """Begins and ends the spans of requests. Thread-safe."""

    def __init__(self, exporter: Exporter | None, share: float) -> None:
        """`share` of the requests is sampled whose client has not decided it. `exporter` None: ids are for logs only."""
        self._exporter, self._share = exporter, share

    def begin(self, traceparent: str | None) -> None:
        """Make the request the one at work. A header that is not W3C's is as good as none."""
        if traceparent is None and self._exporter is None:
            if _CURRENT.get() is not None:
                _CURRENT.set(None)
            return
        trace_id, parent_id, decided = _read(traceparent)
        if self._exporter is None:
            _CURRENT.set(Trace(trace_id, parent_id, "", None, 0) if trace_id else None)
            return
        if decided is None:
            decided = random.random() < self._share
        if not decided and not trace_id:
            _CURRENT.set(None)
            return
        exporter = self._exporter if decided else None
        _CURRENT.set(Trace(trace_id or _new_id(32), parent_id, _new_id(16), exporter, time.time_ns()))

    def end(self, name: str, attributes: Mapping[str, Value], error: str = "") -> None:
        """The request was answered. `error` is its code where the mistake is ours: a caller's is no error of the server."""
        trace = _CURRENT.get()
        if trace is not None and trace.exporter is not None:
            trace.exporter.add(
                Span(
                    trace.trace_id,
                    trace.span_id,
                    trace.parent_id,
                    name,
                    SERVER,
                    trace.start_ns,
                    time.time_ns(),
                    attributes,
                    error,
                )
            )


class Exporter:
    """Sends spans. Thread-safe; `close` sends what waits and ends its thread."""

    def __init__(self, send: Send, version: str, *, every_seconds: float = SEND_SECONDS) -> None:
        self._send, self._version, self._every_seconds = send, version, every_seconds
        self._lock = threading.Lock()
        self._waiting: list[Span] = []
        self._bring: Callable[[], tuple[list[Span], int]] = lambda: ([], 0)
        self.sent = 0
        self.dropped = 0
        self._is_away = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)
        self._thread.start()

    def add(self, one: Span) -> None:
        """Keep a span to send, or count it as dropped."""
        with self._lock:
            if len(self._waiting) >= MAX_WAITING_SPANS:
                self.dropped += 1
            else:
                self._waiting.append(one)

    def brings(self, bring: Callable[[], tuple[list[Span], int]]) -> None:
        """Take the spans of who answers without Python, too: `bring` gives those that wait there, and counts the dropped."""
        self._bring = bring

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self.flush()

    def flush(self) -> None:
        """Send what waits, once: traces are worth no second try."""
        brought, dropped = self._bring()
        with self._lock:
            taken, self._waiting = self._waiting + brought, []
            self.dropped += dropped
        if not taken:
            return
        try:
            self._send(encode(taken, self._version))
        except (errors.MainspringError, OSError) as error:
            with self._lock:
                self.dropped += len(taken)
            if not self._is_away:
                _LOG.warning("traces are not received: %s", error)
            self._is_away = True
        else:
            self.sent += len(taken)
            self._is_away = False

    def _run(self) -> None:
        while not self._stop.wait(self._every_seconds):
            try:
                self.flush()
            except Exception:  # noqa: BLE001 - the edge of its thread: the next spans must still be sent
                _LOG.exception("sending traces failed")


class Receiver:
    """Posts to `serving.trace_endpoint`. Used by one thread at a time; `close` it."""

    def __init__(self, serving: settings.ServingSettings) -> None:
        """Errors: InvalidSettings for headers that are none."""
        self._endpoint = serving.trace_endpoint
        self._headers = {"content-type": "application/json", **_headers(serving.trace_headers)}
        self._client: httpx.Client | None = None

    def __call__(self, document: bytes) -> None:
        """Errors: DependencyDown."""
        import httpx  # with the first spans: the start is not for it

        if self._client is None:
            # One for all: making it reads the system's certificates, some 30 ms that hold the interpreter.
            self._client = httpx.Client(headers=self._headers, timeout=5.0, trust_env=False)
        try:
            answer = self._client.post(self._endpoint, content=document)
        except httpx.HTTPError as error:
            raise errors.DependencyDown(
                f"`{self._endpoint}` does not answer: {error}; look at `serving.trace_endpoint`",
                name="traces",
            ) from error
        if not answer.is_success:
            raise errors.DependencyDown(
                f"`{self._endpoint}` answered {answer.status_code}: {answer.text[:200]}; look at"
                " `serving.trace_endpoint` and `serving.trace_headers`",
                name="traces",
            )

    def close(self) -> None:
        if self._client is not None:
            self._client.close()


def encode(spans: Sequence[Span], version: str) -> bytes:
    """OTLP's JSON (ExportTraceServiceRequest)."""
    resource = {"service.name": "mainspring-serving", "service.version": version}
    scope = {"name": "mainspring.serving", "version": version}
    return orjson.dumps(
        {
            "resourceSpans": [
                {
                    "resource": {"attributes": _attributes(resource)},
                    "scopeSpans": [{"scope": scope, "spans": [_span(one) for one in spans]}],
                }
            ]
        }
    )


def _span(one: Span) -> dict[str, Any]:
    document: dict[str, Any] = {
        "traceId": one.trace_id,
        "spanId": one.span_id,
        "name": one.name,
        "kind": one.kind,
        "startTimeUnixNano": str(one.start_ns),
        "endTimeUnixNano": str(one.end_ns),
        "attributes": _attributes(one.attributes),
    }
    if one.parent_id:
        document["parentSpanId"] = one.parent_id
    if one.error:
        document["status"] = {"code": _ERROR, "message": one.error}
    return document


def _attributes(values: Mapping[str, Value]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in values.items()]


def _value(value: Value) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    return {"doubleValue": value} if isinstance(value, float) else {"stringValue": value}


def _read(traceparent: str | None) -> tuple[str, str, bool | None]:
    """Trace, parent and whether the client samples it; empty and None for a header that says nothing."""
    found = _TRACEPARENT.match(traceparent) if traceparent is not None else None
    if found is None:
        return "", "", None
    version, trace_id, parent_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more) or not int(trace_id, 16) or not int(parent_id, 16):
        return "", "", None
    return trace_id, parent_id, bool(int(flags, 16) & _SAMPLED)


def _new_id(digits: int) -> str:
    # Not a secret: the fast generator will do. Never all zero, which means none.
    return f"{random.getrandbits(digits * 4) or 1:0{digits}x}"


def _headers(text: str) -> dict[str, str]:
    headers = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, is_there, value = part.partition("=")
        if not is_there or not name.strip():
            raise errors.InvalidSettings(
                "`serving.trace_headers` is not usable; write `name=value,name=value`",
                problems=("serving.trace_headers",),
            )
        headers[name.strip()] = value.strip()
    return headers
