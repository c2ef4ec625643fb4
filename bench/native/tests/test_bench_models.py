"""The contest of models: everybody's answers are right, and a wrong one would be seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mainspring.bench.native import models_contest


@pytest.mark.parametrize("build", [models_contest.tree_contest, models_contest.mlp_contest])
def test_answers_are_right_and_wrong_ones_are_seen(build: Any) -> None:
    contest = build(5)
    assert contest.contestants[0].is_ours
    for c in contest.contestants:
        assert c.check(c.run()) is None, c.name
    assert contest.contestants[0].check(np.full((5, 1), 0.123)) is not None


def test_goals_are_judged() -> None:
    def row(family: str, who: str, value: float) -> dict[str, Any]:
        return {"name": f"{family}/1/{who}", "value": value}

    results = [
        row("trees", "mainspring", 1.0),
        row("trees", "onnxruntime-bound", 2.5),
        row("mlp", "mainspring", 1.0),
    ]
    trees, network = models_contest.judge(results, quick=True)
    assert (trees["ratio"], trees["ok"]) == (2.5, False)
    assert (network["ratio"], network["ok"], "why" in network) == (None, False, True)
    assert models_contest.judge([*results, row("mlp", "onnxruntime-bound", 3.0)], quick=True)[1]["ok"]
    assert len(models_contest.contests(quick=True)) == 4
