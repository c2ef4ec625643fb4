"""Spans sent to any receiver of OTLP over HTTP, as OTLP's JSON.

Spans go into a bounded buffer, and a thread sends them: what finds no room or no receiver is dropped and counted, and nothing
waits for it.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from mainspring.core import errors, traces

if TYPE_CHECKING:
    import httpx

    from mainspring.core import settings

__all__ = ["MAX_WAITING_SPANS", "SpanSender", "Receiver", "Told", "encode", "told_by"]

_LOG: Final = logging.getLogger("mainspring.traces")
_ERROR: Final = 2

MAX_WAITING_SPANS: Final = 8192
SEND_SECONDS: Final = 2.0

#: Takes one OTLP JSON document. Errors: OSError, or one of ours.
Send: TypeAlias = Callable[[bytes], None]
Dumps: TypeAlias = Callable[[Any], bytes]


def _dumps(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


class SpanSender:
    """Sends spans. Thread-safe; `close` sends what waits and ends its thread."""

    def __init__(
        self,
        send: Send,
        service: str,
        version: str,
        *,
        every_seconds: float = SEND_SECONDS,
        dumps: Dumps = _dumps,
    ) -> None:
        """`service` is OpenTelemetry's `service.name`."""
        self._send, self._service, self._version = send, service, version
        self._every_seconds, self._dumps = every_seconds, dumps
        self._lock = threading.Lock()
        self._waiting: list[traces.Span] = []
        self._bring: Callable[[], tuple[list[traces.Span], int]] = lambda: ([], 0)
        self.sent = 0
        self.dropped = 0
        self._is_away = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)
        self._thread.start()

    def add(self, one: traces.Span) -> None:
        """Keep a span to send, or count it as dropped."""
        with self._lock:
            if len(self._waiting) >= MAX_WAITING_SPANS:
                self.dropped += 1
            else:
                self._waiting.append(one)

    def brings(self, bring: Callable[[], tuple[list[traces.Span], int]]) -> None:
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
            self._send(self._dumps(encode(taken, self._service, self._version)))
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
    """Posts to an endpoint. Used by one thread at a time; `close` it."""

    def __init__(self, endpoint: str, headers: str, *, group: str = "telemetry") -> None:
        """`group` is where the settings are, for what is said. Errors: InvalidSettings for headers that are none."""
        self._endpoint, self._group = endpoint, group
        self._headers = {"content-type": "application/json", **_headers(headers, group)}
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
                f"`{self._endpoint}` does not answer: {error}; look at `{self._group}.trace_endpoint`",
                name="traces",
            ) from error
        if not answer.is_success:
            raise errors.DependencyDown(
                f"`{self._endpoint}` answered {answer.status_code}: {answer.text[:200]}; look at"
                f" `{self._group}.trace_endpoint` and `{self._group}.trace_headers`",
                name="traces",
            )

    def close(self) -> None:
        if self._client is not None:
            self._client.close()


class Told:
    """What one process has of traces: its tracer, and what must be closed at its end. Use it in a `with`."""

    def __init__(self, tracer: traces.Tracer, sender: SpanSender | None, receiver: Receiver | None) -> None:
        self.tracer, self.sender, self._receiver = tracer, sender, receiver

    def __enter__(self) -> Told:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Send what waits."""
        if self.sender is not None:
            self.sender.close()
        if self._receiver is not None:
            self._receiver.close()


def told_by(telemetry: settings.TelemetrySettings, service: str, version: str) -> Told:
    """The traces of a process that is called `service`. Without an endpoint no thread is started and no span is made.

    Errors: InvalidSettings for headers that are none.
    """
    if not telemetry.trace_endpoint:
        return Told(traces.Tracer(None, 0.0), None, None)
    receiver = Receiver(telemetry.trace_endpoint, telemetry.trace_headers)
    sender = SpanSender(receiver, service, version)
    return Told(traces.Tracer(sender, telemetry.trace_share, names_all=True), sender, receiver)


def encode(spans: Sequence[traces.Span], service: str, version: str) -> dict[str, Any]:
    """OTLP's ExportTraceServiceRequest, as its JSON has it."""
    resource = {"service.name": service, "service.version": version}
    scope = {"name": service.replace("-", "."), "version": version}
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": _attributes(resource)},
                "scopeSpans": [{"scope": scope, "spans": [_span(one) for one in spans]}],
            }
        ]
    }


def _span(one: traces.Span) -> dict[str, Any]:
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


def _attributes(values: Mapping[str, traces.Value]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in values.items()]


def _value(value: traces.Value) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    return {"doubleValue": value} if isinstance(value, float) else {"stringValue": value}


def _headers(text: str, group: str) -> dict[str, str]:
    found = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, is_there, value = part.partition("=")
        if not is_there or not name.strip():
            raise errors.InvalidSettings(
                f"`{group}.trace_headers` is not usable; write `name=value,name=value`",
                problems=(f"{group}.trace_headers",),
            )
        found[name.strip()] = value.strip()
    return found
