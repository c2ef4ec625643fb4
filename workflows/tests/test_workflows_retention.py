"""The retention on real folders: it removes what a rule names, reports first, and runs by a schedule."""

import asyncio
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment, WorkflowEnvironment
from workflows_doubles import QUEUE, run

from mainspring.core import errors, settings
from mainspring.core import retention as kept
from mainspring.core.client.schedules import ScheduleClient
from mainspring.core.contracts import retention, schedules
from mainspring.core.contracts.retention import KeptKind
from mainspring.workflows import errors as temporal_errors
from mainspring.workflows.retention.activities import RetentionActivities
from mainspring.workflows.retention.workflow import EnforceRetention

pytestmark = pytest.mark.timeout(90)


class World:
    """Two predictions, two reads, two reports and two held batches: one of each is 40 days old."""

    def __init__(self, directory: Path) -> None:
        in_force = settings.load({"MAINSPRING_STACK_STATE_DIR": str(directory)}, directory=directory)
        self.activities = RetentionActivities(in_force)
        self.space = directory / "projects" / "tiny" / "full"
        old, new = (datetime.now(UTC) - timedelta(days=days) for days in (40, 1))
        self.files: dict[str, Path] = {}
        for age, at in (("old", old), ("new", new)):
            stamp = f"{int(at.timestamp() * 1e6):020d}"
            for place in (
                in_force.serving.predictions_dir / "delay" / "ab" / f"{stamp}-1-1.parquet",
                in_force.serving.reads_dir / "carriers" / f"{stamp}-1.parquet",
                self.space / "skew" / f"{age}.json",
                self.space / "lake.quarantine" / f"flights-{age}" / "data.parquet",
            ):
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(b"x" * 10)
                for touched in (place, place.parent) if "quarantine" in str(place) else (place,):
                    os.utime(touched, (at.timestamp(), at.timestamp()))
                self.files[f"{age} {place.parent.name.partition('-')[0]}"] = place

    def left(self) -> set[str]:
        return {name for name, path in self.files.items() if path.exists()}

    def enforce(self, **rules: Any) -> retention.RetentionOutcome:
        request = retention.RetentionRequest.model_validate(
            {"project": "tiny", "endpoints": ["delay"], "views": ["carriers"], **rules}
        )
        return asyncio.run(ActivityEnvironment().run(self.activities.remove, request))


ALL = {f"{kind}_days": 30 for kind in KeptKind}


def test_what_is_old_goes_and_the_report_names_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    old = {name for name in world.files if name.startswith("old")}
    found = world.enforce(**ALL)
    assert world.left() == set(world.files) - old and len(old) == 4
    assert {(k.kind, k.removed, k.bytes, k.held, k.kept) for k in found.kinds} == {
        (kind, 1, 10, 0, 1) for kind in KeptKind
    }
    report = json.loads(Path(found.report_path).read_text())
    batch = world.files["old flights"].parent
    names = {str(world.files[n]) for n in old - {"old flights"}} | {str(batch)}
    assert set(report["removed"]) == names and report["held"] == []
    assert [k.removed for k in world.enforce(**ALL).kinds] == [0, 0, 0, 0], "again finds nothing"


def test_nothing_goes_without_a_rule_dry_or_under_a_hold(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert world.enforce().kinds == ()
    dry = world.enforce(**ALL, is_dry=True)
    assert [(k.removed, k.bytes) for k in dry.kinds] == [(1, 10)] * 4
    since = (datetime.now(UTC) - timedelta(days=41)).isoformat()
    held = world.enforce(**ALL, holds=[{"since": since, "reason": "case 12"}])
    assert [(k.removed, k.held) for k in held.kinds] == [(0, 1)] * 4
    assert world.left() == set(world.files)
    assert len(json.loads(Path(held.report_path).read_text())["held"]) == 4


def test_the_report_is_there_before_anything_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path)

    def full(_: kept.Item) -> int:
        raise PermissionError(1, "Operation not permitted", "a.parquet")

    monkeypatch.setattr(kept, "remove", full)
    with pytest.raises(ApplicationError) as caught:
        world.enforce(**ALL)
    error = temporal_errors.from_failure(caught.value)
    assert isinstance(error, errors.DependencyDown) and "`a.parquet` cannot be removed" in error.message
    assert not caught.value.non_retryable
    (report,) = (world.space / "retention").iterdir()
    assert len(json.loads(report.read_text())["removed"]) == 4


@pytest.mark.integration
def test_it_runs_by_a_schedule_of_the_project(tmp_path: Path) -> None:
    world, process = World(tmp_path), schedules.Process.RETENTION

    async def story(client: Client, _: WorkflowEnvironment) -> None:
        ours = ScheduleClient(client, QUEUE)
        wrong = schedules.ScheduleCreate(every_minutes=60, request={"reads_days": 30})
        with pytest.raises(errors.InvalidRequest, match="reads_days needs views"):
            await ours.put("tiny", process, wrong)
        rules = {"reads_days": 30.0, "views": ["carriers"]}
        await ours.put(
            "tiny", process, schedules.ScheduleCreate(every_minutes=60, is_paused=True, request=rules)
        )
        run_id = await ours.run_now("tiny", process, "a")
        while (found := await ours.outcome("tiny", process, run_id)).state == "running":
            await asyncio.sleep(0.05)
        assert found.state == "done" and found.result["kinds"][0]["removed"] == 1

    run(story, [EnforceRetention], world.activities.all(), real=True)
    assert set(world.files) - world.left() == {"old carriers"}
