"""Deployments to one endpoint wait for one another: first come, first served, whatever becomes of whoever is before."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest
from temporalio import workflow
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import CancelledError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker
from training_doubles import Steps, all_activities, train_request
from workflows_doubles import CANDIDATE, QUEUE, STABLE, Endpoint, deploy_request, run

from mainspring.core import errors
from mainspring.core.client.workflows import WorkflowClient
from mainspring.core.contracts import canaries, deployment, training
from mainspring.core.contracts.canaries import CanaryOrder
from mainspring.core.contracts.training import Stage
from mainspring.workflows import errors as temporal_errors
from mainspring.workflows.deployment.workflow import DeployModel
from mainspring.workflows.queueing import messages
from mainspring.workflows.queueing.workflow import DeploymentQueue
from mainspring.workflows.training.workflow import TrainModel

T = TypeVar("T")
Handle = WorkflowHandle[Any, deployment.DeployResult]
SECOND, THIRD = "sha256:" + "c" * 64, "sha256:" + "d" * 64


def unsure() -> Endpoint:
    """A canary there waits for more requests, until `requests` says that they came."""
    return Endpoint(requests=10)


def tell(endpoint: Endpoint, story: Callable[[Client], Awaitable[T]]) -> T:
    async def whole(client: Client, _: WorkflowEnvironment) -> T:
        return await asyncio.wait_for(story(client), 15)

    return run(whole, [DeployModel, TrainModel], all_activities(Steps(), endpoint))


async def start(client: Client, run_id: str, digest: str, **changes: Any) -> Handle:
    request = deploy_request(
        run_id=run_id, bundle_digest=digest, **{"step_seconds": 3600.0, "canary_percents": [5], **changes}
    )
    return await client.start_workflow(DeployModel.run, request, id=run_id, task_queue=QUEUE)


async def told(handle: WorkflowHandle[Any, Any], words: str) -> training.RunStatus:
    """Its status, once that says `words`."""
    while words not in (status := await handle.query(DeployModel.status)).message:
        await asyncio.sleep(0.01)
    return status


async def first(client: Client, **changes: Any) -> Handle:
    """One that is in its canary."""
    handle = await start(client, "run_first", CANDIDATE, **changes)
    await told(handle, "10 of 50")
    return handle


async def second(client: Client, **changes: Any) -> Handle:
    """One that waits for it."""
    handle = await start(client, "run_second", SECOND, **changes)
    await told(handle, "waits for `run_first`")
    return handle


async def refused(handle: WorkflowHandle[Any, Any]) -> errors.MainspringError:
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    return temporal_errors.from_failure(caught.value)


def place(status: training.RunStatus) -> deployment.QueuePlace:
    return deployment.QueuePlace.model_validate(status.detail[deployment.QUEUE_DETAIL])


def tables(endpoint: Endpoint, run_id: str) -> list[tuple[str, str | None, int]]:
    return [(t.stable, t.canary, t.canary_percent) for t in endpoint.history if t.set_by == run_id]


def test_three_end_in_the_order_they_came_each_judged_against_the_one_before() -> None:
    endpoint = unsure()

    async def story(client: Client) -> list[deployment.DeployResult]:
        handles = [await first(client), await second(client)]
        handles.append(await start(client, "run_third", THIRD))
        waits = await told(handles[2], "and 1 more before it")
        assert waits.stage is Stage.PENDING
        assert place(waits) == deployment.QueuePlace(ahead=2, waits_for="run_first")
        assert place(await handles[1].query(DeployModel.status)).ahead == 1
        state = canaries.CanaryState.model_validate(waits.detail[canaries.CANARY_DETAIL])
        assert (state.is_waiting, state.percent) == (True, 0)
        assert {t.set_by for t in endpoint.history} == {"run_first"}, "nobody else touched it"
        endpoint.requests = 100
        return [await handle.result() for handle in handles]

    results = tell(endpoint, story)
    assert [r.stage for r in results] == [Stage.DONE] * 3
    assert [(t.set_by, t.stable, t.canary) for t in endpoint.history] == [
        ("run_first", STABLE, CANDIDATE),
        ("run_first", CANDIDATE, None),
        ("run_second", CANDIDATE, SECOND),
        ("run_second", SECOND, None),
        ("run_third", SECOND, THIRD),
        ("run_third", THIRD, None),
    ]
    assert [t.version for t in endpoint.history] == [4, 5, 6, 7, 8, 9]
    waited = results[2].steps[0]
    assert (waited.step, waited.detail) == (
        Stage.PENDING,
        {"waited_for": ["run_first", "run_second"]},
    )
    assert results[0].steps[0].step is Stage.DEPLOY, "who does not wait tells of no waiting"
    ended = [e.detail["result"]["run_id"] for e in endpoint.events if e.action == "run.end"]
    assert ended == ["run_first", "run_second", "run_third"]


def test_after_one_that_went_back_the_next_is_judged_against_the_same_champion() -> None:
    endpoint = unsure()

    async def story(client: Client) -> list[deployment.DeployResult]:
        handles = [await first(client), await second(client)]

        async def is_second(table: deployment.TrafficTable) -> None:
            endpoint.errors_at = {} if table.set_by == "run_second" else endpoint.errors_at

        endpoint.when_changed = is_second
        endpoint.requests, endpoint.errors_at = 100, {5: 50}
        return [await handle.result() for handle in handles]

    assert [r.stage for r in tell(endpoint, story)] == [Stage.ROLLED_BACK, Stage.DONE]
    assert tables(endpoint, "run_second") == [(STABLE, SECOND, 5), (SECOND, None, 0)]


def test_one_that_waits_is_cancelled_and_those_behind_it_move_up() -> None:
    endpoint = unsure()

    async def story(client: Client) -> training.RunStatus:
        ahead, waits = await first(client), await second(client)
        behind = await start(client, "run_third", THIRD)
        await told(behind, "and 1 more before it")
        await waits.cancel()
        with pytest.raises(WorkflowFailureError) as caught:
            await waits.result()
        assert isinstance(caught.value.cause, CancelledError)
        while place(await behind.query(DeployModel.status)).ahead != 1:
            await asyncio.sleep(0.01)
        endpoint.requests = 100
        assert (await ahead.result()).stage is Stage.DONE
        assert (await behind.result()).stage is Stage.DONE
        return await waits.query(DeployModel.status)

    assert tell(endpoint, story).stage is Stage.CANCELLED
    assert tables(endpoint, "run_second") == []
    assert tables(endpoint, "run_third")[0] == (CANDIDATE, THIRD, 5)
    ends = {e.run_id: e.detail["stage"] for e in endpoint.events if e.action == "run.end"}
    assert ends == {"run_first": "done", "run_second": "cancelled", "run_third": "done"}


def test_one_that_waits_is_aborted_on_record_and_takes_no_other_order() -> None:
    endpoint = unsure()

    async def story(client: Client) -> deployment.DeployResult:
        ahead, waits = await first(client), await second(client)
        steered = WorkflowClient(client, QUEUE)
        for order in (CanaryOrder.PAUSE, CanaryOrder.RESUME, CanaryOrder.PROMOTE):
            with pytest.raises(errors.Conflict, match="waits for its turn; abort it"):
                await steered.steer("run_second", order, canaries.Steer(by="eva", reason="no"))
        await steered.steer(
            "run_second", CanaryOrder.ABORT, canaries.Steer(by="eva", reason="a better one came")
        )
        result = await waits.result()
        assert endpoint.traffic is not None and endpoint.traffic.canary == CANDIDATE, "the other goes on"
        endpoint.requests = 100
        assert (await ahead.result()).stage is Stage.DONE
        return result

    result = tell(endpoint, story)
    assert result.stage is Stage.ROLLED_BACK
    assert result.message == "rolled back: aborted by `eva` (a better one came) before its turn"
    assert tables(endpoint, "run_second") == []
    (order,) = [e for e in endpoint.events if e.action == "endpoint.canary.abort"]
    assert (order.actor, order.run_id, order.detail["percent"]) == ("eva", "run_second", 0)


def test_after_a_retirement_the_next_is_judged_against_what_is_stable_then() -> None:
    """A retirement does not wait: the one under way says so and ends, and its end is the next one's turn."""
    endpoint = unsure()

    async def story(client: Client) -> tuple[errors.MainspringError, deployment.DeployResult]:
        ahead, waits = await first(client), await second(client)
        assert endpoint.traffic is not None
        version = endpoint.traffic.version + 1
        endpoint.put(
            deployment.TrafficTable(
                endpoint="flight-delay", version=version, stable=THIRD, set_by="run_retire"
            )
        )
        endpoint.requests = 100
        return await refused(ahead), await waits.result()

    error, result = tell(endpoint, story)
    assert isinstance(error, errors.Conflict) and "somebody else moved it" in error.message
    assert result.stage is Stage.DONE
    assert tables(endpoint, "run_second") == [(THIRD, SECOND, 5), (SECOND, None, 0)]


