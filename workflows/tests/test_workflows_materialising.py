"""Rows come to serving once, in order and after any death; a backfill leaves the watermark alone."""

import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import tiny_project
from pydantic import ValidationError
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment, WorkflowEnvironment
from workflows_doubles import QUEUE, run

from mainspring.core import errors, projects, settings
from mainspring.core.client.schedules import ScheduleClient
from mainspring.core.contracts import materialising, prediction, schedules
from mainspring.core.features import lake, materialise, windows
from mainspring.workflows import errors as temporal_errors
from mainspring.workflows.materialising.activities import MaterialisingActivities, ServingSink
from mainspring.workflows.materialising.workflow import Materialize

pytestmark = pytest.mark.timeout(90)

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


class Serving:
    """Keeps the newest row of each key, as the online store does. Down from push number `down_at` on."""

    def __init__(self) -> None:
        self.rows: dict[tuple[Any, ...], tuple[datetime, tuple[Any, ...]]] = {}
        self.pushes: list[prediction.FeaturePush] = []
        self.down_at: int | None = None
        self.refusal: errors.MainspringError | None = None
        self.when_pushed: Callable[[], None] = lambda: None

    def push(self, asked: prediction.FeaturePush) -> prediction.FeaturePushResult:
        # As it goes over the wire.
        asked = prediction.FeaturePush.model_validate_json(asked.model_dump_json())
        if self.refusal is not None:
            raise self.refusal
        if self.down_at is not None and len(self.pushes) >= self.down_at:
            raise errors.DependencyDown("serving is down", name="serving")
        self.pushes.append(asked)
        accepted = 0
        for n, at in enumerate(asked.event_times):
            key = tuple(values[n] for values in asked.keys.values())
            if key not in self.rows or self.rows[key][0] <= at:
                self.rows[key] = at, tuple(values[n] for values in asked.columns.values())
                accepted += 1
        self.when_pushed()
        return prediction.FeaturePushResult(
            view=asked.view, received=len(asked.event_times), accepted=accepted
        )


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> settings.Settings:
    """The project `tiny`, whose lake is there."""
    monkeypatch.setattr(tiny_project, "PROJECT", tiny_project.Tiny())
    monkeypatch.setattr(projects, "BUILT_IN", {"tiny": "tiny_project:PROJECT"})
    in_force = settings.load({"MAINSPRING_STACK_STATE_DIR": str(tmp_path)}, directory=tmp_path)
    tiny_project.PROJECT.ingest(tmp_path / "projects" / "tiny" / "full" / "lake")
    return in_force


def bring(in_force: settings.Settings, serving: Serving, **changes: Any) -> materialising.MaterializeOutcome:
    request = materialising.MaterializeRequest.model_validate({"project": "tiny", **changes})
    activities = MaterialisingActivities(in_force, serving.push)
    return asyncio.run(ActivityEnvironment().run(activities.push, request))


def refused(work: Callable[[], Any]) -> tuple[errors.MainspringError, bool]:
    """The error, and whether Temporal tries again."""
    with pytest.raises(ApplicationError) as caught:
        work()
    return temporal_errors.from_failure(caught.value), not caught.value.non_retryable


def test_the_second_run_brings_what_is_new_and_a_backfill_brings_all(tiny: settings.Settings) -> None:
    serving = Serving()
    first = bring(tiny, serving)
    (view,) = first.views
    assert (view.name, view.rows, view.pushed, view.taken) == ("carrier_stats", 4, 4, 4)
    (asked,) = serving.pushes
    assert asked.view == "carrier_stats" and sorted(asked.keys["carrier"]) == sorted(
        key for (key,) in serving.rows
    )
    watermark = next((tiny.stack.state_dir / "projects" / "tiny" / "full" / "materialised").glob("*.json"))
    before = watermark.read_text()
    lost = Serving()
    backfill = bring(tiny, lost, since="2000-01-01T00:00:00Z")
    assert backfill.is_backfill and backfill.views[0].taken == 4 and lost.rows == serving.rows
    assert watermark.read_text() == before
    early = bring(tiny, Serving(), since="2000-01-01T00:00:00Z", until="2000-01-02T00:00:00Z")
    assert (early.views[0].rows, early.views[0].watermark) == (0, None)


