"""Followers as replicas of Ray Serve, autoscaled, behind Ray's proxy.

They map the rows of the process that writes and pass changes on to it over its Unix socket, so all of them are on its host.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import ray
from ray import serve
from starlette.types import ASGIApp

from mainspring.core import errors, settings
from mainspring.serving.ray_serve import replica

#: Ray Serve's name of the application and its deployment.
NAME: Final = "mainspring-serving"


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
        health_check_period_s=replica.HEALTH_SECONDS,
        ray_actor_options={"num_cpus": 0.1, "resources": {f"node:{here}": 0.001}},
    )
    return decorate(serve.ingress()(Replica)).bind(s, str(folder))


class Replica(replica.AppReplica):
    """One follower."""

    def __init__(self, s: settings.Settings, folder: str) -> None:
        super().__init__()
        self._settings, self._folder = s, folder

    def _built(self, opened: contextlib.ExitStack) -> ASGIApp:
        from mainspring.serving import assembly, logs
        from mainspring.serving.processes import part

        logs.install(self._settings)
        # Its process's number names what is its own: ranks are given again.
        told = part.Part(os.getpid(), Path(self._folder), (), -1, -1)
        mine = self._settings.model_copy(update={"serving": told.settings_of(self._settings.serving)})
        return assembly.assembled(mine, told, opened).app
