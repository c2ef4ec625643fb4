"""A follower's app: answers predictions, reads of features and probes itself, and passes the rest on to the writer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import httpx
from starlette.types import ASGIApp, Receive, Scope, Send

from mainspring.core import errors
from mainspring.serving import logs
from mainspring.serving.http import doors, edge, feature_reads, probes
from mainspring.serving.http import errors as http_errors

#: Of one connection; and what uvicorn writes itself.
_OF_CONNECTION: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
)
_OF_SERVER: Final = frozenset({b"date", b"server"})

#: Loading a bundle takes long, and a writer that was killed is back in seconds.
_TIMEOUT: Final = {"connect": 5.0, "pool": 30.0, "read": 120.0, "write": 30.0}

#: Connections to the writer, of one follower.
_CONNECTIONS: Final = 64


class Forward:
    """One follower's. All calls are on one event loop."""

    def __init__(self, app: ASGIApp, writer: str) -> None:
        """`writer`: the path of its Unix socket."""
        self._app = app
        limits = httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS)
        self._writer = httpx.AsyncHTTPTransport(uds=writer, limits=limits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            await self._writer.aclose()
        elif scope["type"] != "http" or is_own(scope):
            await self._app(scope, receive, send)
        else:
            await self._pass_on(scope, receive, send)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(name, value) for name, value in scope["headers"] if name not in _OF_CONNECTION]
        sizes = {name for name, _ in scope["headers"]} & {b"content-length", b"transfer-encoding"}
        target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        asked = httpx.Request(
            scope["method"],
            httpx.URL(scheme="http", host="writer", raw_path=target),
            headers=headers,
            content=_body(receive) if sizes else None,
            extensions={"timeout": _TIMEOUT},
        )
        began = False
        try:
            answer = await self._writer.handle_async_request(asked)
            try:
                kept = [(n.lower(), v) for n, v in answer.headers.raw]
                kept = [(n, v) for n, v in kept if n not in _OF_CONNECTION | _OF_SERVER]
                await send({"type": "http.response.start", "status": answer.status_code, "headers": kept})
                began = True
                assert isinstance(answer.stream, httpx.AsyncByteStream)
                async for chunk in answer.stream:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                await send({"type": "http.response.body", "body": b""})
            finally:
                await answer.aclose()
        except httpx.TransportError as error:
            if began:
                raise  # the client has half an answer: only a broken connection tells it so
            await _refusal(error, scope)(scope, receive, send)


def is_own(scope: Scope) -> bool:
    """Whether a follower answers this itself."""
    if probes.is_probe(scope):
        return bool(scope["path"] != "/metrics")
    if scope["method"] != "POST":
        return False
    door = doors.door_of("POST", scope["path"])
    return scope["path"] in feature_reads.PATHS or (door is not None and door.scope == "predict")


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise httpx.ReadError("the client left")
        more = message.get("more_body", False)
        yield message.get("body", b"")


def _refusal(error: httpx.TransportError, scope: Scope) -> ASGIApp:
    sent = dict(scope["headers"]).get(edge.HEADER.encode(), b"").decode("latin-1")
    request_id = logs.request_id_of(sent)
    down = errors.DependencyDown(
        f"the process that answers `{scope['path']}` does not ({type(error).__name__}); it is started anew, try again",
        name="writing process",
    )
    answer = http_errors.answer(down, scope["path"], request_id)
    answer.headers[edge.HEADER] = request_id
    return answer
