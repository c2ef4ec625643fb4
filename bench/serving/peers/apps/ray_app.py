"""Ray Serve with its HAProxy and one replica: `ray_app.py PORT`, until SIGTERM."""

from __future__ import annotations

import signal
import sys
from typing import Any

import network
import ray
from ray import serve
from starlette.requests import Request


@serve.deployment(num_replicas=1, max_ongoing_requests=128, ray_actor_options={"num_cpus": 0})
class Mlp:
    async def __call__(self, request: Request) -> dict[str, Any]:
        return network.infer((await request.json())["inputs"][0])


def stop(signum: int, frame: Any) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Mlp.bind(), route_prefix="/v2/models/mlp/infer")
    try:
        signal.pause()
    finally:
        serve.shutdown()
        ray.shutdown()
