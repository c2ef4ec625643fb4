"""Schedules by the thin client, on Temporal's own development server: made, changed, due, asked for, removed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio import activity
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment
from workflows_doubles import QUEUE, run

from mainspring.core import errors
from mainspring.core.client.schedules import ScheduleClient
from mainspring.core.contracts import retraining, schedules, skew
from mainspring.workflows import errors as temporal_errors
from mainspring.workflows.skew import messages
from mainspring.workflows.skew.workflow import CheckSkew

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

SKEW = schedules.Process.SKEW
SECOND = 1 / 60


class Checks:
    """What stands for the check, and whom it was asked by."""

    def __init__(self) -> None:
        self.asked: list[skew.SkewRequest] = []
        self.waits = asyncio.Event()
        self.waits.set()

    @activity.defn(name=messages.CHECK)
    async def check(self, request: skew.SkewRequest) -> skew.SkewOutcome:
        self.asked.append(request)
        await self.waits.wait()
        if request.max_rows == 13:
            raise temporal_errors.to_failure(errors.NotFound("no lake", resource="lake", name="tiny"))
        return skew.SkewOutcome(
            project=request.project, rows=1, later_rows=0, features=1, skewed=(), report_path="x"
        )


def wanted(minutes: float, **options: object) -> schedules.ScheduleCreate:
    return schedules.ScheduleCreate(every_minutes=minutes, request=options)


async def ended(ours: ScheduleClient, run_id: str) -> schedules.ScheduledOutcome:
    while (found := await ours.outcome("tiny", SKEW, run_id)).state == "running":
        await asyncio.sleep(0.05)
    return found


def test_a_schedule_runs_again_and_again_as_it_was_last_put() -> None:
    checks = Checks()

    async def story(client: Client, _: WorkflowEnvironment) -> None:
        ours = ScheduleClient(client, QUEUE)
        made = await ours.put("tiny", SKEW, wanted(60, max_rows=7))
        assert (made.every_minutes, made.request, made.runs) == (60, {"max_rows": 7}, ())
        assert made.next_at is not None
        assert await ours.put("tiny", SKEW, wanted(60, max_rows=7)) == made
        await ours.put("tiny", SKEW, wanted(SECOND, max_rows=9))
        while len(checks.asked) < 2:
            await asyncio.sleep(0.1)
        assert {r.max_rows for r in checks.asked} == {9}
        found = await ours.find("tiny", SKEW)
        assert (await ended(ours, found.runs[-1].run_id)).result["rows"] == 1
        paused = schedules.ScheduleCreate(every_minutes=SECOND, is_paused=True)
        assert (await ours.put("tiny", SKEW, paused)).next_at is None
        await ours.remove("tiny", SKEW)
        for call in (ours.remove, ours.find):
            with pytest.raises(errors.NotFound, match="mainspring schedule put tiny skew"):
                await call("tiny", SKEW)

    run(story, [CheckSkew], [checks.check], real=True)


def test_a_run_that_is_asked_for_is_one_run_a_key_and_says_how_it_ended() -> None:
    checks = Checks()

    async def story(client: Client, _: WorkflowEnvironment) -> None:
        ours = ScheduleClient(client, QUEUE)
        with pytest.raises(errors.NotFound):
            await ours.run_now("tiny", SKEW, "k")
        await ours.put("tiny", SKEW, wanted(600, max_rows=5))
        checks.waits.clear()
        run_id = await ours.run_now("tiny", SKEW, "key_1")
        assert run_id == await ours.run_now("tiny", SKEW, "key_1")
        assert (await ours.outcome("tiny", SKEW, run_id)).state == "running"
        checks.waits.set()
        assert (await ended(ours, run_id)).state == "done"
        assert await ours.run_now("tiny", SKEW, "key_1") == run_id and len(checks.asked) == 1

        await ours.put("tiny", SKEW, wanted(600, max_rows=13))
        failed = await ended(ours, await ours.run_now("tiny", SKEW, "key_2"))
        assert (failed.state, failed.error["code"], failed.result) == ("failed", "not_found", {})

        checks.waits.clear()
        await ours.put("tiny", SKEW, wanted(600))
        cancelled = await ours.run_now("tiny", SKEW, "key_3")
        await client.get_workflow_handle(cancelled).terminate()
        assert (await ended(ours, cancelled)).state in ("cancelled", "failed")
        checks.waits.set()

    run(story, [CheckSkew], [checks.check], real=True)


def test_runs_of_others_are_none_of_it() -> None:
    async def story(client: Client, _: WorkflowEnvironment) -> None:
        ours = ScheduleClient(client, QUEUE)
        await ours.put("tiny-two", SKEW, wanted(600))
        theirs = await ours.run_now("tiny-two", SKEW, "k")
        for run_id in (theirs, "run_1", "skew-tiny-", "skew-tiny-now-absent"):
            with pytest.raises(errors.NotFound):
                await ours.outcome("tiny", SKEW, run_id)

    run(story, [CheckSkew], [Checks().check], real=True)


@pytest.mark.parametrize(
    ("options", "field"), [({"max_row": 1}, "request.max_row"), ({"max_rows": 0}, "request.max_rows")]
)
def test_an_option_that_is_none_is_refused_by_name(options: dict[str, object], field: str) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        schedules.request_of(SKEW, "tiny", options)
    assert caught.value.field == field


@pytest.mark.parametrize("name", ["alerts", "prompted_by", "on_behalf_of"])
def test_nobody_says_who_or_what_asked_for_a_retraining(name: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=f"has no option `{name}`"):
        schedules.request_of(schedules.Process.RETRAIN, "tiny", {"endpoint": "tiny", name: ["x"]})


def test_a_retraining_is_started_in_the_name_of_who_put_it_last() -> None:
    retrain = schedules.Process.RETRAIN

    async def story(client: Client, _: WorkflowEnvironment) -> None:
        ours = ScheduleClient(client, QUEUE)
        asked = wanted(600, endpoint="tiny")
        for name in ("ana", "eva"):
            made = await ours.put("tiny", retrain, asked, put_by=name)
            assert (made.on_behalf_of, made.request) == (name, {"endpoint": "tiny"})
        assert await ours.find("tiny", retrain) == made
        started = await ours.run_now("tiny", retrain, "k", prompted_by="ana")
        history = await client.get_workflow_handle(started).fetch_history()
        (given,) = history.events[0].workflow_execution_started_event_attributes.input.payloads
        (request,) = await client.data_converter.decode([given], [retraining.RetrainRequest])
        assert (request.on_behalf_of, request.prompted_by) == ("eva", "ana")

    run(story, [CheckSkew], [Checks().check], real=True)


def test_a_change_is_of_the_version_that_was_looked_at_and_the_engine_compares(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(client: Client, _: WorkflowEnvironment) -> None:
        ours = ScheduleClient(client, QUEUE)
        made = await ours.put("tiny", SKEW, wanted(600), if_version="")
        with pytest.raises(errors.PreconditionFailed):
            await ours.put("tiny", SKEW, wanted(1), if_version="")
        changed = await ours.put("tiny", SKEW, wanted(700), if_version=made.version)
        assert (changed.every_minutes, changed.version != made.version) == (700, True)
        for late in (
            ours.put("tiny", SKEW, wanted(1), if_version=made.version),
            ours.remove("tiny", SKEW, if_version=made.version),
        ):
            with pytest.raises(errors.PreconditionFailed) as caught:
                await late
            assert caught.value.current == changed.version
        # Between the look and the change: only the engine can tell.
        look = ours._describe

        async def changed_meanwhile(*named: Any) -> Any:
            found = await look(*named)
            monkeypatch.undo()
            await ours.put("tiny", SKEW, wanted(800))
            return found

        monkeypatch.setattr(ours, "_describe", changed_meanwhile)
        with pytest.raises(errors.PreconditionFailed):
            await ours.put("tiny", SKEW, wanted(1), if_version=changed.version)
        assert (await ours.find("tiny", SKEW)).every_minutes == 800
        await ours.remove("tiny", SKEW, if_version=(await ours.find("tiny", SKEW)).version)
        with pytest.raises(errors.NotFound):
            await ours.put("tiny", SKEW, wanted(1), if_version=changed.version)

    run(story, [CheckSkew], [Checks().check], real=True)


def test_nobody_says_in_whose_name_by_an_option() -> None:
    with pytest.raises(errors.InvalidRequest, match="no option `on_behalf_of`"):
        schedules.request_of(
            schedules.Process.RETRAIN, "tiny", {"endpoint": "tiny", "on_behalf_of": "eva"}, put_by="ana"
        )


def test_nobody_there_is_dependency_down() -> None:
    with pytest.raises(errors.DependencyDown, match="temporal does not answer at `127.0.0.1:9`"):
        asyncio.run(ScheduleClient.connect("127.0.0.1:9", namespace="default", task_queue=QUEUE))
