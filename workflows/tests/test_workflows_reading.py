"""A run asks before it makes anything of data: what may not be read in its environment reaches no feature and no training set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import tiny_project
from activity_calls import do, refused

from mainspring.core import errors, projects
from mainspring.core.contracts import data_reads, training
from mainspring.core.protection import reading as rules
from mainspring.core.protection import sealing
from mainspring.workflows.training import data_activities, reading


class Asked:
    """Lets nothing classified be read as it is in `dev`, as the policies do by default."""

    def __init__(self) -> None:
        self.reads: list[data_reads.DataRead] = []

    def __call__(self, project: str, read: data_reads.DataRead) -> None:
        assert project == "tiny"
        self.reads.append(read)
        if rules.found(read, {}).form == "clear" and read.environment == "dev":
            raise errors.PolicyDenied("make rows of nobody", rule_id="data.use.synthetic-only")


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> tiny_project.Tiny:
    project = tiny_project.Tiny()
    monkeypatch.setattr(tiny_project, "PROJECT", project)
    monkeypatch.setattr(projects, "BUILT_IN", {"tiny": "tiny_project:PROJECT"})
    return project


def say(tiny: tiny_project.Tiny, monkeypatch: pytest.MonkeyPatch, **said: Any) -> None:
    """Let the project's ingest report say so of its lake."""
    ingest, of_tables = tiny.ingest, {k: said.pop(k) for k in ("pii", "classification") if k in said}

    def told(lake_dir: Path, *, sample_fraction: float = 1.0) -> projects.IngestReport:
        report = ingest(lake_dir, sample_fraction=sample_fraction)
        tables = tuple(table.model_copy(update=of_tables) for table in report.tables)
        return report.model_copy(update={"tables": tables, **said})

    monkeypatch.setattr(tiny, "ingest", told)


def request(environment: str = "dev") -> training.TrainRequest:
    return training.TrainRequest(run_id="run_1", project="tiny", requested_by="ana", environment=environment)


def test_a_refused_lake_makes_no_feature_and_no_training_set(
    tmp_path: Path, tiny: tiny_project.Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(tiny, monkeypatch, pii=("carrier",))
    asked = Asked()
    steps = data_activities.DataActivities(tmp_path, ask=asked)
    # A run in prod made the lake that is there: that lets nobody in dev read it.
    do(steps.ingest(request("prod")))
    for _ in range(2):
        denied = refused(lambda: do(steps.ingest(request())))
        assert isinstance(denied, errors.PolicyDenied) and not denied.retryable
    assert [read.environment for read in asked.reads] == ["prod", "dev", "dev"]
    (table,) = asked.reads[1].datasets
    assert (table.name, table.personal, table.sealed, table.is_synthetic) == (
        "lake.rows",
        ["carrier"],
        [],
        False,
    )
    assert (
        table.version.startswith("sha256:") and "late" in table.columns and asked.reads[1].run_id == "run_1"
    )

    fresh = data_activities.DataActivities(tmp_path / "fresh", ask=asked)
    assert isinstance(refused(lambda: do(fresh.ingest(request()))), errors.PolicyDenied)
    assert isinstance(refused(lambda: do(fresh.features(request()))), errors.NotFound)
    assert not list((tmp_path / "fresh").rglob("*training*.parquet"))


@pytest.mark.parametrize("said", [{"is_synthetic": True, "pii": ("carrier",)}, {}])
def test_rows_of_nobody_and_what_tells_of_nobody_are_read(
    tmp_path: Path, tiny: tiny_project.Tiny, monkeypatch: pytest.MonkeyPatch, said: dict[str, Any]
) -> None:
    say(tiny, monkeypatch, **said)
    asked = Asked()
    steps = data_activities.DataActivities(tmp_path, ask=asked)
    do(steps.ingest(request()))
    assert asked.reads[0].datasets[0].is_synthetic is bool(said)
    do(steps.validate(request()))
    assert do(steps.features(request())).detail["rows"] > 0


def test_sealed_columns_are_seen_in_tables_of_one_file_and_of_many(tmp_path: Path) -> None:
    cipher = sealing.Cipher({"0a0a0a0a": bytes(32)}, current="0a0a0a0a")
    rows = pl.DataFrame({"who": ["ann", "bob"], "n": [1, 2]})
    sealed = rows.with_columns(cipher.seal(rows["who"], sealing.Field("lake.people", "who")))
    sealed.write_parquet(tmp_path / "one.parquet")
    for month, part in (("1", sealed), ("2", rows)):
        (tmp_path / "many" / f"month={month}").mkdir(parents=True)
        part.write_parquet(tmp_path / "many" / f"month={month}" / "part-0.parquet")
    tables = tuple(
        projects.TableReport(name=name, rows=2, files=1, bytes=1, digest="sha256:1", pii=("who",))
        for name in ("one", "many", "gone")
    )
    report = projects.IngestReport(
        project="tiny", source="s", licence="l", sample_fraction=1, tables=tables, digest="sha256:2"
    )
    one, many, gone = reading.lake(report, tmp_path)
    assert (one.sealed, many.sealed) == (["who"], [])
    assert (one.columns, gone.columns, gone.personal) == (["who", "n"], ["who"], ["who"])
