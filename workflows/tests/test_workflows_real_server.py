"""What only a real Temporal server tells: a cancellation that meets an activity's or a timer's own end."""

import asyncio

import pytest
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import CancelledError
from temporalio.testing import WorkflowEnvironment
from training_doubles import Steps, all_activities, train_request
from workflows_doubles import CANDIDATE, QUEUE, STABLE, Endpoint, deploy_request, run

from mainspring.core.contracts import deployment, training
from mainspring.core.contracts.training import Stage
from mainspring.workflows.deployment.workflow import DeployModel
from mainspring.workflows.training.workflow import TrainModel

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


@pytest.mark.parametrize("share", [5, 50, 0])
def test_cancel_in_the_moment_of_a_change_gives_traffic_back(share: int) -> None:
    """The worker answers the cancellation while the server already has the activity's result."""
    endpoint = Endpoint()

    async def story(client: Client, _: WorkflowEnvironment) -> training.RunStatus:
        handle = await client.start_workflow(
            DeployModel.run, deploy_request(probe_rows=0), id="run_deploy", task_queue=QUEUE
        )

        async def changed(table: deployment.TrafficTable) -> None:
            if table.canary_percent == share:
                await handle.cancel()

        endpoint.when_changed = changed
        with pytest.raises(WorkflowFailureError) as caught:
            await handle.result()
        assert isinstance(caught.value.cause, CancelledError)
        return await handle.query(DeployModel.status)

    status = run(story, [DeployModel], endpoint.activities(), real=True)
    assert status.stage is Stage.CANCELLED
    assert endpoint.traffic is not None
    assert (endpoint.traffic.stable, endpoint.traffic.canary) == (STABLE, None)
    changed = endpoint.history[-2]
    assert (changed.canary_percent, changed.stable) == (share, STABLE if share else CANDIDATE)
    assert endpoint.events[-2].action == "endpoint.restore"


def test_cancel_of_a_training_that_deploys_gives_traffic_back() -> None:
    endpoint = Endpoint(requests=10)

    async def story(client: Client, _: WorkflowEnvironment) -> training.RunStatus:
        request = train_request(auto_approve_by="ana")
        handle = await client.start_workflow(TrainModel.run, request, id="run_train", task_queue=QUEUE)
        child = client.get_workflow_handle("run_train-deploy")
        await endpoint.canary_seen.wait()
        while "10 of 50" not in (await child.query(DeployModel.status)).message:
            await asyncio.sleep(0)
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        return await handle.query(TrainModel.status)

    activities = all_activities(Steps(), endpoint)
    status = run(story, [TrainModel, DeployModel], activities, real=True)
    assert status.stage is Stage.CANCELLED
    assert endpoint.traffic is not None
    assert (endpoint.traffic.stable, endpoint.traffic.canary) == (STABLE, None)
    assert [e.action for e in endpoint.events[-2:]] == ["endpoint.restore", "run.end"]
