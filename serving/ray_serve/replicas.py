"""Followers as replicas of Ray Serve, autoscaled, behind Ray's proxy. The one file of serving that imports ray.

They map the rows of the process that writes and pass changes on to it over its Unix socket, so all of them are on its host.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import ray
from ray import serve
from starlette.types import ASGIApp, Message

from mainspring.core import errors, settings

#: Ray Serve's name of the application and its deployment.
NAME: Final = "mainspring-serving"

_HEALTH_SECONDS: Final = 5.0


@contextlib.contextmanager
def deployed(s: settings.Settings, folder: Path) -> Iterator[None]:
    """Replicas answer on the port from here on, until the end of the block; `folder` is that of `processes.part`.

    Errors: Misconfigured if Ray's proxy or the first replica does not start.
    """
    serving = s.serving
    ray.init(address=serving.ray_address, include_dashboard=False, log_to_driver=False, namespace=NAME)
    try:
        try:
            serve.start(http_options={"host": serving.host, "port": serving.port, "location": "HeadOnly"})
            serve.run(application(s, folder), name=NAME, route_prefix="/")
        except Exception as error:  # Ray's errors have no class in common but this
            raise errors.Misconfigured(
                f"Ray Serve does not start: {str(error).strip().splitlines()[-1][:300]}; look at its logs and correct it"
            ) from error
        yield
        serve.shutdown()
    finally:
        ray.shutdown()


def application(s: settings.Settings, folder: Path) -> serve.Application:
    """The deployment, autoscaled by requests at work; a replica is healthy if it is ready."""
    serving = s.serving
    here = ray.util.get_node_ip_address()
    autoscaling = {
        "min_replicas": serving.ray_min_replicas,
        "max_replicas": max(serving.ray_min_replicas, serving.ray_max_replicas),
        "target_ongoing_requests": serving.ray_target_requests,
    }
    decorate = serve.deployment(
        name=NAME,
        autoscaling_config=autoscaling,
        # Beyond it the replica sheds by itself, with Retry-After: Ray's queue would have none.
        max_ongoing_requests=serving.workers + serving.max_waiting,
        health_check_period_s=_HEALTH_SECONDS,
        ray_actor_options={"num_cpus": 0.1, "resources": {f"node:{here}": 0.001}},
    )
    return decorate(serve.ingress()(Replica)).bind(s, str(folder))


class Replica:
    """One follower. Everything runs on the replica's event loop."""

    def __init__(self, s: settings.Settings, folder: str) -> None:
        self._settings, self._folder = s, folder
        self._ready: ASGIApp | None = None

    def __serve_build_asgi_app__(self) -> ASGIApp:
        from mainspring.serving import assembly, logs
        from mainspring.serving.processes import part

        logs.install(self._settings)
        # Its process's number names what is its own: ranks are given again.
        told = part.Part(os.getpid(), Path(self._folder), (), -1, -1)
        mine = self._settings.model_copy(update={"serving": told.settings_of(self._settings.serving)})
        self._opened = contextlib.ExitStack()
        self._ready = assembly.assembled(mine, told, self._opened).app
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
