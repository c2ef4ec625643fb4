"""The outermost layer: every request has an id, and every failure has an answer that carries it."""

from __future__ import annotations

import itertools
import logging
import re
import time
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mainspring.core import errors, ids
from mainspring.serving import gate, logs
from mainspring.serving.http import errors as http_errors

_LOG: Final = logging.getLogger("mainspring.serving")
_REQUEST_ID: Final = re.compile(r"^[A-Za-z0-9._:-]{1,128}$")

HEADER: Final = "x-request-id"

#: Ids made here: one of the process, which sorts by time, and a counter. A whole fresh id would cost 8 us a request.
_PROCESS: Final = ids.new_id("req")
_COUNT: Final = itertools.count(1)


def request_id_of(sent: str) -> str:
    """The caller's id if it is usable, else a fresh one."""
    return sent if _REQUEST_ID.match(sent) else f"{_PROCESS}.{next(_COUNT):x}"


def own_mistake(path: str, request_id: str) -> errors.InvariantViolated:
    """What a caller learns of a failure that is nobody's but ours."""
    return errors.InvariantViolated(
        f"serving failed on its own mistake; report it with request id `{request_id}`", where=path
    )


class Edge:
    """Takes the caller's `x-request-id` if it is 1 to 128 plain characters, else makes one; echoes it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = request_id_of(Headers(scope=scope).get(HEADER, ""))
        scope.setdefault("state", {})["request_id"] = request_id
        logs.REQUEST_ID.set(request_id)
        began, status = time.perf_counter(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except gate.ClientGone:
            return  # nobody is there to answer
        except Exception:  # the edge of the process: whoever asked gets an answer, the log gets the trace
            _LOG.exception("request %s failed", request_id)
            if status:
                raise
            refusal = http_errors.answer(own_mistake(scope["path"], request_id), scope["path"], request_id)
            await refusal(scope, receive, send_with_id)
        logs.request(scope["method"], scope["path"], status, began)
