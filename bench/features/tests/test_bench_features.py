"""The judge of the features' targets: by ratio, and a wrong answer is not met."""

from __future__ import annotations

from typing import Any

import pytest

from mainspring.bench.features import __main__ as bench


def result(name: str, value: float | None) -> dict[str, Any]:
    return {"name": f"online/{name}", "value": value}


def results(ours: float | None) -> list[dict[str, Any]]:
    found = []
    for group in ("10f/1/", "10f/256/", "50f/256/"):
        found += [result(group + who, ours) for who in ("mainspring", "mainspring-numpy")]
        found.append(result(group + "feast-redis", 300.0))
    return found


@pytest.mark.parametrize(
    ("ours", "met"), [(5.0, [True, False, False]), (0.3, [True, True, True]), (6.0, [False] * 3)]
)
def test_a_target_is_met_by_its_ratio(ours: float, met: list[bool]) -> None:
    goals = bench.judge(results(ours))
    assert [goal["ok"] for goal in goals] == met
    assert [goal["ratio"] for goal in goals] == [pytest.approx(300 / ours)] * 3


def test_a_wrong_answer_is_never_met() -> None:
    assert all(
        not goal["ok"] and goal["ratio"] is None and goal["why"] for goal in bench.judge(results(None))
    )
