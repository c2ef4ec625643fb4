"""What the workflows' benchmark says in words is what its stored result has in numbers, and its targets are judged anew."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import source_tree

from mainspring.bench.workflows import cancels, goals, pieces, recoveries, trainings

FOLDER = source_tree.ROOT / "bench" / "workflows"
STORED = json.loads((FOLDER / "results" / "workflows-xeon.json").read_text())


def test_the_stored_targets_are_those_of_the_stored_rows() -> None:
    assert goals.judge(STORED["results"]) == STORED["goals"]
    assert all(row["correct"] for row in STORED["results"])
    assert all("load_average_1m" in row for row in STORED["results"])


def test_the_table_in_the_readme_is_the_stored_result() -> None:
    lines = (FOLDER / "README.md").read_text().splitlines()
    assert len(STORED["goals"]) >= 8
    assert [line for line in goals.table(STORED["goals"]) if line not in lines] == []


def test_the_replay_guards_whole_run_is_told_as_it_is_stored() -> None:
    stored = json.loads((FOLDER / "results" / "replay-guard-epyc.json").read_text())
    (row,) = stored["results"]
    assert goals.judge([row]) == stored["goals"] and row["correct"] and not row["is_sample"]
    text = (FOLDER / "README.md").read_text()
    assert [line for line in goals.table(stored["goals"]) if line not in text.splitlines()] == []
    kinds = row["by_kind"]
    assert f"Of {row['mutants']} mutants {row['breaking']} break a stored history" in text
    assert (
        f"{kinds['stillborn']} are stillborn, {kinds['harmless']} harmless, {kinds['unreached']} on" in text
    )


@pytest.mark.parametrize(
    ("name", "merged"),
    [
        ("cancels-xeon", cancels.merged),
        ("cancels-quiet-xeon", cancels.merged),
        ("cancels-epyc", cancels.merged),
        ("recovery-xeon", recoveries.merged),
        ("trainings-xeon", trainings.merged),
    ],
)
def test_what_was_measured_in_pieces_is_told_as_it_is_stored(
    name: str, merged: Callable[..., dict[str, Any]]
) -> None:
    lines = (FOLDER / "README.md").read_text().splitlines()
    row = merged(pieces.read(FOLDER / "results" / f"{name}.jsonl"))
    assert row["correct"]
    assert [line for line in goals.table(goals.judge([row])) if line not in lines] == []
