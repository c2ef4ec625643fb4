"""The native front before the app: which models, endpoints and features it answers, on which sockets, and what it counted.

It takes the port; the app listens on a Unix socket behind it, in a folder that only this user may enter. See
docs/adr/0014-native-front.md, docs/adr/0016-feature-reads-in-the-front.md, docs/adr/0023-the-front-knows-callers.md and
docs/adr/0024-predictions-in-the-front.md.
"""

from __future__ import annotations

import logging
import pathlib
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from mainspring.core import api_keys, errors, ids, otlp, ports, settings, traces
from mainspring.core.contracts import access
from mainspring.core.features import online, schema
from mainspring.native import front, status
from mainspring.serving import (
    bundles,
    endpoints,
    native_endpoints,
    native_spans,
    stats,
    traffic,
    usage,
)
from mainspring.serving.access import guard, masking
from mainspring.serving.models import book, native_model, repository

_LOG: Final = logging.getLogger("mainspring.serving")

#: The app's own limit on bodies is higher: what is larger streams through to it.
_COLLECTED_BYTES: Final = 4 << 20

#: Requests whose spans wait in it; each has two at most.
_MAX_WAITING: Final = otlp.MAX_WAITING_SPANS // 2


class NativeFront:
    """One front, or none: `create_app` tells it models and features, `main` starts it if it is wanted. Thread-safe."""

    def __init__(self, serving: settings.ServingSettings) -> None:
        self._settings = serving
        self._models: tuple[front.Model, ...] = ()
        self._views: tuple[front.View, ...] = ()
        self._services: tuple[front.Service, ...] = ()
        self._endpoints: tuple[front.Endpoint, ...] = ()
        self._has_views = False
        self._running: front.Front | None = None
        self._folder: pathlib.Path | None = None
        self._app_socket = ""
        self._grpc_socket = ""
        #: Held while models or views are looked up and set, so that the last ones set are the newest.
        self._choosing = threading.Lock()
        #: What looks again where there is a new table or bundle.
        self._updates: list[Callable[[], None]] = []
        self._books: tuple[stats.StatsBook, usage.Meter | None] | None = None
        #: By digest of bundles that answered here: whom their use is charged to.
        self._projects: dict[str, str] = {}
        #: Held while what was drained is put into the books: who waits for it finds all of it there.
        self._draining = threading.Lock()
        self._guard: guard.Guard | None = None
        self._keys: api_keys.KeyRing | None = None
        self._is_traced = False

    @property
    def is_wanted(self) -> bool:
        """As `serving.front` says; by itself where there is a model or a view that it answers. Never with TLS, which it has not."""
        if self._settings.tls_certificate:
            return False
        has_work = bool(self._models) or bool(self._endpoints) or self._has_views
        return self._settings.front == "on" or (self._settings.front == "auto" and has_work)

    def guard(self, guarded: guard.Guard, keys: api_keys.KeyRing) -> None:
        """Answer only who may ask, by these keys, and take from the guard's limits, now and after every change."""
        self._guard, self._keys = guarded, keys

        def update() -> None:
            with self._choosing:
                self._set_guard()

        keys.on_change(update)

    def follow(self, models: repository.Repository) -> None:
        """Answer for the native models that are loaded, now and after every change."""

        def update() -> None:
            with self._choosing:
                found = [m.for_front() for m in models.loaded() if isinstance(m, native_model.NativeModel)]
                chosen = () if self._passes() else tuple(m for m in found if m is not None)
                self._models = chosen
                if self._running is not None:
                    self._running.set_models(chosen)

        models.on_change(update)

    def follow_features(
        self, features: ports.OnlineFeatures, shelf: bundles.BundleShelf, masked: masking.Masking
    ) -> None:
        """Answer reads of views that have a native table, and of services, now and as soon as there is another.

        Not where a share of the reads is recorded: that is the app's to write. Nor of views with a field that is not for
        everybody: whoever asks for one is passed on to the app, which masks.
        """
        if not isinstance(features, online.OnlineStore) or self._settings.record_reads:
            return
        store = features
        self._has_views = bool(store.views()) and not self._settings.log_requests

        def update() -> None:
            with self._choosing:
                tables = {} if self._passes() else store.tables()
                hidden = masked.views
                self._views = tuple(
                    front.View(name, table) for name, table in tables.items() if name not in hidden
                )
                self._services = tuple(_service(service) for service in shelf.services())
                self._set_views()

        self._updates.append(update)
        shelf.on_change(self._look_again)
        store.on_change(self._look_again)
        masked.on_change(self._look_again)

    def follow_endpoints(
        self,
        served: endpoints.Endpoints,
        tables: traffic.TrafficStore,
        shelf: bundles.BundleShelf,
        features: ports.OnlineFeatures,
        models: repository.Repository,
        book: stats.StatsBook,
        meter: usage.Meter | None,
    ) -> None:
        """Answer predictions of endpoints that are native throughout, and infer requests of those that are `models`, now and
        after every change of their traffic.

        What it answered is in `book` and `meter` whenever they are looked at. After :meth:`follow_features`, which tells
        of new tables. Not where reads are recorded, or bundles make room for others by when they were asked last: what it
        answers the shelf does not see. `tables` are this process's to write: a change by another one is not seen here.
        """
        if not isinstance(features, online.OnlineStore) or self._settings.record_reads:
            return
        store = features
        self._books = book, meter
        book.brings(self._drain)
        if meter is not None:
            meter.brings(self._drain)

        def update() -> None:
            with self._choosing:
                chosen = [] if self._passes() else [t for t in tables.tables() if self._stays(t.endpoint)]
                native = store.tables()
                rows = self._settings.max_rows_per_request
                found = [
                    native_endpoints.endpoint(
                        t, shelf, native, max_rows=rows, infers=models.has_endpoint(t.endpoint)
                    )
                    for t in chosen
                ]
                self._endpoints = tuple(e for e in found if e is not None)
                for bundle in (b for e in self._endpoints for b in (e.stable, e.canary) if b is not None):
                    self._projects[bundle.digest] = shelf.get(bundle.digest).project
                self._set_endpoints()

        self._updates.append(update)
        models.on_change(update)
        served.on_change(update)

    def _look_again(self) -> None:
        for update in self._updates:
            update()

    def _stays(self, endpoint: str) -> bool:
        """Whether the endpoint's bundles never make room for others."""
        pinned = self._settings.pinned_endpoints.split(",")
        return not self._settings.bundle_memory_bytes or endpoint in (name.strip() for name in pinned)

    def _set_endpoints(self) -> None:
        if self._running is not None:
            for wrong in self._running.set_endpoints(self._endpoints):
                _LOG.info("the native front leaves an endpoint to the app: %s", wrong)

    def bring(self) -> None:
        """Put what it answered into the books, as those who look at them do: a front tells so many callers apart."""
        self._drain()

    def _drain(self) -> None:
        if self._running is None or self._books is None:
            return
        book, meter = self._books
        with self._draining:
            for one in self._running.drain_predictions():
                book.add(
                    one.endpoint,
                    one.version,
                    one.digest,
                    one.role,
                    requests=one.requests,
                    rows=one.rows,
                    scores_sum=one.scores_sum,
                    latency_seconds=one.latency_seconds,
                )
                if meter is not None:
                    for use in one.used:
                        meter.add(
                            one.endpoint,
                            one.digest,
                            use.caller,
                            use.project or self._projects[one.digest],
                            requests=use.requests,
                            rows=use.rows,
                            cpu_nanos=use.cpu_nanos,
                        )

    def trace(self, exporter: otlp.SpanSender) -> None:
        """Give the exporter the spans of what is answered here."""
        self._is_traced = True
        exporter.brings(self.spans)

    def _passes(self) -> bool:
        """A log line for each request is the app's to write."""
        return self._settings.log_requests

    def _set_guard(self) -> None:
        if self._running is None or self._guard is None or self._keys is None:
            return
        self._running.set_guard(
            [_key(view, digest) for view, digest in self._keys.counting()],
            needs_key=self._guard.needs_token,
            limited_by=self._guard.limiter.accounts,
        )

    def _set_views(self) -> None:
        if self._running is not None:
            self._running.set_views(
                self._views, max_rows=self._settings.max_rows_per_request, services=self._services
            )

    def app_socket(self) -> str:
        """Where the app must listen. The path is new and not yet taken."""
        if self._folder is None:
            self._folder = pathlib.Path(tempfile.mkdtemp(prefix="mainspring-"))
        return str(self._folder / "app.sock")

    def use_app_socket(self, path: str) -> None:
        """The app listens there; the socket and its folder are the caller's. Before :meth:`start`."""
        self._app_socket = path

    def take_grpc(self) -> None:
        """Take the port of gRPC as well, if settings want it and it can be had. Before the app listens, which asks for
        :attr:`grpc_socket`.
        """
        serving = self._settings
        if not serving.grpc_port or serving.grpc_front == "off" or not self.is_wanted:
            return
        why = front.why_no_grpc()
        if why:
            _LOG.warning("gRPC is answered by the app alone: %s", why)
            return
        if self._folder is None:
            self._folder = pathlib.Path(tempfile.mkdtemp(prefix="mainspring-"))
        self._grpc_socket = str(self._folder / "grpc.sock")

    @property
    def grpc_socket(self) -> str:
        """Where the app's gRPC must listen; "": on the port."""
        return self._grpc_socket

    def start(self, listeners: Sequence[socket.socket]) -> None:
        """Serve, a thread for each socket, all of which are closed by :meth:`stop`. The app must be listening.

        Errors: Misconfigured if the system refuses, PortInUse for the port of gRPC.
        """
        serving = self._settings
        grpc = self._listen_for_grpc(len(listeners))
        options = front.Options(
            upstream=self._app_socket or self.app_socket(),
            request_id=ids.new_id("req"),
            max_connections=serving.max_connections,
            max_body_bytes=min(serving.max_body_bytes, _COLLECTED_BYTES),
            max_held_bytes=serving.max_held_body_bytes,
            body_seconds=serving.body_timeout_seconds,
            grpc_upstream=self._grpc_socket,
        )
        with self._choosing:
            try:
                self._running = front.Front(listeners, options, grpc_listeners=grpc)
            except status.NativeError as error:
                for one in grpc:
                    one.close()
                raise errors.Misconfigured(
                    f"the native front does not start: {error}; correct it or set `serving.front` to `off`"
                ) from error
            self._set_guard()  # before there is anything to answer
            if self._is_traced:
                self._running.set_traces(self._settings.trace_share, max_waiting=_MAX_WAITING)
            self._running.set_models(self._models)
            self._set_views()
            self._set_endpoints()

    def _listen_for_grpc(self, threads: int) -> list[socket.socket]:
        if not self._grpc_socket:
            return []
        host, port = self._settings.host, self._settings.grpc_port
        try:
            return front.listen(host, port, threads=threads)
        except OSError as error:
            raise errors.PortInUse(
                f"cannot listen for gRPC on `{host}` port {port}; stop what listens there or set `serving.grpc_port`",
                port=port,
                setting="serving.grpc_port",
            ) from error

    def stop(self, drain_seconds: float) -> None:
        """Take no more connections, let requests end, close the rest; blocks. Again, or without a start: no change."""
        if self._running is not None:
            self._running.stop(drain_seconds)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def counts(self) -> Mapping[str, int]:
        """As `front.Front.counts`; empty where none runs."""
        return {} if self._running is None else self._running.counts()

    def passed_on(self) -> Mapping[tuple[str, str], int]:
        """Infer requests for its models that it left to the app: wrong, unusual, large or late."""
        if self._running is None:
            return {}
        return {(c.name, c.version): c.passed_on for c in self._running.model_counts()}

    def reads(self) -> front.ModelCounts | None:
        """Reads of features that it answered, and left to the app; None where none runs."""
        return None if self._running is None else self._running.read_counts()

    def predictions(self) -> Sequence[front.ModelCounts]:
        """Predictions that it answered, and left to the app, by endpoint."""
        return () if self._running is None else self._running.predict_counts()

    def spans(self) -> tuple[list[traces.Span], int]:
        """Spans of answers since the last call, and how many found no room; also after :meth:`stop`."""
        if self._running is None:
            return [], 0
        answered, dropped = self._running.drain_spans()
        return [span for one in answered for span in native_spans.spans(one)], dropped

    def entries(self) -> Mapping[tuple[str, str], book.Entry]:
        """What it answered, as the app's book has it."""
        if self._running is None:
            return {}
        return {(c.name, c.version): entry(c) for c in self._running.model_counts() if c.requests}


def _key(view: access.KeyView, digest: bytes) -> front.Key:
    return front.Key(
        view.key_id,
        view.caller,
        digest,
        may_predict="predict" in view.scopes,
        may_read="read" in view.scopes,
        # 0 would be never: the beginning of Unix time is over as well.
        expires_us=0 if view.expires_at is None else int(view.expires_at.timestamp() * 1e6) or 1,
        project=view.project or "",
    )


def _service(service: schema.FeatureService) -> front.Service:
    return front.Service(service.name, [(v.name, field.name) for v in service.views for field in v.fields])


def entry(counts: front.ModelCounts) -> book.Entry:
    """What was answered natively, as the app's book has it."""
    return book.Entry(
        requests=counts.requests,
        rows=counts.rows,
        last_ms=counts.last_ms,
        nanos=book.Phases(0, counts.input_nanos, counts.infer_nanos, counts.output_nanos),
        latency=list(counts.latency),
        row_sizes=list(counts.row_sizes),
    )
