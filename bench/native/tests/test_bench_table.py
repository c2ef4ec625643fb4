"""The table's contest: everybody gives the rows that were written, a wrong row is seen, each target has its record."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mainspring.bench.native import measure, table_contest


@pytest.mark.slow
def test_everybody_answers_and_every_target_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_contest, "QUICK_ROWS", 3000)
    monkeypatch.setattr(table_contest, "QUICK_LARGE_ROWS", 20_000)
    builds = table_contest.contests(quick=True)
    try:
        group = builds[1]().contestants
        assert [c.name for c in group][:5] == [
            "mainspring",
            "mainspring-strings",
            "dict-numpy",
            "lmdb",
            "sqlite",
        ]
        for one in group:
            assert one.check(one.run()) is None, one.name
        world = table_contest._world(True)
        right, world.values = world.values, world.values + np.float32(1)
        assert group[0].check(None) is not None
        world.values = right
        results = list(measure.measure(builds[2:], rounds=2))
    finally:
        judged = table_contest.judge([], quick=True)
    assert all(r["ok"] is False and r["why"] for r in judged if r["peer"] and r["peer"] != "feast")
    (feast,) = (r for r in judged if r["peer"] == "feast")
    assert ("why" in feast) == (feast["ratio"] is None or feast["ratio"] < 1000)
    assert {r["contestant"] for r in results if r["correct"]} >= {
        "mainspring",
        "dict-numpy",
        "lmdb",
        "sqlite",
    }
    judged = table_contest.judge(results, quick=True)
    assert not table_contest._worlds
    for record in judged:
        assert {"name", "value", "unit", "ratio", "peer", "target", "ok"} <= set(record)
        assert record["ok"] or record["why"]
    whole = judged[-1]
    assert whole["value"] == 0
    assert whole["rows_read"] > 0
    json.dumps(judged)