def test_serving_that_is_down_is_tried_again_and_loses_nothing(tiny: settings.Settings) -> None:
    serving = Serving()
    serving.down_at = 0
    error, again = refused(lambda: bring(tiny, serving))
    assert isinstance(error, errors.DependencyDown) and again
    serving.down_at = None
    assert bring(tiny, serving).views[0].taken == 4
    serving = Serving()
    serving.refusal = errors.NotFound("no view `carrier_stats`; load a bundle", resource="view")
    error, again = refused(lambda: bring(tiny, serving, since="2000-01-01T00:00:00Z"))
    assert isinstance(error, errors.NotFound) and not again


def test_a_view_that_is_none_is_named_with_those_there_are(tiny: settings.Settings) -> None:
    serving = Serving()
    error, again = refused(lambda: bring(tiny, serving, views=["carrier_stat"]))
    assert isinstance(error, errors.NotFound) and "it has `carrier_stats`" in error.message
    assert not again and serving.pushes == []
    with pytest.raises(ValidationError, match="until lies before since"):
        materialising.MaterializeRequest.model_validate(
            {"project": "tiny", "since": NOW, "until": NOW - timedelta(days=1)}
        )


def source(folder: Path, rows: int = 12_000) -> materialise.Job:
    """Keys 0 to 5999 at an hour, and again at the next."""
    at = [NOW - timedelta(hours=2 - n // 6000) for n in range(rows)]
    pl.DataFrame(
        {
            "key": [n % 6000 for n in range(rows)],
            "value": [float(n) if n % 7 else None for n in range(rows)],
            windows.EVENT: pl.Series(at, dtype=pl.Datetime("us", "UTC")),
            windows.CREATED: pl.Series(at, dtype=pl.Datetime("us", "UTC")),
        }
    ).write_parquet(folder / "view.parquet")
    return materialise.Job(
        lake.Parquet(str(folder / "view.parquet")), ("key",), ("value",), windows.EVENT, windows.CREATED
    )


def test_a_run_that_died_in_the_middle_goes_on_behind_its_watermark(tmp_path: Path) -> None:
    job, serving, straight = source(tmp_path), Serving(), Serving()
    materialise.materialise(job, ServingSink("view", straight.push), until=NOW)
    serving.down_at = 3  # two pushes of the first hour, one of the second
    state = tmp_path / "state.json"

    def go(store: Serving) -> materialise.Progress:
        return materialise.materialise(
            job, ServingSink("view", store.push), until=NOW, state=state, slice_rows=6000
        )

    with pytest.raises(errors.DependencyDown):
        go(serving)
    serving.down_at = None
    done = go(serving)
    assert done.rows == 6000, "the first hour is not read again"
    assert serving.rows == straight.rows and len(serving.rows) == 6000
    assert max(len(p.event_times) for p in serving.pushes) == 5000
    assert serving.rows[(0,)] == (NOW - timedelta(hours=1), (6000.0,))
    assert serving.rows[(6,)][1] == (None,), "a missing value is one in the store, too"


def test_a_cancelled_run_stops_after_the_slice_under_way(tiny: settings.Settings) -> None:
    serving, reached, go_on = Serving(), threading.Event(), threading.Event()

    def wait() -> None:
        reached.set()
        assert go_on.wait(30)

    serving.when_pushed = wait
    activities = MaterialisingActivities(tiny, serving.push)
    environment = ActivityEnvironment()
    request = materialising.MaterializeRequest(project="tiny", views=("carrier_stats",))

    async def main() -> None:
        work = asyncio.ensure_future(environment.run(activities.push, request))
        await asyncio.to_thread(reached.wait, 30)
        environment.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        go_on.set()

    asyncio.run(main())
    assert len(serving.pushes) == 1
    assert bring(tiny, Serving()).views[0].watermark is not None, "nobody holds the watermark any more"


@pytest.mark.integration
def test_it_runs_by_a_schedule_of_the_project(tiny: settings.Settings) -> None:
    serving, process = Serving(), schedules.Process.MATERIALIZE

    async def story(client: Client, _: WorkflowEnvironment) -> None:
        ours = ScheduleClient(client, QUEUE)
        wanted = schedules.ScheduleCreate(
            every_minutes=15, is_paused=True, request={"views": ["carrier_stats"]}
        )
        await ours.put("tiny", process, wanted)
        run_id = await ours.run_now("tiny", process, "a")
        while (found := await ours.outcome("tiny", process, run_id)).state == "running":
            await asyncio.sleep(0.05)
        assert found.state == "done" and found.result["views"][0]["taken"] == 4

    run(story, [Materialize], MaterialisingActivities(tiny, serving.push).all(), real=True)
    assert len(serving.rows) == 4
