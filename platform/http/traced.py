"""A request of the control API as a count, a log line, and a span: of the trace that its caller sent, or of one that is made here.

What it asks for goes along: workflows that it starts, the audit rows that it writes (`mutation.py`). Probes are not told of.
"""

from __future__ import annotations

import logging
import time
from typing import Final

from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from mainspring.core import logs, traces
from mainspring.platform.metrics import requests

__all__ = ["SERVICE", "Traced"]

SERVICE: Final = "mainspring-control"
_ACCESS: Final = logging.getLogger("mainspring.platform.access")
_PROBES: Final = frozenset({"/healthz", "/readyz", "/metrics"})


class Traced(ASGIMiddleware):
    """The outermost of the middlewares. A query is not told, nor who asks: the audit log has that."""

    def __init__(self, tracer: traces.Tracer, book: requests.RequestBook) -> None:
        self._tracer, self._book = tracer, book

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        if scope["type"] != ScopeType.HTTP or scope["path"] in _PROBES:
            await next_app(scope, receive, send)
            return
        status = 0

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._tracer.begin(_traceparent(scope))
        began = time.perf_counter()
        try:
            await next_app(scope, receive, noted)
        finally:
            method, route = scope["method"], scope.get("path_template", "")
            self._book.add(method, route, status, time.perf_counter() - began)
            _line(method, scope["path"], status, began)
            if traces.is_sampled():
                said: dict[str, traces.Value] = {
                    "http.request.method": method,
                    "http.route": route,
                    "url.path": scope["path"],
                    "http.response.status_code": status,
                }
                self._tracer.end(f"{method} {route}".rstrip(), said, str(status) if status >= 500 else "")


def _line(method: str, path: str, status: int, began: float) -> None:
    level = logging.WARNING if status >= 500 else logging.INFO
    if not _ACCESS.isEnabledFor(level):
        return
    nanos = round((time.perf_counter() - began) * 1e9)
    said = {"http.request.method": method, "url.path": path, "http.response.status_code": status}
    fields = {**said, **logs.access(0 < status < 400, nanos)}
    _ACCESS.log(level, "%s %s %s", method, path, status, extra={"fields": fields})


def _traceparent(scope: Scope) -> str | None:
    found = (value for key, value in scope["headers"] if key.lower() == traces.HEADER.encode())
    sent = next(found, None)
    return None if sent is None else sent.decode("latin-1")
