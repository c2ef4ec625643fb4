"""The suite's own words and judgements, and its rows on real servers, as short as they get."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from mainspring.bench.workflows import __main__ as suite_main
from mainspring.bench.workflows import canaries, deploys, goals, overhead, small_processes, thin_client
from mainspring.workflows.deployment import judge

RESULTS = Path(__file__).parents[1] / "results"


def test_a_row_is_of_one_name_and_each_name_has_a_goal() -> None:
    assert set(suite_main.QUICK) < set(suite_main.FULL)
    rows: list[dict[str, Any]] = [{"name": "replay guard", "absent": "no checkout"}]
    assert goals.judge(rows) == []


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"name": "a step that does nothing", "ours_ms": 13.0, "ratio": 1.3}, [True]),
        ({"name": "a step that does nothing", "ours_ms": 14.0, "ratio": 1.31}, [False]),
        (
            {"name": "cancel to resources free", "cancels": 9, "freed_p99_seconds": 5.0, "leaked": 0},
            [False, True],
        ),
        (
            {"name": "cancel to resources free", "cancels": 9, "freed_p99_seconds": 4.9, "leaked": 1},
            [True, False],
        ),
        (
            {
                "name": "a killed worker",
                "load": 20,
                "quiet": {"steps": 40, "p95_seconds": 4.9, "taken_for_dead": 1},
                "loaded": {"steps": 40, "p95_seconds": 5.0, "taken_for_dead": 0},
            },
            [True, False, False, True],
        ),
        ({"name": "a bad candidate", "gone_max_seconds": 9.0, "failed_requests": 0}, [True]),
        ({"name": "a bad candidate", "gone_max_seconds": 9.0, "failed_requests": 1}, [False]),
        ({"name": "a bad candidate", "gone_max_seconds": float("nan"), "failed_requests": 0}, [False]),
        ({"name": "good candidates under load", "load": 10, "rolled_back": 1, "deployments": 20}, [False]),
        ({"name": "replay guard", "caught": 199, "breaking": 199, "is_sample": False}, [False]),
        ({"name": "replay guard", "caught": 199, "breaking": 199, "is_sample": True}, [True]),
        ({"name": "replay guard", "caught": 299, "breaking": 300, "is_sample": False}, [False]),
    ],
)
def test_goals_are_met_or_not(row: dict[str, Any], expected: list[bool]) -> None:
    assert [goal["ok"] for goal in goals.judge([row])] == expected


def test_a_judge_that_looks_at_the_ratio_alone_is_seen_to_send_good_ones_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One request in sixteen waits for a core, so that the p95 lies now here and now there."""
    random_numbers = random.Random(1)
    busy = [random_numbers.choice((0.0002, 0.0003)) for _ in range(3000)]
    for at in range(0, 3000, 16):
        busy[at] = 0.02 + 0.06 * random_numbers.random()
    careful = canaries.simulate(busy, canaries=60)
    assert careful["rolled_back"] <= 1
    assert canaries.simulate(busy, canaries=60, slower=5.0)["share"] > 0.8
    monkeypatch.setattr(judge, "_is_slower", lambda *_: True)
    assert canaries.simulate(busy, canaries=60)["rolled_back"] > 5


def test_the_client_is_timed_in_fresh_processes() -> None:
    row = thin_client.row(rounds=1, load=1)
    for where in ("quiet", "loaded"):
        assert row[where]["client_cpu_seconds"] >= row[where]["floor_cpu_seconds"] * 0.8 > 0.05


def test_an_unknown_row_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        suite_main.main(["--only", "nothing"])
    assert "invalid choice: 'nothing'" in capsys.readouterr().err


@pytest.mark.integration
def test_steps_are_measured_beside_the_bare_ones() -> None:
    row = overhead.row(steps=3, rounds=1)
    assert row["correct"], "the message was not encrypted"
    assert row["ratio"] == pytest.approx(row["ours_ms"] / row["bare_ms"])


@pytest.mark.integration
@pytest.mark.timeout(200)
def test_processes_end_and_leave_their_reports() -> None:
    row = small_processes.row(count=12, waves=2)
    assert (row["correct"], row["finished"], row["failures"]) == (True, 24, [])
    assert row["peak_mb"] >= row["idle_mb"] * 0.9 > 0


@pytest.mark.integration
@pytest.mark.soak
@pytest.mark.timeout(280)
def test_a_bad_candidate_is_seen_answering_and_gone() -> None:
    row = deploys.bad_row(times=1)
    assert row["correct"] and row["failed_requests"] == 0
    assert 0 < row["gone_max_seconds"] < 60
    assert "times stable's in the same window" in row["message"]


def stored() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / "workflows-xeon.json").read_text())
    return found
