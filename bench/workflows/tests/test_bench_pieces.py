"""Rows in pieces: what is stored is what was seen, and the row is over all of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mainspring.bench.workflows import __main__ as suite_main
from mainspring.bench.workflows import cancels, goals, pieces, recoveries, trainings
from mainspring.core import errors


def cancelled(seconds: list[float], leaked: int = 0) -> dict[str, Any]:
    return pieces.stamped(
        {
            "row": "cancel to resources free",
            "at_once": 4,
            "cancels": [[s, s + 1] for s in seconds],
            "leaked": leaked,
        }
    )


def trained(**changes: Any) -> dict[str, Any]:
    same = {"rows": "sha256:1", "weights": "sha256:2", "auc": 0.7}
    one = {
        "train_model": {"wall": 60.0, "start_up": 5.0, "steps": {"train": 30.0}, **same, **changes},
        "by_hand": {"wall": 50.0, "start_up": 3.0, "steps": {"train": 25.0}, **same},
    }
    return pieces.stamped({"row": "a training", "fraction": 1.0, "rounds": [one]})


def test_a_row_is_over_all_values_of_its_pieces_and_not_over_their_quantiles(tmp_path: Path) -> None:
    file = tmp_path / "cancels.jsonl"
    pieces.add(file, cancelled([1.0] * 99))
    found = pieces.add(file, cancelled([9.0], leaked=1))
    assert pieces.read(file) == found
    row = cancels.merged(found)
    assert (row["cancels"], row["leaked"], row["freed_max_seconds"]) == (100, 1, 9.0)
    assert 1.0 <= row["freed_p99_seconds"] < 2.0  # the mean of the pieces' own would be 5
    assert [p["cancels"] for p in row["pieces"]] == [99, 1]
    assert [goal["ok"] for goal in goals.judge([row])] == [True, False]


def test_a_file_is_of_one_row_and_says_which_line_is_none(tmp_path: Path) -> None:
    file = tmp_path / "pieces.jsonl"
    pieces.add(file, cancelled([1.0]))
    with pytest.raises(errors.Conflict, match="a file of its own"):
        pieces.add(file, trained())
    assert len(pieces.read(file)) == 1
    with file.open("a") as more:
        more.write(json.dumps({"row": "cancel to resources free"}) + "\n")
    with pytest.raises(errors.CorruptArtifact, match="line 2 is no piece"):
        pieces.add(file, cancelled([1.0]))


def test_a_training_is_judged_without_its_start_up_and_is_wrong_if_it_learned_something_else() -> None:
    row = trainings.merged([trained(), trained(wall=70.0), trained(wall=66.0)])
    assert (row["rounds"], row["start_up_seconds"], row["correct"]) == (3, 5.0, True)
    assert row["ratio"] == (66.0 - 5.0) / 50.0
    assert [goal["ok"] for goal in goals.judge([row])] == [False]
    assert goals.judge([trainings.merged([trained()])])[0]["ok"]
    assert not trainings.merged([trained(), trained(weights="sha256:3")])["correct"]
    with pytest.raises(ValueError, match="unpack"):
        trainings.merged([trained(), {**trained(), "fraction": 0.5}])


def test_every_kill_counts_and_a_living_worker_taken_for_dead_is_told() -> None:
    def killed(*seconds: float, dead: int = 0) -> dict[str, Any]:
        return {"seconds": list(seconds), "taken_for_dead": dead}

    first = pieces.stamped(
        {"row": "a killed worker", "load": 20, "quiet": [killed(3.0, 4.0)], "loaded": [killed(5.5)]}
    )
    more = pieces.stamped(
        {"row": "a killed worker", "load": 20, "quiet": [killed(3.0)], "loaded": [killed(4.0, dead=1)]}
    )
    row = recoveries.merged([first, more])
    assert (row["quiet"]["kills"], row["quiet"]["steps"], row["quiet"]["max_seconds"]) == (2, 3, 4.0)
    assert (row["loaded"]["p95_seconds"], row["loaded"]["taken_for_dead"]) == (5.425, 1)
    assert [goal["ok"] for goal in goals.judge([row])] == [True, True, False, False]


@pytest.mark.parametrize("only", [[], ["--only", "client"], ["--only", "cancels", "--only", "training"]])
def test_pieces_are_of_one_row_that_has_them(
    only: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        suite_main.main([*only, "--pieces", str(tmp_path / "pieces.jsonl")])
    assert "--only training or cancels or recovery" in capsys.readouterr().err


def test_a_limit_of_time_is_for_cancels_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        suite_main.main(["--only", "training", "--pieces", str(tmp_path / "p.jsonl"), "--seconds", "10"])
    assert "--seconds is for cancels" in capsys.readouterr().err and not (tmp_path / "p.jsonl").exists()
