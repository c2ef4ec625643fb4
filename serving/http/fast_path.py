"""Answers the two hot questions, inference and reads of features, before FastAPI's own machinery sees them.

Plain ASGI: no routing table, no request objects, no dependency graph. FastAPI's routes call the same methods, so limits,
deadlines, errors and metrics are the same.
"""

from __future__ import annotations

import logging
import time
from typing import Any, Final

from starlette.types import ASGIApp, Receive, Scope, Send

from mainspring.core import errors, traces
from mainspring.native import infer
from mainspring.serving import gate, logs
from mainspring.serving.access import guard, wishes
from mainspring.serving.http import edge, feature_reads, native_answers, payload, v2_infer
from mainspring.serving.http import errors as http_errors

_LOG: Final = logging.getLogger("mainspring.serving")


#: Fields that somebody must look at before a body is received, or asked of the client.
_ASKING: Final = frozenset(
    {
        *(b"authorization", b"x-api-key", wishes.ROLE_HEADER.encode(), wishes.BUNDLE_HEADER.encode()),
        *(b"content-encoding", b"expect", b"x-deadline-ms"),
    }
)


class FastPath:
    """Answers infer requests and reads of features; passes everything else on.

    As a middleware it would come after FastAPI's telemetry, which costs every request 8 us.
    """

    def __init__(
        self,
        inferring: v2_infer.Infer,
        natives: native_answers.NativeAnswers,
        reads: feature_reads.FeatureReads,
        guarded: guard.Guard,
        tracer: traces.Tracer,
    ) -> None:
        self._guard = guarded
        self._tracer = tracer
        self._infer = inferring
        self._natives = natives
        self._reads = reads

    async def __call__(self, scope: Scope, receive: Receive, send: Send, app: ASGIApp) -> None:
        path = scope["path"] if scope["type"] == "http" and scope["method"] == "POST" else ""
        native = self._natives.find(path)
        if native is None and not _is_hot(path):
            await app(scope, receive, send)
            return
        head: dict[bytes, bytes] = dict(scope["headers"])  # of a field that is there twice, the last one
        sent = head.get(b"x-request-id")
        request_id = logs.fresh_request_id() if sent is None else logs.request_id_of(sent.decode("latin-1"))
        logs.REQUEST_ID.set(request_id)
        parent = head.get(b"traceparent")
        self._tracer.begin(None if parent is None else parent.decode("latin-1"))
        began, status, answer = time.perf_counter(), 200, None
        try:
            if native is not None and _ASKING.isdisjoint(head) and self._guard.lets_anyone_in():
                first: Any = payload.at_hand(receive)
                if isinstance(first, dict):
                    answer = self._infer.at_once(native, head, first)
                    receive = receive if answer is not None else payload.again(first, receive)
                else:
                    receive = first
            if answer is None:
                answer = await self._usual(path, native, head, receive)
            fields, body = answer
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

    async def _usual(
        self, path: str, native: infer.InferModel | None, head: dict[bytes, bytes], receive: Receive
    ) -> v2_infer.Answer:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.items()}
        await edge.let_in(self._guard, "POST", path, headers)
        asked = v2_infer.model_of(path)
        if asked is None:
            return await self._reads.answer(headers, receive)
        return await self._infer.answer(*asked, headers, receive, native=native)


def _is_hot(path: str) -> bool:
    return path in feature_reads.PATHS or v2_infer.model_of(path) is not None


def _refusal(
    error: errors.MainspringError, path: str, request_id: str
) -> tuple[int, v2_infer.HeaderList, bytes]:
    response = http_errors.answer(error, path, request_id)
    return response.status_code, list(response.raw_headers), bytes(response.body)
