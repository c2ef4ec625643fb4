"""What only a real Temporal server tells: a cancellation that meets an activity's own end."""

import pytest
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import CancelledError
from temporalio.testing import WorkflowEnvironment
from workflows_doubles import CANDIDATE, QUEUE, STABLE, Endpoint, deploy_request, run

from mainspring.core.contracts import deployment, training
from mainspring.core.contracts.training import Stage
from mainspring.workflows.deployment.workflow import DeployModel

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
