"""Thirty days of a daily schedule whose trainings wait for people, in seconds: the server's clock is moved, ours is not."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from retraining_doubles import REQUEST, alarmed
from temporalio import activity
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment
from training_doubles import Steps, all_activities, train_request
from workflows_doubles import QUEUE, Endpoint, run

from mainspring.core.client.workflows import WorkflowClient
from mainspring.core.contracts import retraining, training
from mainspring.core.contracts.training import Stage
from mainspring.workflows.deployment.workflow import DeployModel
from mainspring.workflows.retraining import messages
from mainspring.workflows.retraining.workflow import RetrainOnDrift
from mainspring.workflows.training.workflow import TrainModel

DAYS = 30
PATIENCE = timedelta(hours=12)


class Trainings:
    """What stands for the control API: a training a check, which waits for an approver."""

    def __init__(self) -> None:
        self.client: WorkflowClient | None = None
        self.started: list[str] = []

    @activity.defn(name=messages.START)
    async def start(self, asked: messages.Start) -> messages.Started:
        assert self.client is not None
        run_id = f"run_day{len(self.started):02d}"
        request = train_request(
            run_id=run_id,
            requested_by="drift",
            deploy_to="",
            cause=asked.alarms[0],
            approval_timeout_seconds=PATIENCE.total_seconds(),
        )
        await self.client.start_training(request)
        self.started.append(run_id)
        return messages.Started(run_id=run_id, message="training started")


async def waits_for_somebody(ours: WorkflowClient, run_id: str) -> None:
    async with asyncio.timeout(20):
        while (await ours.status(run_id)).stage is not Stage.APPROVAL:
            await asyncio.sleep(0.01)


@pytest.mark.timeout(90)
def test_thirty_days_of_checks_trainings_and_decisions() -> None:
    trainings = Trainings()

    async def story(client: Client, environment: WorkflowEnvironment) -> list[training.TrainResult]:
        ours = trainings.client = WorkflowClient(client, QUEUE)
        began = await environment.get_current_time()
        first = began.replace(hour=2, minute=0, second=0, microsecond=0)
        first += timedelta(days=first <= began)
        # The server with skipping time has no schedules; its clock runs a workflow by cron as a schedule would.
        await client.start_workflow(
            retraining.RETRAIN_WORKFLOW,
            REQUEST,
            id="retrain-tiny",
            task_queue=QUEUE,
            cron_schedule="0 2 * * *",
        )
        for day in range(DAYS):
            check_was = first + timedelta(days=day, hours=1)
            await environment.sleep(check_was - await environment.get_current_time())
            assert len(trainings.started) == day + 1
            today = trainings.started[-1]
            await waits_for_somebody(ours, today)
            if day % 3 < 2:  # every third day nobody is there
                decision = training.Decision(approve=day % 3 == 0, by="bo", reason=f"day {day}")
                assert "by `bo`" in (await ours.decide(today, decision)).message
        await client.get_workflow_handle("retrain-tiny").terminate()
        await environment.sleep(PATIENCE)
        passed = await environment.get_current_time() - first
        assert timedelta(days=DAYS - 1) < passed < timedelta(days=DAYS)
        return [await ours.training_result(run_id) for run_id in trainings.started]

    check, _start = alarmed().activities()
    results = run(
        story,
        [RetrainOnDrift, TrainModel, DeployModel],
        [*all_activities(Steps(), Endpoint()), check, trainings.start],
    )
    for day, result in enumerate(results):
        expected, said = (
            (Stage.DONE, "approved by `bo`"),
            (Stage.REJECTED, f"rejected by `bo`: day {day}"),
            (Stage.REJECTED, "rejected by `system`: nobody decided within 12:00:00"),
        )[day % 3]
        assert (result.stage, said in result.message) == (expected, True), result.message
