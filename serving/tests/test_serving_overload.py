"""Three times what the server can do: every answer is right or a clear refusal, and nothing runs for whoever left."""

from __future__ import annotations

import concurrent.futures
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import serving_access_world as access_world
import serving_world as world

from mainspring.core import ports
from mainspring.core.contracts.deployment import TrafficTable

pytestmark = pytest.mark.integration

WORKERS, WAITING = 2, 4


def slow(batch: ports.ModelInput) -> Any:
    time.sleep(0.005)
    return world.linear(batch)


@pytest.mark.parametrize("way", world.WAYS)
def test_three_times_the_load_is_answered_or_refused_clearly(tmp_path: Path, way: str) -> None:
    bundle = world.World(function=slow)
    limits = {"workers": WORKERS, "max_waiting": WAITING, **world.WAYS[way]}
    with access_world.opened(tmp_path, bundle, **limits) as house:
        house.take(TrafficTable(endpoint="flights", version=1, stable=bundle.digest), bundle)
        asked = [{"entities": [world.entity(distance=-float(i))], "as_of": world.AS_OF} for i in range(20)]
        alone = [house.ask(access_world.PREDICT, a).json()["predictions"][0]["score"] for a in asked]
        ran_before = len(bundle.seen)

        def client(worker: int) -> list[tuple[int, int, httpx.Response]]:
            with httpx.Client(base_url=house.served.url, trust_env=False, timeout=30) as http:
                order = [(worker + i) % len(asked) for i in range(30)]
                answers = []
                for i in order:
                    # One in five gives up long before its turn can come.
                    leaves = i % 5 == 4
                    try:
                        answers.append(
                            (
                                i,
                                0,
                                http.post(
                                    access_world.PREDICT, json=asked[i], timeout=0.002 if leaves else 30
                                ),
                            )
                        )
                    except httpx.TimeoutException:
                        assert leaves
                return answers

        clients = 3 * (WORKERS + WAITING)
        with concurrent.futures.ThreadPoolExecutor(clients) as pool:
            answers = [a for found in pool.map(client, range(clients)) for a in found]
        right = refused = 0
        for i, _, answer in answers:
            if answer.status_code == 200:
                assert np.isclose(answer.json()["predictions"][0]["score"], alone[i], rtol=1e-6)
                right += 1
            else:
                assert (answer.status_code, answer.json()["code"]) == (503, "overloaded"), answer.text
                assert int(answer.headers["retry-after"]) >= 1
                refused += 1
        assert right > 0 and refused > 0
        text = house.http.get("/metrics").text
        counted = {
            line.split()[0]: float(line.split()[1])
            for line in text.splitlines()
            if line.startswith("mainspring_")
        }
        assert counted["mainspring_waiting_requests"] == 0
        ran = len(bundle.seen) - ran_before
        left_running = ran - right
        assert left_running >= 0
        left = counted["mainspring_left_requests_total"]
        sent = clients * 30
        # Whoever left was refused, left the line without having been run, or had been running when it left.
        assert ran + refused + left <= sent
