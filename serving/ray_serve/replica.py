"""What replicas of Ray Serve have in common: an app that is built where they run, and a health that the app itself tells."""

from __future__ import annotations

import abc
import contextlib
from typing import Any, Final

from starlette.types import ASGIApp, Message

from mainspring.core import errors

__all__ = ["HEALTH_SECONDS", "AppReplica"]

#: How often Ray asks :meth:`AppReplica.check_health`.
HEALTH_SECONDS: Final = 5.0


class AppReplica(abc.ABC):
    """One replica, by `serve.ingress()`. Everything runs on the replica's event loop."""

    def __init__(self) -> None:
        self._ready: ASGIApp | None = None
        self._opened = contextlib.ExitStack()

    @abc.abstractmethod
    def _built(self, opened: contextlib.ExitStack) -> ASGIApp:
        """The app; `opened` closes what it holds. Whatever it raises is in the deployment's status."""

    def __serve_build_asgi_app__(self) -> ASGIApp:
        with contextlib.ExitStack() as opened:
            self._ready = self._built(opened)
            self._opened = opened.pop_all()
        return self._ready

    async def check_health(self) -> None:
        """Ask what a probe would ask. Raises where the answer is not 200: Ray then starts another replica."""
        assert self._ready is not None
        statuses: list[int] = []

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        await self._ready(_probe(), _nothing, send)
        if statuses != [200]:
            raise errors.DependencyDown(
                f"the replica is not ready ({statuses}); look at its log", name="replica"
            )

    def __del__(self) -> None:
        """Ray asks for it once the requests at work are answered and the app has ended."""
        self._opened.close()


def _probe() -> dict[str, Any]:
    path = "/v2/health/ready"
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [],
        "client": None,
        "server": None,
    }


async def _nothing() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}
