"""The thin client starts idempotently and fails with our own errors."""

import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment
from workflows_doubles import QUEUE, Endpoint, deploy_request, run

from mainspring.core import errors
from mainspring.core.client.workflows import WorkflowClient
from mainspring.core.contracts.training import Stage
from mainspring.workflows.deployment.workflow import DeployModel


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