def test_nobody_waits_for_ever() -> None:
    endpoint = unsure()

    async def story(client: Client) -> tuple[errors.MainspringError, training.RunStatus]:
        ahead = await first(client, step_seconds=86_400.0 * 7)
        waits = await second(client, max_wait_seconds=7200.0)
        behind = await start(client, "run_third", THIRD, max_wait_seconds=86_400.0)
        error, status = await refused(waits), await waits.query(DeployModel.status)
        assert (await ahead.describe()).status is WorkflowExecutionStatus.RUNNING
        await told(behind, "waits for `run_first`, which deploys to `flight-delay`")
        endpoint.requests = 100
        assert (await behind.result()).stage is Stage.DONE, "its place was given up"
        return error, status

    error, status = tell(endpoint, story)
    assert isinstance(error, errors.Conflict) and (error.resource, error.name) == ("endpoint", "flight-delay")
    assert error.message == (
        "endpoint `flight-delay` has a deployment under way after 7200 s of waiting; let run `run_first` end or abort it,"
        " then deploy again"
    )
    assert status.stage is Stage.FAILED and tables(endpoint, "run_second") == []


def test_one_that_is_not_to_wait_is_refused_at_once() -> None:
    endpoint = unsure()

    async def story(client: Client) -> errors.MainspringError:
        await first(client)
        return await refused(await start(client, "run_second", SECOND, max_wait_seconds=0.0))

    error = tell(endpoint, story)
    assert isinstance(error, errors.Conflict) and "`run_first`" in error.message
    assert endpoint.admitted == []
    # Where nobody is before it, it deploys.
    alone = Endpoint()
    result = tell(alone, lambda client: _result(client, max_wait_seconds=0.0))
    assert result.stage is Stage.DONE


