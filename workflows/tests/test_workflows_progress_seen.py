"""What an activity's heartbeats say is seen by a client, through Temporal itself and encrypted there."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment
from workflows_doubles import QUEUE, run

from mainspring.core.client import payloads
from mainspring.core.client.workflows import WorkflowClient
from mainspring.core.contracts import training
from mainspring.core.contracts.progress import StepProgress
from mainspring.workflows import heartbeat, options

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]

THIRD = StepProgress(step="train", done=3, of=8, unit="epoch", checkpoint="/secret_place/3")


@activity.defn(name="trains")
async def trains() -> None:
    async with heartbeat.beating() as beats:
        beats.tell(THIRD)
        await asyncio.sleep(60)


@activity.defn(name="is_lost")
async def is_lost() -> StepProgress | None:
    """The first attempt tells and is lost; the next one says what it begins with."""
    async with heartbeat.beating() as beats:
        if activity.info().attempt > 1:
            return beats.progress
        beats.tell(THIRD)
        await asyncio.sleep(0.05)
        raise RuntimeError("its machine is gone")


@workflow.defn(name="IsLost", sandboxed=False)
class IsLost:
    @workflow.run
    async def run(self) -> StepProgress | None:
        return await workflow.execute_activity(is_lost, **options.LONG)


@workflow.defn(name="Trains", sandboxed=False)
class Trains:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(trains, **options.LONG)

    @workflow.query(name=training.STATUS_QUERY)
    def status(self) -> training.RunStatus:
        return training.RunStatus(run_id="run_1", stage=training.Stage.TRAIN)


def test_whoever_watches_a_run_sees_how_far_its_step_is(tmp_path: Path) -> None:
    payloads.ensure_keys(tmp_path / "keys")
    database = tmp_path / "temporal.db"

    async def story(client: Client, _: WorkflowEnvironment) -> training.RunStatus:
        handle = await client.start_workflow(Trains.run, id="run_1", task_queue=QUEUE)
        ours = WorkflowClient(client, QUEUE)
        async for status in ours.watch("run_1", poll_seconds=0.05):
            if status.step_progress:
                break
        await handle.terminate()
        return status

    found = run(
        story,
        [Trains],
        [trains],
        real=True,
        database=database,
        converter=payloads.converter_of(payloads.SealedPayloads(tmp_path / "keys")),
    )
    assert (found.step_progress, found.progress) == ([THIRD], 0.375)
    kept = b"".join(one.read_bytes() for one in tmp_path.iterdir() if one.name.startswith(database.name))
    assert b"run_1" in kept and b"secret_place" not in kept


def test_the_attempt_after_a_lost_one_is_told_by_temporal_what_that_had_said(tmp_path: Path) -> None:
    payloads.ensure_keys(tmp_path / "keys")

    async def story(client: Client, _: WorkflowEnvironment) -> StepProgress | None:
        return await client.execute_workflow(IsLost.run, id="run_2", task_queue=QUEUE)

    by = payloads.converter_of(payloads.SealedPayloads(tmp_path / "keys"))
    assert run(story, [IsLost], [is_lost], real=True, converter=by) == THIRD
