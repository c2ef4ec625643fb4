"""A training leaves its project's catalog behind; where it cannot, it trains all the same."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

import pytest
import tiny_project

from mainspring.core import errors, projects
from mainspring.core.catalog import rules
from mainspring.core.contracts import catalog, training
from mainspring.workflows.training import data_activities

STEPS = ("ingest", "features", "join", "fit_plan")


class Control:
    """What is put, or why it is not."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.put: list[tuple[str, Sequence[catalog.CatalogEntry]]] = []

    def __call__(self, project: str, entries: Sequence[catalog.CatalogEntry]) -> None:
        if self.error is not None:
            raise self.error
        self.put.append((project, entries))


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


def test_a_project_that_nobody_described_publishes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projects, "BUILT_IN", {"tiny": "tiny_project:PROJECT"})
    monkeypatch.setattr(tiny_project, "PROJECT", tiny_project.Tiny())
    control = Control()
    train(tmp_path, control, "tiny", 1.0)
    assert control.put == []
