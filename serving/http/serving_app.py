"""The ASGI app: answers what is hot and what asks whether it is ready, and builds the rest beside that.

FastAPI and the routes take some 0.3 s of a core and 10 MB to import and build, more than the models of most processes, and a
process whose requests the front or the fast path answers never needs them. They are built in a thread for the first request
that does, which waits for it; with `serving.builds_routes_ahead` once the app has started.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

from starlette.routing import Router
from starlette.types import ASGIApp, Receive, Scope, Send

from mainspring.serving.http import fast_path, probes

_LOG: Final = logging.getLogger("mainspring.serving")

#: What comes first, a probe as a rule, is answered before the thread takes its share of the interpreter.
_HEAD_START_SECONDS: Final = 0.1


class ServingApp:
    """One process's app. All calls are on one event loop."""

    def __init__(
        self,
        build: Callable[[], ASGIApp],
        *,
        lifespan: Callable[[Any], AbstractAsyncContextManager[None]],
        probed: ASGIApp,
        builds_ahead: bool,
        hot: fast_path.FastPath | None,
    ) -> None:
        """`build` makes the framework's app, in a thread: for the first request that needs it or, if it `builds_ahead`, once the
        process is ready. `probed` answers what `probes.is_probe` until then. `hot` comes before everything; None: the
        framework answers the rest.
        """
        self._build = build
        self._own_lifespan = lifespan
        self._router = Router(lifespan=self._lifespan)
        self._probes = probed
        self._builds_ahead = builds_ahead
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
            if not self._builds_ahead:
                yield
                return
            timer = asyncio.get_running_loop().call_later(_HEAD_START_SECONDS, self._begin)
            yield
            timer.cancel()

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._framework
        if app is None:
            if probes.is_probe(scope):
                await self._probes(scope, receive, send)
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
