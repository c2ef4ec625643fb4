"""What is old goes, whole; what is younger, held, or nobody's business stays."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from mainspring.core import job_logs
from mainspring.core import retention as kept
from mainspring.core.contracts import run_logs
from mainspring.core.contracts.retention import KeptKind, LegalHold, RetentionRequest

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def item(age: timedelta, kind: KeptKind = KeptKind.READS) -> kept.Item:
    return kept.Item(kind, Path(f"/{kind}/{age}"), NOW - age)


def hold(since: timedelta, until: timedelta | None = None, kind: KeptKind | None = None) -> LegalHold:
    return LegalHold(
        kind=kind, since=NOW - since, until=None if until is None else NOW - until, reason="case 12"
    )


def test_exactly_as_old_as_it_may_get_is_kept() -> None:
    at, over = item(30 * DAY), item(30 * DAY + timedelta(microseconds=1))
    found = kept.sort([at, over], {KeptKind.READS: 30}, (), now=NOW)
    assert (found.old, found.kept, found.held) == ((over,), (at,), ())


def test_a_kind_without_days_is_kept_for_ever_and_the_future_too() -> None:
    old, future = item(9999 * DAY, KeptKind.PREDICTIONS), item(-5 * DAY)
    found = kept.sort([old, future], {KeptKind.READS: 1}, (), now=NOW)
    assert found.kept == (old, future)


def test_a_hold_keeps_what_was_written_in_its_time_and_no_more() -> None:
    days = {KeptKind.READS: 1.0, KeptKind.PREDICTIONS: 1.0}
    before, first, last, late, after = (
        item(age)
        for age in (
            20 * DAY + timedelta(seconds=1),
            20 * DAY,
            10 * DAY,
            10 * DAY - timedelta(minutes=59),  # its rows may be from before the end
            10 * DAY - timedelta(minutes=61),
        )
    )
    found = kept.sort([before, first, last, late, after], days, [hold(20 * DAY, 10 * DAY)], now=NOW)
    assert (found.old, found.held) == ((before, after), (first, last, late))
    other = item(15 * DAY, KeptKind.PREDICTIONS)
    narrow = kept.sort([first, other], days, [hold(20 * DAY, kind=KeptKind.READS)], now=NOW)
    assert (narrow.old, narrow.held) == ((other,), (first,))
    assert kept.sort([last], days, [hold(20 * DAY)], now=NOW).held == (last,), "without an end"


def name(at: datetime) -> str:
    return f"{int(at.timestamp() * 1e6):020d}"


@pytest.fixture
def places(tmp_path: Path) -> kept.Places:
    return kept.Places(
        tmp_path / "predictions",
        ["delay"],
        tmp_path / "reads",
        ["carriers"],
        tmp_path / "project",
        tmp_path / "job_logs",
    )


def put(path: Path, size: int = 10) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    return path


def test_only_the_named_ones_files_are_looked_at(places: kept.Places, tmp_path: Path) -> None:
    mine = put(tmp_path / "predictions" / "delay" / "ab" / f"{name(NOW)}-1-1.parquet")
    put(tmp_path / "predictions" / "other" / "ab" / f"{name(NOW)}-1-1.parquet")
    put(tmp_path / "predictions" / "delay" / "ab" / f"{name(NOW)}-1-2.parquet.new")
    put(tmp_path / "predictions" / "delay" / "ab" / "notes.parquet")
    (tmp_path / "predictions" / "delay" / "ab" / f"{name(NOW)}-1-3.parquet").symlink_to("/etc/passwd")
    read = put(tmp_path / "reads" / "carriers" / f"{name(NOW)}-1.parquet")
    put(tmp_path / "reads" / "flights" / f"{name(NOW)}-1.parquet")
    found = list(kept.items(places, KeptKind))
    assert [(i.path, i.written_at) for i in found] == [(mine, NOW), (read, NOW)]


def test_a_held_batch_goes_whole_and_a_crash_in_the_middle_is_finished(
    places: kept.Places, tmp_path: Path
) -> None:
    quarantine = tmp_path / "project" / "lake.quarantine"
    put(quarantine / "flights-1" / "data" / "a.parquet", 100)
    put(quarantine / "flights-1" / "report.json", 20)
    put(quarantine / ".gone-flights-0-ab" / "left.parquet")
    (found,) = kept.items(places, [KeptKind.HELD_BATCHES])
    assert (found.path.name, found.size()) == ("flights-1", 120)
    assert kept.remove(found) == 120
    assert list(quarantine.iterdir()) == [], "with what an earlier run has left"
    assert kept.remove(found) == 0, "another took it first"


def test_a_runs_logs_go_whole(places: kept.Places, tmp_path: Path) -> None:
    logs = job_logs.JobLogs(tmp_path / "job_logs")
    for run_id in ("run_a", "run_b"):
        for k in range(2):
            logs.keep(run_id, run_logs.LogJob(name=f"{run_id}-train-{k}", status="FAILED"), "a line\n")
    put(tmp_path / "job_logs" / ".gone-run_0-ab" / "left.log")
    found = {item.path.name: item for item in kept.items(places, [KeptKind.JOB_LOGS])}
    assert set(found) == {"run_a", "run_b"}
    assert kept.remove(found["run_a"]) > 0
    assert logs.jobs("run_a") == () and len(logs.jobs("run_b")) == 2
    assert [one.name for one in (tmp_path / "job_logs").iterdir()] == ["run_b"]


def test_a_file_is_removed_once(places: kept.Places, tmp_path: Path) -> None:
    put(tmp_path / "project" / "skew" / "1.json", 7)
    (found,) = kept.items(places, KeptKind)
    assert [kept.remove(found), kept.remove(found)] == [7, 0]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"predictions_days": 30}, "needs endpoints"),
        ({"reads_days": 30}, "needs views"),
        ({"skew_reports_days": 0.5}, "greater than or equal to 1"),
        ({"holds": [{"since": "2026-01-01T00:00:00Z", "reason": ""}]}, "at least 3"),
        (
            {"holds": [{"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z", "reason": "abc"}]},
            "forward in time",
        ),
        ({"holds": [{"since": "2026-01-02T00:00:00", "reason": "abc"}]}, "time zone"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(wrong: dict[str, object], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        RetentionRequest.model_validate({"project": "tiny", **wrong})


def test_without_a_rule_nothing_has_an_age() -> None:
    assert RetentionRequest(project="tiny").days == {}