async def _result(client: Client, **changes: Any) -> deployment.DeployResult:
    return await (await start(client, "run_alone", CANDIDATE, **changes)).result()


def test_what_may_not_serve_does_not_wait_to_be_told_so() -> None:
    endpoint = unsure()

    async def story(client: Client) -> errors.MainspringError:
        await first(client)
        endpoint.load_error = errors.CorruptArtifact("bundle is signed by nobody", artifact=SECOND)
        return await refused(await start(client, "run_second", SECOND))

    assert isinstance(tell(endpoint, story), errors.CorruptArtifact)
    assert endpoint.admitted == [SECOND]


def test_what_may_not_serve_any_more_when_its_turn_comes_does_not() -> None:
    endpoint = unsure()

    async def story(client: Client) -> errors.MainspringError:
        ahead, waits = await first(client), await second(client)
        endpoint.load_error = errors.PolicyDenied("bundle is withdrawn", rule_id="bundle.withdrawn")
        endpoint.requests = 100
        assert (await ahead.result()).stage is Stage.DONE
        return await refused(waits)

    assert isinstance(tell(endpoint, story), errors.PolicyDenied)
    assert endpoint.admitted == [SECOND]
    assert endpoint.traffic is not None and endpoint.traffic.stable == CANDIDATE


def test_what_cannot_be_paid_any_more_when_its_turn_comes_does_not_begin() -> None:
    endpoint = unsure()

    async def story(client: Client) -> errors.MainspringError:
        ahead, waits = await first(client), await second(client)
        behind = await start(client, "run_third", THIRD)
        await told(behind, "and 1 more before it")
        endpoint.afford_error = errors.BudgetExhausted("project has spent 5 of 5", scope="project")
        endpoint.requests = 100
        assert (await ahead.result()).stage is Stage.DONE, "who did not wait is not asked again"
        error = await refused(waits)
        assert isinstance(await refused(behind), errors.BudgetExhausted)
        return error

    assert isinstance(tell(endpoint, story), errors.BudgetExhausted)
    assert {t.set_by for t in endpoint.history} == {"run_first"}


