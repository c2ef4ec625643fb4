"""Traffic that goes back under load: nobody is failed, nobody gets a wrong answer, nobody gets the old one afterwards."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import serving_access_world as access_world
import serving_world as world
from numpy.typing import NDArray

from mainspring.core import ports
from mainspring.core.contracts.deployment import TrafficTable

pytestmark = pytest.mark.integration


def shifted(batch: ports.ModelInput) -> NDArray[Any]:
    return world.linear(batch) / 2


@pytest.mark.parametrize("way", world.WAYS)
def test_a_rollback_takes_at_once_and_fails_nobody(tmp_path: Path, way: str) -> None:
    stable, canary = world.World(name="stable"), world.World(name="canary", function=shifted)
    with access_world.opened(tmp_path, stable, canary, max_waiting=1024, **world.WAYS[way]) as house:
        versions = itertools.count(1)

        def put(**changes: Any) -> None:
            house.take(
                TrafficTable(endpoint="flights", version=next(versions), stable=stable.digest, **changes),
                stable,
                canary,
            )

        put()
        asked = [{"entities": [world.entity(flight=i)], "as_of": world.AS_OF} for i in range(64)]
        expected = [house.ask(access_world.PREDICT, a).json()["predictions"][0]["score"] for a in asked]
        put(canary=canary.digest, canary_percent=50)
        # How many tables were taken back: a request that began after that must not see the canary any more.
        rolled_back, stop = threading.Event(), threading.Event()
        problems: list[str] = []
        roles: list[tuple[bool, str]] = []

        def ask(worker: int) -> None:
            with httpx.Client(base_url=house.served.url, trust_env=False, timeout=30) as client:
                for i in itertools.count(worker):
                    if stop.is_set():
                        return
                    after = rolled_back.is_set()
                    answer = client.post(access_world.PREDICT, json=asked[i % 64])
                    if answer.status_code != 200:
                        problems.append(answer.text)
                        continue
                    body = answer.json()
                    right = expected[i % 64] * (0.5 if body["model_version"] == canary.digest else 1.0)
                    if not np.isclose(body["predictions"][0]["score"], right, rtol=1e-6):
                        problems.append(f"{body} instead of {right}")
                    roles.append((after, body["role"]))

        threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        enough = threading.Event()
        while len(roles) < 100:
            enough.wait(0.01)
        put()
        rolled_back.set()
        seen = len(roles)
        while len(roles) < seen + 100:
            enough.wait(0.01)
        stop.set()
        for thread in threads:
            thread.join(30)
        assert not problems, problems[:3]
        assert {role for after, role in roles if after} == {"stable"}
        assert {role for after, role in roles if not after} == {"stable", "canary"}
