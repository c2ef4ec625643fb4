"""A latency is the median of rounds, by a clock of the test; a budget that is missed tells numbers and machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mainspring.core import errors, projects
from mainspring.core.models import latency

GATES = projects.QualityGates(
    min_auc=0.5, leak_alarm_auc=0.99, min_auc_gain_over_baseline=-1, max_calibration_gap=1
)
COLUMNS = {"x": np.arange(7, dtype=np.float32)}


class Model:
    """Stands for program and runtime: request k takes `cost(k)` seconds of its own clock."""

    name = "scripted"

    def __init__(self, cost: Callable[[int], float]) -> None:
        self.now, self._cost = 0.0, cost
        self.asked: list[float] = []

    def run(self, columns: dict[str, Any]) -> Any:
        assert all(values.shape == (1,) for values in columns.values())
        self.asked.append(float(columns["x"][0]))
        return columns

    def predict(self, _: Any) -> Any:
        self.now += self._cost(len(self.asked) - 1)

    def measured(self) -> Any:
        model: Any = self
        return latency.measure(model, model, COLUMNS, clock=lambda: self.now)


def test_one_bad_round_decides_on_nothing() -> None:
    first = latency.WARM_UP
    slow = range(first + latency.REQUESTS, first + 2 * latency.REQUESTS)
    # The warm-up is slow and not counted; of each round's 200 the slowest four take 2 ms.
    model = Model(lambda k: 0.005 if k < first else 0.0025 if k in slow else 0.002 if k % 50 == 0 else 0.001)
    found = model.measured()
    assert (found.rounds, found.requests) == (latency.ROUNDS, latency.ROUNDS * latency.REQUESTS)
    assert found.p50_ms == pytest.approx(1.0)
    assert (found.p99_ms, found.p99_ms_best, found.p99_ms_worst) == pytest.approx((2.0, 2.0, 2.5))
    assert set(model.asked) == set(range(7)) and "CPUs" in found.machine and found.runtime == "scripted"


def test_a_slow_model_is_asked_less_often() -> None:
    found = Model(lambda _: 1.0).measured()
    assert found.requests == latency.ROUNDS * latency.FEWEST_REQUESTS
    assert found.p99_ms == pytest.approx(1000)
    quick = Model(lambda _: 0.01).measured()
    assert quick.requests == pytest.approx(latency.SECONDS / 0.01, abs=latency.ROUNDS)


def test_the_budget_tells_numbers_rounds_and_machine() -> None:
    found = Model(lambda _: 0.002).measured()
    assert latency.check(found, GATES) == {}
    passed = latency.check(found, GATES.model_copy(update={"max_latency_ms": 2.5}))
    assert passed["max_latency_ms"]["expected"] == "<= 2.500"
    with pytest.raises(errors.GateFailed) as failed:
        latency.check(found, GATES.model_copy(update={"max_latency_ms": 1.5}))
    assert (failed.value.gate, failed.value.got) == ("max_latency_ms", "2.000")
    assert "5 rounds" in failed.value.message and found.machine in failed.value.message
    broken = found.model_copy(update={"p99_ms": float("nan")})
    with pytest.raises(errors.GateFailed):
        latency.check(broken, GATES.model_copy(update={"max_latency_ms": 1.5}))


def test_no_row_is_no_measurement() -> None:
    model: Any = Model(lambda _: 0.001)
    for columns in ({}, {"x": np.zeros(0, np.float32)}):
        with pytest.raises(errors.DataInvalid, match="no row to time"):
            latency.measure(model, model, columns)
