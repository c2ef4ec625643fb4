"""The retention on real folders: it removes what a rule names, reports first, and runs by a schedule."""

import asyncio
import dataclasses
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment, WorkflowEnvironment
from workflows_doubles import QUEUE, run

from mainspring.core import canonical, errors, settings
from mainspring.core import retention as kept
from mainspring.core.client.schedules import ScheduleClient
from mainspring.core.contracts import retention, schedules
from mainspring.core.contracts.retention import KeptKind
from mainspring.workflows import errors as temporal_errors
from mainspring.workflows.retention import activities
from mainspring.workflows.retention.activities import RetentionActivities
from mainspring.workflows.retention.workflow import EnforceRetention

pytestmark = pytest.mark.timeout(90)


class World:
    """Two predictions, two reads, two reports and two held batches: one of each is 40 days old."""

    def __init__(self, directory: Path) -> None:
        in_force = settings.load({"MAINSPRING_STACK_STATE_DIR": str(directory)}, directory=directory)
        self.asked: list[str] = []
        self.under_way = [f"run_{number}" for number in range(3)]
        self.records: list[retention.RetentionRecord] = []
        self.is_away = False
        self.holds: list[dict[str, Any]] = []
        """In force, as the control API has them: two a page."""
        self.after: tuple[int, Callable[[], None]] | None = None
        """What happens when so many files are gone, as the worker asks for holds once more."""
        serving, control = (
            httpx.AsyncClient(base_url=f"http://{room}", transport=httpx.MockTransport(self._answer))
            for room in ("serving", "control")
        )
        self.activities = RetentionActivities(in_force, serving, control)
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

    def enforce(self, *, clock_ahead: timedelta = timedelta(0), **rules: Any) -> retention.RetentionOutcome:
        request = retention.RetentionRequest.model_validate(
            {"project": "tiny", "endpoints": ["delay"], "views": ["carriers"], **rules}
        )
        engine = ActivityEnvironment()
        engine.info = dataclasses.replace(engine.info, started_time=datetime.now(UTC) - clock_ahead)
        return asyncio.run(engine.run(self.activities.remove, request))

    def _answer(self, asked: httpx.Request) -> httpx.Response:
        """The control API: its runs that have not ended, one a page, and what goes on record; lineage goes in three pieces.

        Serving: one endpoint.
        """
        self.asked.append(asked.url.raw_path.decode())
        if self.is_away:
            return self._away()
        if asked.url.path == "/api/v1/projects/tiny/holds":
            return self._answer_holds(asked.url.params["before"])
        if asked.url.host == "serving":
            traffic = {"endpoint": "delay", "version": 1, "stable": BUNDLE}
            return httpx.Response(200, json=[{"endpoint": "delay", "traffic": traffic, "bundles": []}])
        if asked.method == "POST":
            assert asked.url.path == "/api/v1/projects/tiny/retentions"
            # The plan is on record before the first file goes.
            assert self.left() == set(self.files)
            self.records.append(retention.RetentionRecord.model_validate_json(asked.content))
            number = len(self.records)
            lineage = {"kind": "lineage_events", "removed": 5, "bytes": 50, "held": 1, "kept": 9 - number}
            answer = {"lineage": lineage, "has_more": number < 3} if self.records[-1].lineage_before else {}
            return httpx.Response(201, json=answer)
        at = int(asked.url.params["before"] or 0)
        more = str(at + 1) if at + 1 < len(self.under_way) else ""
        return httpx.Response(200, json={"items": [{"run_id": self.under_way[at]}], "next": more})

    def _answer_holds(self, before: str) -> httpx.Response:
        if self.after is not None and len(self.files) - len(self.left()) >= self.after[0]:
            self.after[1]()
            if self.is_away:
                return self._away()
        at = int(before or 0)
        more = str(at + 2) if at + 2 < len(self.holds) else ""
        return httpx.Response(200, json={"items": self.holds[at : at + 2], "next": more})

    @staticmethod
    def _away() -> httpx.Response:
        return httpx.Response(503, json={"error": errors.to_wire(errors.DependencyDown("away", name="db"))})


BUNDLE = "sha256:" + "b" * 64
FILES = [KeptKind.PREDICTIONS, KeptKind.READS, KeptKind.SKEW_REPORTS, KeptKind.HELD_BATCHES]
ALL = {f"{kind}_days": 30 for kind in FILES}


def test_what_is_old_goes_and_the_report_names_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    old = {name for name in world.files if name.startswith("old")}
    found = world.enforce(**ALL)
    assert world.left() == set(world.files) - old and len(old) == 4
    assert {(k.kind, k.removed, k.bytes, k.held, k.kept) for k in found.kinds} == {
        (kind, 1, 10, 0, 1) for kind in FILES
    }
    report = json.loads(Path(found.report_path).read_text())
    batch = world.files["old flights"].parent
    names = {str(world.files[n]) for n in old - {"old flights"}} | {str(batch)}
    assert set(report["removed"]) == names and report["held"] == []
    (told,) = world.records
    assert told.report_digest == canonical.digest_bytes(Path(found.report_path).read_bytes())
    assert told.kinds == found.kinds and told.lineage_before is None
    assert [k.removed for k in world.enforce(**ALL).kinds] == [0, 0, 0, 0], "again finds nothing"
    assert len(world.records) == 1, "and nothing is nothing to put on record"


