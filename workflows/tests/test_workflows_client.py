"""The thin client starts idempotently and fails with our own errors."""

from itertools import pairwise

import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment
from training_doubles import Steps, all_activities, train_request
from workflows_doubles import QUEUE, Endpoint, deploy_request, run

from mainspring.core import errors
from mainspring.core.client.workflows import WorkflowClient
from mainspring.core.contracts import training
from mainspring.core.contracts.training import Stage
from mainspring.workflows.deployment.workflow import DeployModel
from mainspring.workflows.training import messages
from mainspring.workflows.training.workflow import TrainModel


def test_starts_follows_and_refuses_a_second_run_of_an_ended_id() -> None:
    async def story(client: Client, _: WorkflowEnvironment) -> None:
        ours = WorkflowClient(client, QUEUE)
        with pytest.raises(errors.NotFound):
            await ours.status("run_deploy")
        assert await ours.start_deployment(deploy_request()) == "run_deploy"
        assert (await ours.deployment_result("run_deploy")).stage is Stage.DONE
        assert (await ours.status("run_deploy")).stage is Stage.DONE
        with pytest.raises(errors.Conflict):
            await ours.start_deployment(deploy_request())

    run(story, [DeployModel], Endpoint().activities())


def test_watch_tells_each_change_up_to_the_end() -> None:
    async def story(client: Client, _: WorkflowEnvironment) -> list[training.RunStatus]:
        ours = WorkflowClient(client, QUEUE)
        await ours.start_training(train_request(auto_approve_by="ana"))
        seen = [status async for status in ours.watch("run_train", poll_seconds=0.001)]
        assert await ours.training_result("run_train") is not None
        with pytest.raises(errors.NotFound):
            await anext(ours.watch("run_absent"))
        return seen

    seen = run(story, [TrainModel, DeployModel], all_activities(Steps(), Endpoint(traffic=None)))
    assert seen[-1].stage is Stage.DONE
    assert all(a != b for a, b in pairwise(seen))
    assert {s.stage for s in seen} > {Stage.DEPLOY, Stage.DONE}
    assert [len(s.steps) for s in seen] == sorted(len(s.steps) for s in seen)


def test_a_result_is_the_runs_own_error_and_a_cancelled_run_has_none() -> None:
    endpoint = Endpoint()
    steps = Steps(failing={messages.INGEST: errors.DataInvalid("no rows", dataset="lake", failed=("rows",))})

    async def story(client: Client, _: WorkflowEnvironment) -> None:
        ours = WorkflowClient(client, QUEUE)
        await ours.start_training(train_request())
        with pytest.raises(errors.DataInvalid, match="no rows"):
            await ours.training_result("run_train")
        steps.failing.clear()
        steps.trains_for_ever = True
        # A failed run may start again under its id.
        await ours.start_training(train_request())
        await steps.training_started.wait()
        await ours.cancel("run_train")
        with pytest.raises(errors.Conflict, match="cancelled"):
            await ours.training_result("run_train")

    run(story, [TrainModel, DeployModel], all_activities(steps, endpoint))
    # Both executions ended, and both ends are on record.
    assert endpoint.told == ["run_train/end", "run_train/end"]
    assert len({e.event_key for e in endpoint.events}) == 2
    assert [e.detail["stage"] for e in endpoint.events] == ["failed", "cancelled"]
