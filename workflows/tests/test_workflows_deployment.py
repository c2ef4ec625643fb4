"""DeployModel on a real test server: promotes, rolls back, gives traffic back when cancelled or failing."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import CancelledError
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
    assert endpoint.told[:-1] == [
        "run_deploy/canary-5",
        "run_deploy/canary-25",
        "run_deploy/canary-50",
        "run_deploy/promote",
    ]
    assert endpoint.ended()["stage"] == "done"
    assert endpoint.ended()["result"]["traffic_version"] == 7
    assert [(p.rows, p.skip) for p in endpoint.probes] == [(200, 0)] * 3
    assert result.steps[2].detail["probes"] == 200


def test_first_bundle_becomes_stable_at_once() -> None:
    endpoint = Endpoint(traffic=None)
    result = deploy(endpoint)
    assert result.stage is Stage.DONE
    assert [(t.version, t.stable, t.canary) for t in endpoint.history] == [(1, CANDIDATE, None)]


def test_the_end_of_a_child_is_its_parents_to_report() -> None:
    endpoint = Endpoint(traffic=None)
    deploy(endpoint, parent_run_id="run_train")
    assert endpoint.told == ["run_deploy/promote"]
    assert endpoint.events[0].run_id == "run_train"


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
    assert endpoint.events[-2].action == "endpoint.rollback"
    assert endpoint.ended()["stage"] == "rolled_back"
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
    assert [p.skip for p in endpoint.probes[:3]] == [0, 200, 400]
    assert len(endpoint.probes) >= 10


def test_without_recorded_requests_a_step_says_so_and_rests_on_live_traffic() -> None:
    endpoint = Endpoint(recorded=False)
    result = deploy(endpoint)
    assert result.stage is Stage.DONE
    assert len(endpoint.probes) == 3
    assert result.steps[2].detail["probes"] == 0
    assert result.steps[2].detail["probe_message"] == "no recorded requests"
    assert deploy(Endpoint(recorded=False, requests=0)).stage is Stage.ROLLED_BACK


def test_serving_that_is_away_for_a_while_costs_time_and_not_the_deployment() -> None:
    """Until it is back it is asked more often than a step that costs minutes may be."""
    endpoint = Endpoint(down_for=8)
    assert deploy(endpoint).stage is Stage.DONE
    assert endpoint.down_for == 0 and len(endpoint.history) == 4

    async def goes_away(table: deployment.TrafficTable) -> None:
        endpoint.down_for = 8 if table.canary_percent == 25 else 0

    endpoint = Endpoint(when_changed=goes_away)
    assert deploy(endpoint).stage is Stage.DONE
    assert endpoint.down_for == 0 and len(endpoint.history) == 4


def test_counts_that_serving_lost_at_the_end_of_a_step_are_made_once_more() -> None:
    endpoint = Endpoint(uncounted=1)
    assert deploy(endpoint, step_seconds=0.001).stage is Stage.DONE
    assert len(endpoint.probes) == 4
    endpoint = Endpoint(uncounted=2)
    result = deploy(endpoint, step_seconds=0.001)
    assert result.stage is Stage.ROLLED_BACK and "no request reached the canary" in result.message
    assert len(endpoint.probes) == 2


def test_serving_that_stays_away_ends_the_deployment_with_the_traffic_as_it_was() -> None:
    async def goes_away(_: deployment.TrafficTable) -> None:
        endpoint.down_for = 10_000

    endpoint = Endpoint(when_changed=goes_away)
    error, status = fail(endpoint)
    assert isinstance(error, errors.DependencyDown) and error.name == "serving"
    assert endpoint.traffic is not None and (endpoint.traffic.stable, endpoint.traffic.canary) == (
        STABLE,
        None,
    )
    assert status.stage is Stage.FAILED


def test_a_bundle_that_does_not_load_is_a_typed_end_and_touches_nothing() -> None:
    endpoint = Endpoint(load_error=errors.CorruptArtifact("bundle is not what its digest says", artifact="x"))
    error, status = fail(endpoint)
    assert isinstance(error, errors.CorruptArtifact)
    assert error.artifact == "x"
    assert status.stage is Stage.FAILED
    assert status.error["code"] == "corrupt_artifact"
    assert endpoint.ended()["stage"] == "failed"
    assert endpoint.history == []


def test_a_bundle_of_another_project_is_not_served_here() -> None:
    endpoint = Endpoint(bundle_project="somebody-elses")
    error, status = fail(endpoint)
    assert isinstance(error, errors.InvalidRequest) and error.field == "bundle_digest"
    assert "somebody-elses" not in error.message, "whose it is stays unsaid"
    assert status.stage is Stage.FAILED and endpoint.history == []


def test_a_release_that_did_not_tell_of_projects_still_deploys() -> None:
    assert deploy(Endpoint(bundle_project="")).stage is Stage.DONE


def test_a_change_that_cannot_be_put_on_record_is_taken_back() -> None:
    endpoint = Endpoint(report_error=errors.NotFound("no run `run_deploy`", resource="run"))
    error, status = fail(endpoint)
    assert isinstance(error, errors.NotFound)
    assert endpoint.traffic is not None
    assert endpoint.traffic.canary is None
    assert "undo is incomplete" in status.message
    assert "end is not on record" in status.message


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


async def watching(handle: WorkflowHandle[Any, Any]) -> None:
    """Until the canary waits for more requests: its timer runs, and no activity does."""
    while "10 of 50" not in (await handle.query(DeployModel.status)).message:
        await asyncio.sleep(0)


async def cancel_asked(handle: WorkflowHandle[Any, Any]) -> None:
    """Until the server knows that the activity under way is to be cancelled."""
    while True:
        async for event in handle.fetch_history_events():
            if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED:
                return


def cancel(
    endpoint: Endpoint, when: Callable[[WorkflowHandle[Any, Any]], Awaitable[None]]
) -> training.RunStatus:
    async def story(client: Client, _: WorkflowEnvironment) -> training.RunStatus:
        handle = await client.start_workflow(
            DeployModel.run, deploy_request(step_seconds=3600.0), id="run_deploy", task_queue=QUEUE
        )
        await when(handle)
        with pytest.raises(WorkflowFailureError) as caught:
            await handle.result()
        assert isinstance(caught.value.cause, CancelledError)
        return await handle.query(DeployModel.status)

    return run(story, [DeployModel], endpoint.activities())


# A cancellation that meets an activity's own end is in test_workflows_real_server.py: the time-skipping server
# refuses the workflow task then (temporalio/sdk-java#2391) and the run stands still, where a real server goes on.


def test_cancel_during_a_canary_gives_its_traffic_back() -> None:
    endpoint = Endpoint(requests=10)

    async def when(handle: WorkflowHandle[Any, Any]) -> None:
        await watching(handle)
        await handle.cancel()

    status = cancel(endpoint, when)
    assert status.stage is Stage.CANCELLED
    assert endpoint.traffic is not None
    assert (endpoint.traffic.stable, endpoint.traffic.canary, endpoint.traffic.version) == (STABLE, None, 5)
    assert endpoint.events[-2].action == "endpoint.restore"
    assert endpoint.ended()["stage"] == "cancelled"


def test_cancel_waits_for_the_change_under_way_and_takes_it_back() -> None:
    """The activity ends well after the cancellation: the change is made, and the run must not go on from it."""
    endpoint = Endpoint(hold=asyncio.Event())

    async def when(handle: WorkflowHandle[Any, Any]) -> None:
        await endpoint.canary_seen.wait()
        await handle.cancel()
        await cancel_asked(handle)
        assert endpoint.hold is not None
        endpoint.hold.set()

    status = cancel(endpoint, when)
    assert status.stage is Stage.CANCELLED
    assert endpoint.traffic is not None
    assert [(t.version, t.canary_percent) for t in endpoint.history] == [(4, 5), (5, 0)]
    assert endpoint.traffic.stable == STABLE
    assert endpoint.events[-2].action == "endpoint.restore"
    assert endpoint.ended()["stage"] == "cancelled"
