"""What asks how the process is, rather than it to do something: probes and scrapes.

They come every few seconds to every process, and need none of the framework: `serving_app` answers them here until that
is there. The framework's routes call the same methods, so the answers are the same bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send


class _Named(Protocol):
    @property
    def name(self) -> str: ...


class _Served(Protocol):
    @property
    def endpoint(self) -> str: ...


class Probes:
    """One process's answers. All calls are on one event loop."""

    def __init__(
        self,
        views: Callable[[], Sequence[_Named]],
        endpoints: Callable[[], Sequence[_Served]],
        exposition: Callable[[], Callable[[], Response]],
    ) -> None:
        """`views` are the online store's: it may block, and raises while the store does not answer. `exposition` makes what
        answers a scrape, in a thread: it imports.
        """
        self._views, self._endpoints, self._exposition = views, endpoints, exposition
        self._scrape: Callable[[], Response] | None = None

    async def healthz(self) -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    async def readyz(self) -> dict[str, object]:
        """The online store answers. Bundles need no check: without all of them the process does not start.

        Errors: DependencyDown.
        """
        views = await asyncio.to_thread(self._views)
        return {
            "status": "ready",
            "endpoints": [view.endpoint for view in self._endpoints()],
            "views": [view.name for view in views],
        }

    async def ready(self) -> Response:
        """As the v2 protocol asks: nothing but the status. Errors: DependencyDown."""
        await asyncio.to_thread(self._views)
        return Response()

    async def metrics(self) -> Response:
        """Every counter in Prometheus' text format."""
        if self._scrape is None:
            self._scrape = await asyncio.to_thread(self._exposition)
        return self._scrape()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI, for what `is_probe`."""
        answer = await _METHODS[scope["path"]](self)
        if not isinstance(answer, Response):
            answer = Response(orjson.dumps(answer), media_type="application/json")
        await answer(scope, receive, send)


async def _live(_: Probes) -> Response:
    return Response()


_METHODS: Final[Mapping[str, Callable[[Probes], Awaitable[Any]]]] = {
    "/healthz": Probes.healthz,
    "/readyz": Probes.readyz,
    "/metrics": Probes.metrics,
    "/v2/health/live": _live,
    "/v2/health/ready": Probes.ready,
}


def is_probe(scope: Scope) -> bool:
    """Other methods than GET are refused by the framework."""
    return scope["type"] == "http" and scope["method"] == "GET" and scope["path"] in _METHODS
