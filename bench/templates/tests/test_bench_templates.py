"""The suite makes a project, trains it and says what it was compared with, whether or not that was reached."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from mainspring.bench.templates import __main__ as suite


def test_a_row_tells_of_the_metric_that_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    row = suite.measure("vision", tmp_path, given={"pictures": "digits", "epochs": "1"}, threads=1)
    assert row["rows"] == {"train": 1100, "valid": 200, "test": 497} and row["correct"]
    assert row["goal"]["unit"] == "accuracy" and row["goal"]["target"] == 0.877
    assert 0.3 < row["accuracy"] <= 1 and row["goal"]["ok"] == (row["accuracy"] >= 0.877)
    assert "vision: accuracy" in suite._table({"results": [row]})


@pytest.mark.parametrize(
    "file", sorted(Path(suite.__file__).with_name("results").glob("*.json")), ids=lambda p: p.stem
)
def test_stored_results_reach_what_is_listed(file: Path) -> None:
    stored = json.loads(file.read_text())
    (row,) = stored["results"]
    assert row["sample_fraction"] == 1.0 and row["goal"]["ok"] and stored["machine"]["commit"]
    assert row[row["goal"]["unit"]] >= suite.LISTED[row["template"]][1]
