"""What the client says of runs whose worker is gone: within seconds, and never something that it cannot know."""

import asyncio
import time

import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker
from training_doubles import Steps, all_activities, train_request
from workflows_doubles import Endpoint, run

from mainspring.core import errors
from mainspring.core.client.workflows import WORKER, WorkflowClient
from mainspring.core.contracts import training
from mainspring.core.contracts.training import Stage
from mainspring.workflows.deployment.workflow import DeployModel
from mainspring.workflows.queueing.workflow import DeploymentQueue
from mainspring.workflows.training import messages
from mainspring.workflows.training.workflow import TrainModel

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]

OURS = "a-queue-of-our-own"


def worker(client: Client, steps: Steps) -> Worker:
    """One that a test can end; the world's own polls another queue."""
    return Worker(
        client,
        task_queue=OURS,
        workflows=[TrainModel, DeployModel, DeploymentQueue],
        activities=all_activities(steps, Endpoint()),
    )


async def timed(ours: WorkflowClient, run_id: str) -> tuple[training.RunStatus, float]:
    began = time.monotonic()
    return await ours.status(run_id), time.monotonic() - began


def test_a_run_that_nobody_took_is_pending() -> None:
    async def story(client: Client, _: WorkflowEnvironment) -> None:
        ours = WorkflowClient(client, OURS)
        await ours.start_training(train_request())
        status, seconds = await timed(ours, "run_train")
        assert (status.stage, status.message) == (Stage.PENDING, "no worker has taken it yet")
        assert seconds < 4  # 10 s before; 1 s on a quiet machine
        with pytest.raises(errors.NotFound):
            await ours.status("run_absent")

    run(story, [DeployModel], Endpoint().activities(), real=True)


def test_the_end_of_a_run_needs_no_worker() -> None:
    failed = errors.DataInvalid("no rows", dataset="lake", failed=("rows",))

    async def story(client: Client, _: WorkflowEnvironment) -> None:
        ours, steps = WorkflowClient(client, OURS), Steps()
        async with worker(client, steps):
            await ours.start_training(train_request(run_id="run_done", auto_approve_by="ana", deploy_to=""))
            before = [status async for status in ours.watch("run_done")][-1]
            steps.failing[messages.INGEST] = failed
            await ours.start_training(train_request(run_id="run_bad"))
            with pytest.raises(errors.DataInvalid):
                await ours.training_result("run_bad")
            steps.failing.clear()
            steps.trains_for_ever = True
            await ours.start_training(train_request(run_id="run_stopped"))
            await steps.training_started.wait()
            await ours.cancel("run_stopped")
            with pytest.raises(errors.Conflict):
                await ours.training_result("run_stopped")
        status, seconds = await timed(ours, "run_done")
        assert status == before
        assert (status.stage, seconds < 4) == (Stage.DONE, True)
        bad, _seconds = await timed(ours, "run_bad")
        assert (bad.stage, bad.error) == (Stage.FAILED, errors.to_wire(failed))
        assert (await ours.status("run_stopped")).stage is Stage.CANCELLED

    run(story, [DeployModel], Endpoint().activities(), real=True)


def test_a_run_under_way_is_told_by_its_worker_only_and_watched_until_there_is_one() -> None:
    async def story(client: Client, _: WorkflowEnvironment) -> None:
        ours, steps = WorkflowClient(client, OURS), Steps()
        async with worker(client, steps):
            await ours.start_training(train_request())
            async for status in ours.watch("run_train", poll_seconds=0.05):
                if status.stage is Stage.APPROVAL:
                    break
        with pytest.raises(
            errors.DependencyDown, match=f"no worker answers for run `run_train`.*{OURS}"
        ) as caught:
            await ours.status("run_train")
        assert caught.value.name == WORKER
        with pytest.raises(errors.DependencyDown, match="no worker"):
            await anext(ours.watch("run_train", patience_seconds=0.1))
        seen = asyncio.ensure_future(anext(ours.watch("run_train", patience_seconds=60)))
        await asyncio.sleep(1.5)
        assert not seen.done()
        async with worker(client, steps):
            assert (await seen).stage is Stage.APPROVAL

    run(story, [DeployModel], Endpoint().activities(), real=True)
