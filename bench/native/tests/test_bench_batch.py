"""The batching contest: answers are right, every target has its record, and overlap with the model is not counted."""

from __future__ import annotations

from mainspring.bench.native import batch_contest, batch_handoff, measure


def test_answers_are_right_and_each_target_has_its_record() -> None:
    results = list(measure.measure(batch_contest.contests(quick=True), rounds=1))
    assert [r["correct"] for r in results] == [True] * 4
    judged = batch_contest.judge(results, quick=True)
    assert len(judged) == 6 and len({r["name"] for r in judged}) == 6
    for record in judged:
        assert {"name", "value", "unit", "ratio", "peer", "target", "ok"} <= set(record)
        assert record["value"] > 0 and record["ratio"] > 0
        assert record["ok"] or record["unit"] == "us"


def test_the_models_time_is_not_the_batchers() -> None:
    log = batch_handoff.Log()
    log.rows = 2
    log.runs = [(1_000, 5_000), (6_000, 9_000)]
    log.requests = [(0, 0)] * batch_handoff.SUBMITTERS + [(4_000, 10_000)] * 3
    assert log.result() == {"p50": 2.0, "p90": 2.0, "requests": 3, "rows_per_batch": 1.0}