def test_endpoints_do_not_wait_for_one_another() -> None:
    busy, other = unsure(), Endpoint()

    async def story(client: Client) -> deployment.DeployResult:
        ahead = await first(client)
        request = deploy_request(run_id="run_other", endpoint="other", canary_percents=[5])
        async with Worker(
            client,
            task_queue="other",
            workflows=[DeployModel, DeploymentQueue],
            activities=other.activities(),
        ):
            result = await client.execute_workflow(
                DeployModel.run, request, id="run_other", task_queue="other"
            )
        assert (await ahead.describe()).status is WorkflowExecutionStatus.RUNNING
        return result

    result = tell(busy, story)
    assert result.stage is Stage.DONE and result.steps[0].step is Stage.DEPLOY


def test_nobody_carries_the_shadow_of_another_along() -> None:
    """One without `shadow_seconds` that came during another's shadow begins when that is out of the traffic."""
    endpoint = unsure()

    async def story(client: Client) -> list[deployment.DeployResult]:
        handles = [await first(client, shadow_seconds=3600.0), await second(client)]
        assert endpoint.traffic is not None and endpoint.traffic.shadow == CANDIDATE
        endpoint.requests = 100
        return [await handle.result() for handle in handles]

    assert [r.stage for r in tell(endpoint, story)] == [Stage.DONE, Stage.DONE]
    assert [(t.set_by, t.shadow) for t in endpoint.history] == [
        ("run_first", CANDIDATE),
        ("run_first", None),
        ("run_first", None),
        ("run_second", None),
        ("run_second", None),
    ]


def test_a_training_waits_with_its_own_deployment_and_says_so() -> None:
    endpoint = unsure()

    async def story(client: Client) -> training.TrainResult:
        ahead = await start(client, "run_first", SECOND)
        await told(ahead, "10 of 50")
        request = train_request(auto_approve_by="ana")
        trains = await client.start_workflow(TrainModel.run, request, id="run_train", task_queue=QUEUE)
        status = await told(trains, "waits for `run_first`, which deploys to `flight-delay`")
        assert status.stage is Stage.DEPLOY
        waits = await start(client, "run_third", THIRD)
        await told(waits, "and 1 more before it")
        endpoint.requests = 100
        assert (await ahead.result()).stage is Stage.DONE
        result = await trains.result()
        assert (await waits.result()).steps[0].detail == {"waited_for": ["run_first", "run_train"]}
        return result

    result = tell(endpoint, story)
    assert result.stage is Stage.DONE
    assert next(t.stable for t in endpoint.history if t.set_by == "run_train-deploy") == SECOND


