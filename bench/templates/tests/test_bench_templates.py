"""The suite makes a project, trains it and says what it was compared with, whether or not that was reached."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mainspring.bench.templates import __main__ as suite


@pytest.fixture
def made_anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each makes a package of the same name."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    for module in [m for m in sys.modules if m.partition(".")[0] == "bench_project"]:
        del sys.modules[module]


def test_a_row_tells_of_the_metric_that_is_listed(tmp_path: Path, made_anew: None) -> None:
    row = suite.measure("vision", tmp_path, given={"pictures": "digits", "epochs": "1"}, threads=1)
    assert row["rows"] == {"train": 1100, "valid": 200, "test": 497} and row["correct"]
    assert row["goal"]["unit"] == "accuracy" and row["goal"]["target"] == 0.877
    assert 0.3 < row["accuracy"] <= 1 and row["goal"]["ok"] == (row["accuracy"] >= 0.877)
    assert "vision: accuracy" in suite._table({"results": [row]})


@pytest.mark.slow
@pytest.mark.parametrize("template", ["batch", "streaming"])
def test_a_row_tells_whether_a_template_keeps_what_it_promises(
    template: str, tmp_path: Path, made_anew: None
) -> None:
    row = suite.measure(template, tmp_path, given={"hidden": "32"}, fraction=0.02)
    assert row["correct"] and row["kept"] and row["goal"]["target"] == 0.753
    if template == "batch":
        assert [month["month"] for month in row["months"]] == ["2013-10", "2013-11", "2013-12"]
        assert all(month["rows"] >= month["labelled"] > 300 for month in row["months"])
        assert all(month["most_off"] < 1e-5 and month["rows_per_second"] > 0 for month in row["months"])
    else:
        assert row["streams"]["different"] == 0 and row["streams"]["events"] > 10_000


@pytest.mark.parametrize(
    "file", sorted(Path(suite.__file__).with_name("results").glob("*.json")), ids=lambda p: p.stem
)
def test_stored_results_reach_what_is_listed(file: Path) -> None:
    stored = json.loads(file.read_text())
    (row,) = stored["results"]
    assert row["sample_fraction"] == 1.0 and row["goal"]["ok"] and stored["machine"]["commit"]
    assert row[row["goal"]["unit"]] >= suite.LISTED[row["template"]][1]
