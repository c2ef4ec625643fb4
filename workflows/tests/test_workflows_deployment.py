"""DeployModel on a real test server: promotes, rolls back, gives traffic back when cancelled or failing."""

from typing import Any

import pytest
from temporalio.client import Client, WorkflowFailureError
from temporalio.testing import WorkflowEnvironment
from workflows_doubles import CANDIDATE, QUEUE, STABLE, Endpoint, deploy_request, run

from mainspring.core import errors
from mainspring.core.contracts import deployment, training
from mainspring.core.contracts.training import Stage
from mainspring.workflows import errors as temporal_errors
from mainspring.workflows.deployment.workflow import DeployModel


def deploy(endpoint: Endpoint, **changes: Any) -> deployment.DeployResult:
    async def story(client: Client, _: WorkflowEnvironment) -> deployment.DeployResult:
        return await client.execute_workflow(
            DeployModel.run, deploy_request(**changes), id="run_deploy", task_queue=QUEUE
        )

    return run(story, [DeployModel], endpoint.activities())


def fail(endpoint: Endpoint, **changes: Any) -> tuple[errors.MainspringError, training.RunStatus]:
    async def story(
        client: Client, _: WorkflowEnvironment
    ) -> tuple[errors.MainspringError, training.RunStatus]:
        handle = await client.start_workflow(
            DeployModel.run, deploy_request(**changes), id="run_deploy", task_queue=QUEUE
        )
        with pytest.raises(WorkflowFailureError) as caught:
            await handle.result()
        return temporal_errors.from_failure(caught.value), await handle.query(DeployModel.status)

    return run(story, [DeployModel], endpoint.activities())


def test_good_candidate_takes_all_traffic_by_steps() -> None:
    endpoint = Endpoint()
    result = deploy(endpoint)
    assert result.stage is Stage.DONE
    assert [(t.version, t.stable, t.canary_percent) for t in endpoint.history] == [
        (4, STABLE, 5),
        (5, STABLE, 25),
        (6, STABLE, 50),
        (7, CANDIDATE, 0),
    ]
    assert result.traffic_version == 7
    assert [s.step for s in result.steps] == [
        Stage.DEPLOY,
        Stage.WARM,
        Stage.CANARY,
        Stage.CANARY,
        Stage.CANARY,
        Stage.PROMOTE,
    ]
    assert [e.event_key for e in endpoint.events] == [
        "run_deploy/canary-5",
        "run_deploy/canary-25",
        "run_deploy/canary-50",
        "run_deploy/promote",
    ]
    assert endpoint.probes == 600


def test_first_bundle_becomes_stable_at_once() -> None:
    endpoint = Endpoint(traffic=None)
    result = deploy(endpoint)
    assert result.stage is Stage.DONE
    assert [(t.version, t.stable, t.canary) for t in endpoint.history] == [(1, CANDIDATE, None)]


def test_stable_candidate_changes_nothing() -> None:
    endpoint = Endpoint()
    result = deploy(endpoint, bundle_digest=STABLE)
    assert (result.stage, result.traffic_version, endpoint.history) == (Stage.DONE, 3, [])


def test_error_rate_rolls_back() -> None:
    endpoint = Endpoint(errors_at={25: 9})
    result = deploy(endpoint)
    assert result.stage is Stage.ROLLED_BACK
    assert "error rate 0.0900" in result.message
    assert "25 %" in result.message
    assert [(t.canary_percent, t.stable) for t in endpoint.history] == [
        (5, STABLE),
        (25, STABLE),
        (0, STABLE),
    ]
    assert endpoint.events[-1].action == "endpoint.rollback"
    assert result.steps[-1].detail["verdict"] == "breach"
    assert result.traffic_version == 6


def test_latency_ratio_rolls_back() -> None:
    endpoint = Endpoint(p95_at={50: 45.0})
    result = deploy(endpoint)
    assert result.stage is Stage.ROLLED_BACK
    assert "4.50 times" in result.message
    assert endpoint.traffic is not None
    assert endpoint.traffic.stable == STABLE
    assert endpoint.traffic.canary is None


def test_a_canary_that_nobody_asked_is_not_promoted() -> None:
    endpoint = Endpoint(requests=0)
    result = deploy(endpoint, step_seconds=30.0)
    assert result.stage is Stage.ROLLED_BACK
    assert "no request" in result.message
    assert result.steps[-1].seconds >= 30.0
    assert endpoint.probes >= 10 * 200


def test_a_bundle_that_does_not_load_is_a_typed_end_and_touches_nothing() -> None:
    endpoint = Endpoint(load_error=errors.CorruptArtifact("bundle is not what its digest says", artifact="x"))
    error, status = fail(endpoint)
    assert isinstance(error, errors.CorruptArtifact)
    assert error.artifact == "x"
    assert status.stage is Stage.FAILED
    assert status.error["code"] == "corrupt_artifact"
    assert endpoint.history == []


def test_a_change_that_cannot_be_put_on_record_is_taken_back() -> None:
    endpoint = Endpoint(report_error=errors.NotFound("no run `run_deploy`", resource="run"))
    error, status = fail(endpoint)
    assert isinstance(error, errors.NotFound)
    assert endpoint.traffic is not None
    assert endpoint.traffic.canary is None
    assert "undo is incomplete" in status.message


def test_another_deployments_canary_is_left_alone() -> None:
    table = deployment.TrafficTable(
        endpoint="flight-delay",
        version=8,
        stable=STABLE,
        canary="sha256:" + "c" * 64,
        canary_percent=5,
        set_by="run_other",
    )
    endpoint = Endpoint(traffic=table)
    error, _ = fail(endpoint)
    assert isinstance(error, errors.Conflict)
    assert "run_other" in error.message
    assert endpoint.traffic == table
