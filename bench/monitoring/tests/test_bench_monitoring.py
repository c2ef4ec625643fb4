"""The year of the frozen model, judged again from its stored sums: what the documents claim of it is what the code finds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mainspring.bench import monitoring
from mainspring.bench.monitoring import throughput, year
from mainspring.core.contracts.monitoring import MonitorReport

RESULTS = Path(monitoring.__file__).parent / "results"
STORED = Path(__file__).parent / "stored"


@pytest.fixture(scope="module")
def kept() -> year.Kept:
    return year.Kept.read(STORED)


@pytest.fixture(scope="module")
def reports(kept: year.Kept) -> list[MonitorReport]:
    return list(year.checks(kept))


@pytest.fixture(scope="module")
def found(reports: list[MonitorReport]) -> list[dict[str, Any]]:
    return year.opened(reports)


def test_both_drifts_are_found_and_stable_months_are_left_alone(
    kept: year.Kept, found: list[dict[str, Any]]
) -> None:
    told = year.judge(found, kept)
    assert told["days_of_data_until_found"]["2013-09"] <= 7
    # The first week of December was about as predicted: its surge began with a storm on the fifth.
    assert abs(told["december_gap_of_the_first_seven_days"]) < 0.05
    assert told["december_surge_began"] == "2013-12-05"
    assert told["days_of_the_december_surge_until_found"] <= 7
    assert told["most_false_alarms_in_a_stable_month"] <= 1


def test_inputs_moved_all_year_and_opened_nothing(
    reports: list[MonitorReport], found: list[dict[str, Any]]
) -> None:
    moved = sum(any(f.subject == "temp" for f in r.findings) for r in reports)
    assert moved > len(reports) * 0.9 and {one["kind"] for one in found} == {"calibration"}


def test_the_stored_result_is_what_the_code_finds(kept: year.Kept, found: list[dict[str, Any]]) -> None:
    stored = json.loads((RESULTS / "year.json").read_text())
    assert stored["alerts"] == found
    assert {name: stored[name] for name in year.judge(found, kept)} == year.judge(found, kept)


@pytest.mark.slow
def test_a_day_is_checked_whole_and_the_stored_one_was_of_ten_million(tmp_path: Path) -> None:
    """A thousandth of it here: every step runs, and its answer is right."""
    small = throughput.measure(tmp_path, 10_000)
    stored = json.loads((RESULTS / "throughput.json").read_text())
    assert small["is_right"] and small.keys() == stored.keys() - {"machine"}
    assert stored["is_right"] and stored["rows"] == stored["known"] == 10_000_000
    assert small["steps"].keys() == stored["steps"].keys()
    # "Takes minutes in bounded memory."
    assert stored["seconds"] < 300 and stored["resident_megabytes_peak"] < 1500
