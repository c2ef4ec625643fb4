"""A training leaves its project's catalog behind; where it cannot, it trains all the same."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest
import tiny_project

from mainspring.core import errors, projects, workspace
from mainspring.core.catalog import rules
from mainspring.core.contracts import catalog, protection, training
from mainspring.core.features import schema
from mainspring.workflows import worker
from mainspring.workflows.training import catalog as training_catalog
from mainspring.workflows.training import data_activities, run_folder

STEPS = ("ingest", "features", "join", "fit_plan")


class Control:
    """What is put, or why it is not."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.put: list[tuple[str, Sequence[catalog.CatalogEntry]]] = []
        self.found: list[protection.Findings] = []

    def __call__(
        self,
        project: str,
        entries: Sequence[catalog.CatalogEntry],
        found: Sequence[protection.Findings],
    ) -> None:
        if self.error is not None:
            raise self.error
        self.put.append((project, entries))
        self.found += found


def train(state: Path, control: Control, project: str, fraction: float) -> None:
    request = training.TrainRequest(
        run_id="run_1", project=project, requested_by="ana", sample_fraction=fraction
    )
    steps = data_activities.DataActivities(state, catalogue=control)

    async def main() -> None:
        for name in STEPS:
            await getattr(steps, name)(request)

    asyncio.run(main())


@pytest.mark.slow
def test_the_reference_project_publishes_what_it_has(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    control = Control()
    train(tmp_path, control, "flight-delay", 0.02)
    ((project, entries),) = control.put
    assert project == "flight-delay"
    told = {(f.entry, one.column): one for f in control.found for one in f.findings}
    assert told["lake.airlines", "name"].sampled_rows == 16
    assert max(one.confidence for one in told.values()) < protection.CERTAIN_ENOUGH  # nothing is kept back
    rules.check(entries, project=project)
    kinds = [e.kind for e in entries]
    assert (kinds.count("dataset"), kinds.count("view"), kinds.count("plan")) == (5, 15, 1)
    weather = next(e for e in entries if e.name == "view.weather_origin")
    assert weather.version and weather.newest_event_at and all(c.missing is not None for c in weather.columns)
    with caplog.at_level(logging.WARNING):
        train(tmp_path, Control(errors.DependencyDown("nobody there", name="control")), "flight-delay", 0.02)
        train(tmp_path, Control(RuntimeError("our mistake")), "flight-delay", 0.02)
    assert "the catalog of `flight-delay` stays as it was: nobody there" in caplog.text
    assert "our mistake" in caplog.text


def test_what_rows_tell_of_persons_is_found_but_for_what_is_said_already(tmp_path: Path) -> None:
    space = workspace.Workspace(tmp_path, "hospital", 1.0)
    folder = run_folder.RunFolder(space, "run_1")
    rows = pl.DataFrame(
        {"contact": ["ann@example.org"] * 9, "mail": ["bob@example.org"] * 9, "ward": [1] * 9}
    )
    for month in ("month=1", "month=2"):
        (space.lake / "intake" / month).mkdir(parents=True)
        rows.write_parquet(space.lake / "intake" / month / "part-0.parquet")
    rows.head(4).write_parquet(space.lake / "ward.v2.parquet")  # as a project made of functions keeps a table
    service = schema.FeatureService(name="s", views=())
    folder.keep(
        projects.FeatureReport(
            lake_digest="x", digest="y", service=service, views=(), registry=tmp_path / "none"
        )
    )
    columns = tuple(
        catalog.CatalogColumn(name=n, is_pii=n == "mail", classification="restricted") for n in rows.columns
    )
    entries = [
        catalog.CatalogEntry(kind="dataset", name=name, columns=columns)
        for name in ("lake.intake", "lake.gone", "plan", "lake.ward.v2")
    ]
    found, one_file = training_catalog.find(entries, folder)
    assert (one_file.entry, [(f.column, f.sampled_rows) for f in one_file.findings]) == (
        "lake.ward.v2",
        [("contact", 4)],
    )
    assert (found.entry, [(f.column, f.kind, f.sampled_rows) for f in found.findings]) == (
        "lake.intake",
        [("contact", "email", 18)],
    )
    assert "example.org" not in found.model_dump_json()


def test_what_was_found_is_told_before_the_catalog_that_is_held_against_it() -> None:
    class Records:
        def __init__(self) -> None:
            self.calls: list[str] = []

        def find_classifications(self, project: str, found: protection.Findings) -> None:
            self.calls.append(f"{project}: found in {found.entry}")

        def put_catalog(self, project: str, entries: Sequence[catalog.CatalogEntry]) -> None:
            self.calls.append(f"{project}: put {len(entries)}")

    records = Records()
    found = [protection.Findings(entry=name, findings=[]) for name in ("lake.a", "view.b")]
    worker._catalogue(records, "hospital", [], found)  # type: ignore[arg-type]
    assert records.calls == ["hospital: found in lake.a", "hospital: found in view.b", "hospital: put 0"]


def test_a_project_that_nobody_described_publishes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projects, "BUILT_IN", {"tiny": "tiny_project:PROJECT"})
    monkeypatch.setattr(tiny_project, "PROJECT", tiny_project.Tiny())
    control = Control()
    train(tmp_path, control, "tiny", 1.0)
    assert control.put == []
