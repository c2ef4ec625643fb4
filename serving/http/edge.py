"""The outermost layer: every request has an id, and every failure has an answer that carries it."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mainspring.core import errors, traces
from mainspring.serving import gate, logs, spans
from mainspring.serving.access import guard, wishes
from mainspring.serving.http import doors
from mainspring.serving.http import errors as http_errors

_LOG: Final = logging.getLogger("mainspring.serving")

HEADER: Final = "x-request-id"


def own_mistake(path: str, request_id: str) -> errors.InvariantViolated:
    """What a caller learns of a failure that is nobody's but ours."""
    return errors.InvariantViolated(
        f"serving failed on its own mistake; report it with request id `{request_id}`", where=path
    )


async def let_in(guarded: guard.Guard, method: str, path: str, headers: Mapping[str, str]) -> None:
    """Ask who it is and make the request the call at work. Errors: Unauthenticated, PermissionDenied, RateLimited,
    DependencyDown.
    """
    door = doors.door_of(method, path)
    if door is None:
        return
    authorization = headers.get("authorization")
    if authorization is None and (key := headers.get("x-api-key")) is not None:
        authorization = f"Bearer {key}"
    guarded.admit(await guarded.identify(authorization, door.scope), door.target, wishes.sent(headers))


def traced(tracer: traces.Tracer, method: str, path: str, status: int, request_id: str) -> None:
    """End the request's span, if it has one."""
    if not traces.is_sampled():
        return
    caller = guard.current().caller.name
    attributes = spans.request_attributes(method, path, status, request_id, caller)
    tracer.end(f"{method} {path}", attributes, str(status) if status >= 500 else "")


class Edge:
    """Takes the caller's `x-request-id` if it is 1 to 128 plain characters, else makes one; echoes it.

    Nothing of a body is read before the guard has let its sender in.
    """

    def __init__(self, app: ASGIApp, guarded: guard.Guard, tracer: traces.Tracer) -> None:
        self._app = app
        self._guard = guarded
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = logs.request_id_of(headers.get(HEADER, ""))
        scope.setdefault("state", {})["request_id"] = request_id
        logs.REQUEST_ID.set(request_id)
        self._tracer.begin(headers.get("traceparent"))
        began, status = time.perf_counter(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        try:
            await let_in(self._guard, scope["method"], scope["path"], headers)
            await self._app(scope, receive, send_with_id)
        except gate.ClientGone:
            return  # nobody is there to answer
        except errors.MainspringError as error:
            if status:
                raise
            await http_errors.answer(error, scope["path"], request_id)(scope, receive, send_with_id)
        except Exception:  # the edge of the process: whoever asked gets an answer, the log gets the trace
            _LOG.exception("request %s failed", request_id)
            if status:
                raise
            refusal = http_errors.answer(own_mistake(scope["path"], request_id), scope["path"], request_id)
            await refusal(scope, receive, send_with_id)
        traced(self._tracer, scope["method"], scope["path"], status, request_id)
        logs.request(scope["method"], scope["path"], status, began, guard.current().caller.name)
