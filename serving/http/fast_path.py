"""Answers the two hot questions, inference and reads of features, before FastAPI's own machinery sees them.

Plain ASGI: no routing table, no request objects, no dependency graph. FastAPI's routes call the same methods, so limits,
deadlines, errors and metrics are the same.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from mainspring.core import errors
from mainspring.serving import gate, logs, traces
from mainspring.serving.access import guard
from mainspring.serving.http import edge, feature_reads, v2_infer
from mainspring.serving.http import errors as http_errors

_LOG: Final = logging.getLogger("mainspring.serving")

HeaderList = list[tuple[bytes, bytes]]
Answerer = Callable[[dict[str, str], Receive], Awaitable[tuple[HeaderList, bytes]]]


class FastPath:
    """Answers infer requests and reads of features; passes everything else on.

    As a middleware it would come after FastAPI's telemetry, which costs every request 8 us.
    """

    def __init__(
        self,
        infer: v2_infer.Infer,
        reads: feature_reads.FeatureReads,
        guarded: guard.Guard,
        tracer: traces.Tracer,
    ) -> None:
        self._guard = guarded
        self._tracer = tracer
        self._infer = infer
        self._reads = reads

    async def __call__(self, scope: Scope, receive: Receive, send: Send, app: ASGIApp) -> None:
        answerer = self._answerer(scope)
        if answerer is None:
            await app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        request_id = logs.request_id_of(headers.get(edge.HEADER, ""))
        logs.REQUEST_ID.set(request_id)
        self._tracer.begin(headers.get("traceparent"))
        began, status, path = time.perf_counter(), 200, scope["path"]
        try:
            await edge.let_in(self._guard, "POST", path, headers)
            fields, body = await answerer(headers, receive)
        except gate.ClientGone:
            return
        except errors.MainspringError as error:
            status, fields, body = _refusal(error, path, request_id)
        except Exception:  # noqa: BLE001 - the edge of the process: the caller gets an answer, the log the trace
            _LOG.exception("request %s failed", request_id)
            status, fields, body = _refusal(edge.own_mistake(path, request_id), path, request_id)
        fields.append((b"x-request-id", request_id.encode("latin-1")))
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": body})
        edge.traced(self._tracer, "POST", path, status, request_id)
        logs.request("POST", path, status, began, guard.current().caller.name)

    def _answerer(self, scope: Scope) -> Answerer | None:
        if scope["type"] != "http" or scope["method"] != "POST":
            return None
        path = scope["path"]
        if path in feature_reads.PATHS:
            return self._reads.answer
        asked = v2_infer.model_of(path)
        return None if asked is None else functools.partial(self._infer.answer, *asked)


def _refusal(error: errors.MainspringError, path: str, request_id: str) -> tuple[int, HeaderList, bytes]:
    response = http_errors.answer(error, path, request_id)
    return response.status_code, list(response.raw_headers), bytes(response.body)
