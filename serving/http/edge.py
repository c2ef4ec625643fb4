"""The outermost layer: every request has an id, and every failure has an answer that carries it."""

from __future__ import annotations

import logging
import re
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mainspring.core import errors, ids
from mainspring.serving.http import errors as http_errors

_LOG: Final = logging.getLogger("mainspring.serving")
_REQUEST_ID: Final = re.compile(r"^[A-Za-z0-9._:-]{1,128}$")

HEADER: Final = "x-request-id"


class Edge:
    """Takes the caller's `x-request-id` if it is 1 to 128 plain characters, else makes one; echoes it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent = Headers(scope=scope).get(HEADER, "")
        request_id = sent if _REQUEST_ID.match(sent) else ids.new_id("req")
        scope.setdefault("state", {})["request_id"] = request_id
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:  # the edge of the process: whoever asked gets an answer, the log gets the trace
            _LOG.exception("request %s failed", request_id)
            if started:
                raise
            ours = errors.InvariantViolated(
                f"serving failed on its own mistake; report it with request id `{request_id}`",
                where=str(scope["path"]),
            )
            await http_errors.problem(ours, request_id)(scope, receive, send_with_id)