def test_events_of_lineage_go_piece_by_piece_where_the_control_api_has_them(tmp_path: Path) -> None:
    world = World(tmp_path)
    hold = {"since": "2026-01-01T00:00:00Z", "reason": "case 12"}
    (found,) = world.enforce(lineage_events_days=365, holds=[hold]).kinds
    assert (found.kind, found.removed, found.bytes, found.held, found.kept) == (
        "lineage_events",
        15,
        150,
        1,
        6,
    )
    first, *_ = world.records
    assert first.in_service == (BUNDLE,) and first.holds[0].reason == "case 12" and first.kinds == ()
    assert first.lineage_before is not None
    assert abs(datetime.now(UTC) - timedelta(days=365) - first.lineage_before) < timedelta(minutes=1)
    assert len({one.event_key for one in world.records}) == len(world.records) == 3
    assert world.left() == set(world.files)


def test_nothing_goes_that_cannot_be_put_on_record(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.is_away = True
    with pytest.raises(ApplicationError, match="away") as caught:
        world.enforce(**ALL)
    assert not caught.value.non_retryable and world.left() == set(world.files)
    with pytest.raises(ApplicationError, match="away"):
        world.enforce(**ALL, is_dry=True)


def held(hold_id: str, **fields: Any) -> dict[str, Any]:
    view = {"hold_id": hold_id, "project": "tiny", "reason": "a case", "matter": "12", "placed_by": "eva"}
    return {**view, "placed_at": "2026-01-01T00:00:00Z", **fields}


def test_holds_of_the_control_api_keep_what_the_schedule_says_nothing_of(tmp_path: Path) -> None:
    world = World(tmp_path)
    since = (datetime.now(UTC) - timedelta(days=41)).isoformat()
    world.holds = [
        held("hold_1", kinds=["skew_reports"], until=since),
        held("hold_2", entity="tailnum", subject_hash="a" * 64),
        held("hold_3", kinds=["reads", "predictions"], since=since),
        held("hold_4", lifted_at=since),
    ]
    found = world.enforce(**ALL)
    assert {k.kind: (k.removed, k.held) for k in found.kinds} == {
        KeptKind.PREDICTIONS: (0, 1),
        KeptKind.READS: (0, 1),
        KeptKind.SKEW_REPORTS: (1, 0),
        KeptKind.HELD_BATCHES: (1, 0),
    }
    assert {hold.reason for hold in world.records[0].holds} == {"hold_1 (12)", "hold_3 (12)"}
    assert len(json.loads(Path(found.report_path).read_text())["holds"]) == 3, "by kind"
    world.holds = [held("hold_5")]
    assert [(k.removed, k.held) for k in world.enforce(**ALL).kinds] == [(0, 1), (0, 1), (0, 0), (0, 0)]


def test_a_hold_that_is_placed_meanwhile_keeps_what_is_not_gone_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activities, "_CHUNK", 1)
    world = World(tmp_path)

    def place() -> None:
        world.holds = [held("hold_1", kinds=["reads", "held_batches"])]

    world.after = (1, place)
    found = world.enforce(**ALL)
    assert {k.kind: (k.removed, k.held) for k in found.kinds} == {
        KeptKind.PREDICTIONS: (1, 0),
        KeptKind.READS: (0, 1),
        KeptKind.SKEW_REPORTS: (1, 0),
        KeptKind.HELD_BATCHES: (0, 1),
    }
    assert {name for name in world.left() if name.startswith("old")} == {"old carriers", "old flights"}


def test_a_control_api_that_goes_away_meanwhile_keeps_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activities, "_CHUNK", 1)
    world = World(tmp_path)
    world.after = (2, lambda: setattr(world, "is_away", True))
    with pytest.raises(ApplicationError, match="away") as caught:
        world.enforce(**ALL)
    assert not caught.value.non_retryable and len(world.files) - len(world.left()) == 2


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


def test_contents_of_pipelines_go_and_those_of_runs_that_have_not_ended_stay(tmp_path: Path) -> None:
    world, at = World(tmp_path), (datetime.now(UTC) - timedelta(days=40)).timestamp()
    runs = tmp_path / "projects" / "tiny" / "pipelines" / "runs"
    for name in ("run_2", "run_gone"):
        (runs / name / "made").mkdir(parents=True)
        (runs / name / "note").write_text("four")
        for path in (*(runs / name).iterdir(), runs / name):
            os.utime(path, (at, at))
    assert world.enforce(pipeline_contents_days=30, is_dry=True).kinds[0].removed == 1
    found = world.enforce(pipeline_contents_days=30)
    assert [(k.kind, k.removed, k.bytes, k.kept) for k in found.kinds] == [("pipeline_contents", 1, 4, 1)]
    assert [path.name for path in runs.iterdir()] == ["run_2"], "the last page of those under way has it"
    assert json.loads(Path(found.report_path).read_text())["removed"] == [str(runs / "run_gone")]
    assert len(world.asked) == 10 and "project=tiny&open=true" in world.asked[0]
    world.is_away = True
    with pytest.raises(ApplicationError, match="away") as caught:
        world.enforce(**ALL, pipeline_contents_days=30)
    assert not caught.value.non_retryable and world.left() == set(world.files), "nothing went"


def test_a_worker_whose_clock_is_wrong_removes_nothing_and_says_so(tmp_path: Path) -> None:
    world = World(tmp_path)
    for ahead in (timedelta(days=700), timedelta(minutes=-6)):
        with pytest.raises(ApplicationError, match="set both by NTP") as caught:
            world.enforce(**ALL, clock_ahead=ahead)
        error = temporal_errors.from_failure(caught.value)
        assert isinstance(error, errors.DependencyDown) and error.name == "clock"
    assert world.left() == set(world.files) and not (world.space / "retention").exists()
    assert world.enforce(**ALL, clock_ahead=timedelta(minutes=4)).kinds[0].removed == 1


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
