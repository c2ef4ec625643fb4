"""The ASGI app: answers what is hot and what asks whether it is ready, and builds the rest beside that.

FastAPI and the routes take some 0.3 s of a core to import and build, more than the models of most processes. They are
built in a thread once the app has started; whoever asks for one of their routes before that waits for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

from starlette.responses import Response
from starlette.routing import Router
from starlette.types import ASGIApp, Receive, Scope, Send

from mainspring.core import errors
from mainspring.serving import logs
from mainspring.serving.http import edge, fast_path

_LOG: Final = logging.getLogger("mainspring.serving")

#: What comes first, a probe as a rule, is answered before the thread takes its share of the interpreter.
_HEAD_START_SECONDS: Final = 0.1

_LIVE: Final = "/v2/health/live"
_READY: Final = "/v2/health/ready"


class ServingApp:
    """One process's app. All calls are on one event loop."""

    def __init__(
        self,
        build: Callable[[], ASGIApp],
        *,
        lifespan: Callable[[Any], AbstractAsyncContextManager[None]],
        check_ready: Callable[[], object],
        hot: fast_path.FastPath | None,
    ) -> None:
        """`build` makes the framework's app, in a thread. `check_ready` raises while the process cannot answer; it may
        block. `hot` comes before everything; None: the framework answers all.
        """
        self._build = build
        self._own_lifespan = lifespan
        self._router = Router(lifespan=self._lifespan)
        self._check_ready = check_ready
        self._hot = hot
        self._framework: ASGIApp | None = None
        self._building: asyncio.Task[ASGIApp] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._router(scope, receive, send)
        elif self._hot is None:
            await self._pass_on(scope, receive, send)
        else:
            await self._hot(scope, receive, send, self._pass_on)

    @asynccontextmanager
    async def _lifespan(self, app: object) -> AsyncIterator[None]:
        async with self._own_lifespan(app):
            timer = asyncio.get_running_loop().call_later(_HEAD_START_SECONDS, self._begin)
            yield
            timer.cancel()

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._framework
        if app is None:
            if await self._answers_probe(scope, receive, send):
                return
            app = await asyncio.shield(self._begin())
        await app(scope, receive, send)

    def _begin(self) -> asyncio.Task[ASGIApp]:
        if self._building is None:
            self._building = asyncio.create_task(self._built())
        return self._building

    async def _built(self) -> ASGIApp:
        try:
            self._framework = await asyncio.to_thread(self._build)
        except BaseException:
            _LOG.exception("the routes cannot be built")
            raise
        return self._framework

    async def _answers_probe(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Only with 200, as the framework would; what is not ready is worded there."""
        if scope["type"] != "http" or scope["method"] != "GET" or scope["path"] not in (_LIVE, _READY):
            return False
        if scope["path"] == _READY:
            try:
                await asyncio.to_thread(self._check_ready)
            except errors.MainspringError:
                return False
        sent = dict(scope["headers"]).get(edge.HEADER.encode(), b"").decode("latin-1")
        answer = Response(headers={edge.HEADER: logs.request_id_of(sent)})
        await answer(scope, receive, send)
        return True
