"""The extraction monitor: who copies a model is seen, who uses it is not, and memory is bounded."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import serving_access_world as access_world
import serving_world as world
from numpy.typing import NDArray
from serving_access_world import PREDICT

from mainspring.core.client import serving as client_module
from mainspring.core.contracts import inputs
from mainspring.core.contracts.deployment import TrafficTable
from mainspring.serving import admission, extraction, observed
from mainspring.serving.access import callers, guard

NAMES = ("a", "b", "c")
POLICY = inputs.InputPolicy(
    columns={n: inputs.ColumnPolicy(low=0.0, high=1.0, out_of_range="accept") for n in NAMES}
)
BUNDLE = world.World(input_policy=POLICY)
WINDOW = 100.0


class House:
    """A monitor that looks when it is told to, by a clock that stands still."""

    def __init__(self, **changes: Any) -> None:
        self.now = 0.0
        self.told: list[tuple[str, str, bool]] = []
        settings: dict[str, Any] = {"min_rows": 500, "window_seconds": WINDOW}
        self.monitor = extraction.Monitor(
            **settings | changes, on_change=lambda *change: self.told.append(change), clock=lambda: self.now
        )
        self.monitor.close()  # the thread: tests look themselves
        self.random = np.random.default_rng(11)

    def ask(
        self,
        caller: str,
        rows: Callable[[int], NDArray[Any]],
        n: int,
        *,
        role: str = "stable",
        endpoint: str = "e",
    ) -> None:
        """`rows(k)` (k, 3) in 0..1; the score is the mean, so the boundary is a plane."""
        guard._CALL.set(guard.Call(callers.Caller(caller, frozenset()), endpoint))
        for _ in range(n // 50):
            values = rows(50).astype(np.float32)
            columns = dict(zip(NAMES, values.T, strict=True))
            asked = admission.Asked(50, False, columns, {})
            scores = values.mean(axis=1).astype(np.float32)
            self.monitor.observe(observed.Scored(endpoint, 1, BUNDLE, role, asked, {}, scores, 0, 0.001, 1))
            self.monitor.look()

    def usual(self, k: int) -> NDArray[Any]:
        """A thousand customers of one kind: low in every column, asked again and again."""
        customers = np.random.default_rng(5).beta(2, 8, size=(1000, 3))
        return customers[self.random.integers(0, 1000, k)]

    def uniform(self, k: int) -> NDArray[Any]:
        """All of the range, nothing twice."""
        return self.random.random((k, 3))

    def along_the_boundary(self, k: int) -> NDArray[Any]:
        """Points of all of the range that score about one half."""
        found = self.random.random((k * 30, 3))
        return found[np.argsort(np.abs(found.mean(axis=1) - 0.5))[:k]]


def test_a_copier_is_seen_and_a_user_is_not(caplog: pytest.LogCaptureFixture) -> None:
    house = House()
    with caplog.at_level(logging.WARNING):
        house.ask("user", house.usual, 4500)
        assert house.told == []
        house.ask("copier", house.along_the_boundary, 1000)
    assert house.told == [("copier", "e", True)]
    (suspicion,) = house.monitor.suspects().values()
    assert suspicion.signals == ("coverage", "boundary") and suspicion.rows == 1000
    assert house.monitor.alerts == 1
    (record,) = caplog.records
    assert "`copier` asks `e` as one who copies the model: coverage, boundary" in record.getMessage()
    assert record.fields["alert"] == "model_extraction"  # type: ignore[attr-defined]


def test_much_of_everything_is_suspicious_and_much_alone_is_not() -> None:
    house = House()
    house.ask("user", house.usual, 6000)
    assert house.told == []
    house.ask("copier", house.uniform, 6000)
    assert house.told == [("copier", "e", True)]
    assert house.monitor.suspects()["copier", "e"].signals == ("volume", "coverage")


def test_few_rows_tell_nothing_and_neither_do_shadows() -> None:
    house = House()
    house.ask("copier", house.along_the_boundary, 450)
    house.ask("copier", house.along_the_boundary, 2000, role="shadow")
    house.ask("copier", house.along_the_boundary, 450, endpoint="another")
    assert (house.told, house.monitor.suspects()) == ([], {})


def test_a_model_whose_scores_are_all_near_one_half_makes_nobody_suspect() -> None:
    house = House()
    house.ask("others", lambda k: house.along_the_boundary(k).round(1), 3000)
    house.ask("user", lambda k: house.along_the_boundary(k).round(1), 1000)
    assert house.told == [] or house.told[0][0] == "others"
    assert ("user", "e", True) not in house.told


def test_a_window_begins_anew_and_a_suspicion_ends() -> None:
    house = House()
    for _ in range(3):
        house.ask("patient", house.along_the_boundary, 450)
        house.now += WINDOW
    assert house.told == []
    house.ask("copier", house.along_the_boundary, 500)
    house.now += WINDOW - 1
    house.monitor.look()
    assert house.told == [("copier", "e", True)]
    house.now += 1
    house.monitor.look()
    assert house.told == [("copier", "e", True), ("copier", "e", False)]
    assert house.monitor.suspects() == {}
    house.ask("copier", house.along_the_boundary, 500)
    assert house.told[-1] == ("copier", "e", True)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "MAX_TRACKED", 20)
    monkeypatch.setattr(extraction, "MAX_WAITING_ROWS", 200)
    house = House()
    house.ask("copier", house.along_the_boundary, 500)
    for i in range(200):
        house.ask(f"caller-{i}", house.usual, 50)
    assert len(house.monitor._tracks) == 20
    assert ("copier", "e") in house.monitor.suspects(), "a suspect is not pushed out by others"
    look, house.monitor.look = house.monitor.look, lambda: None  # type: ignore[method-assign]
    house.ask("copier", house.usual, 1000)
    assert (house.monitor._waiting_rows, house.monitor.unwatched_rows) == (200, 800)
    look()


def test_columns_of_every_kind_are_told_apart() -> None:
    strings = np.array(["x", "y", None, "x"], object)
    numbers = np.array([1.0, 1.0, np.nan, 1.0])
    whole = np.array([2**62, 2**62, 0, 2**62], np.int64)
    flags = np.array([True, True, False, True])
    got = extraction._hashes({"s": strings, "f": numbers, "i": whole, "b": flags}, 4)
    assert got[0] == got[3] and len(set(got.tolist())) == 3


@pytest.mark.integration
def test_a_copier_is_throttled_at_a_real_server_and_a_user_is_not(tmp_path: Path) -> None:
    policy = inputs.InputPolicy(
        columns={"distance": inputs.ColumnPolicy(low=0, high=16, out_of_range="accept")}
    )
    bundle = world.World(
        function=lambda batch: np.full(len(batch.dense), 0.51, np.float32),
        input_policy=policy,
    )
    with world.serve(
        tmp_path, bundle, extraction_min_rows=100, extraction_rows_per_second=1.0, front="on"
    ) as served:
        with client_module.ServingClient(served.url, token=served.tokens.token_of("service@local")) as c:
            c.load_bundle(bundle.digest)
            c.set_traffic(TrafficTable(endpoint="flights", version=1, stable=bundle.digest))
        with httpx.Client(base_url=served.url, trust_env=False, timeout=30) as http:
            admin = access_world.bearer(served.tokens.token_of("admin@local"))
            keys = {
                name: http.post("/v1/keys", json={"caller": name}, headers=admin).json()["key"]
                for name in ("user", "copier")
            }

            def ask(name: str, distances: NDArray[Any]) -> int:
                entities = [world.entity(distance=d) for d in distances.tolist()]
                asked = {"as_of": world.AS_OF, "entities": entities}
                return http.post(PREDICT, json=asked, headers=access_world.bearer(keys[name])).status_code

            random = np.random.default_rng(3)
            deadline = time.monotonic() + 30
            while ask("copier", random.random(64) * 16) == 200:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            assert ask("copier", np.ones(1)) == 429
            assert ask("user", np.ones(64)) == 200
            metrics = http.get("/metrics").text
    assert "mainspring_extraction_alerts_total 1.0" in metrics
    assert 'mainspring_extraction_suspected_rows{caller="copier",endpoint="flights"}' in metrics