def test_a_baseline_takes_no_endpoint_that_somebody_took_while_it_waited() -> None:
    endpoint = Endpoint(traffic=None)

    async def story(client: Client) -> list[deployment.DeployResult]:
        one = await start(client, "run_first", CANDIDATE, if_empty=True)
        other = await start(client, "run_second", SECOND, if_empty=True)
        return [await one.result(), await other.result()]

    results = tell(endpoint, story)
    assert [(r.stage, r.traffic_version) for r in results] == [(Stage.DONE, 1)] * 2
    # Whoever joined first; both were started in the same moment.
    (version,) = endpoint.history
    (late,) = [r for r in results if r.run_id != version.set_by]
    assert late.message == "somebody answers there already; nothing changed"


def test_whoever_ended_without_a_word_is_found_and_passed_over() -> None:
    endpoint = unsure()

    async def story(client: Client) -> tuple[deployment.DeployResult, errors.MainspringError]:
        ahead, gone = await first(client), await second(client)
        behind = await start(client, "run_third", THIRD)
        await told(behind, "and 1 more before it")
        await gone.terminate()
        endpoint.requests = 100
        assert (await ahead.result()).stage is Stage.DONE
        done = await behind.result()
        # Its canary is still there: whoever comes next is told, and nothing of it is undone behind anybody's back.
        endpoint.requests = 10
        left = await start(client, "run_fourth", CANDIDATE)
        await told(left, "10 of 50")
        waits = await start(client, "run_fifth", SECOND)
        await told(waits, "waits for `run_fourth`")
        await left.terminate()
        return done, await refused(waits)

    done, error = tell(endpoint, story)
    assert done.stage is Stage.DONE
    assert isinstance(error, errors.Conflict) and "set by `run_fourth`" in error.message


def test_a_queue_that_somebody_ended_is_begun_anew_by_those_who_waited() -> None:
    endpoint = unsure()

    async def story(client: Client) -> deployment.DeployResult:
        ahead, waits = await first(client), await second(client)
        await client.get_workflow_handle(messages.queue_id("flight-delay")).terminate()
        endpoint.requests = 100
        assert (await ahead.result()).stage is Stage.DONE
        return await waits.result()

    result = tell(endpoint, story)
    assert result.stage is Stage.DONE
    assert 0.0 < result.steps[0].seconds <= 700.0


def test_a_queue_whose_history_is_begun_anew_loses_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Temporal suggests after thousands of events; here after each change."""
    monkeypatch.setattr(workflow.Info, "is_continue_as_new_suggested", lambda _: True)
    endpoint = unsure()

    async def story(client: Client) -> list[deployment.DeployResult]:
        handles = [await first(client), await second(client)]
        before = (await client.get_workflow_handle(messages.queue_id("flight-delay")).describe()).run_id
        handles.append(await start(client, "run_third", THIRD))
        await told(handles[2], "and 1 more before it")
        now = (await client.get_workflow_handle(messages.queue_id("flight-delay")).describe()).run_id
        assert before != now
        endpoint.requests = 100
        return [await handle.result() for handle in handles]

    assert [r.stage for r in tell(endpoint, story)] == [Stage.DONE] * 3
    assert [t.set_by for t in endpoint.history[::2]] == ["run_first", "run_second", "run_third"]


def test_a_queue_ends_with_the_last_one_in_it_and_goes_on_with_what_it_was_given() -> None:
    endpoint = Endpoint()

    async def story(client: Client) -> None:
        await _result(client)
        handle = client.get_workflow_handle(messages.queue_id("flight-delay"))
        await handle.result()
        # As after many turns, when its history is begun anew: everybody is told its place again.
        gone = messages.Ticket(workflow_id="run_nobody", execution="none", run_id="run_nobody")
        await client.execute_workflow(
            DeploymentQueue.run,
            messages.Line(tickets=[gone, gone.model_copy(update={"execution": "other"})]),
            id=messages.queue_id("flight-delay"),
            task_queue=QUEUE,
        )

    tell(endpoint, story)
