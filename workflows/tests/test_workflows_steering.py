"""A canary that runs is paused, resumed, promoted and aborted by people, on record, or says why not."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from temporalio.client import Client, WorkflowHandle
from temporalio.testing import WorkflowEnvironment
from workflows_doubles import CANDIDATE, QUEUE, STABLE, Endpoint, deploy_request, run

from mainspring.core import errors
from mainspring.core.client.workflows import WorkflowClient
from mainspring.core.contracts import canaries, deployment
from mainspring.core.contracts.canaries import CanaryOrder
from mainspring.core.contracts.training import Stage
from mainspring.workflows.deployment import steering
from mainspring.workflows.deployment.workflow import DeployModel

PAUSE, RESUME, PROMOTE, ABORT = CanaryOrder


def by(name: str = "eva", **more: Any) -> canaries.Steer:
    return canaries.Steer.model_validate({"by": name, "roles": ("approver",), "reason": "a look"} | more)


def at(percent: int, **changes: Any) -> steering.Steering:
    made = steering.Steering(deploy_request(**changes))
    made.begin(percent, 100.0)
    return made


def test_what_is_nothing_to_order_is_refused_in_words() -> None:
    canary = steering.Steering(deploy_request())
    for order in CanaryOrder:
        with pytest.raises(errors.Conflict, match="judges no canary now"):
            canary.check(order, by())
    canary = at(5)
    with pytest.raises(errors.Conflict, match="is not paused"):
        canary.check(RESUME, by())
    canary.take(PAUSE, by(), 101.0)
    with pytest.raises(errors.Conflict, match=r"is paused by `eva` \(a look\) already"):
        canary.check(PAUSE, by("kim"))
    canary.take(ABORT, by("kim"), 102.0)
    for order in CanaryOrder:
        with pytest.raises(errors.Conflict, match=r"is aborted by `kim` \(a look\) already"):
            canary.check(order, by())
    canary.close()
    with pytest.raises(errors.Conflict, match="judges no canary now"):
        canary.check(ABORT, by())


def test_a_canary_goes_on_to_a_share_that_it_has_before_it() -> None:
    canary = at(25)
    for wrong in (5, 25, 30):
        with pytest.raises(errors.InvalidRequest, match=f"goes on to 50, 100, not to {wrong}"):
            canary.check(PROMOTE, by(to_percent=wrong))
    with pytest.raises(errors.InvalidRequest, match="goes with `promote`, not with `pause`"):
        canary.check(PAUSE, by(to_percent=50))
    for share in (0, 50, 100):
        canary.check(PROMOTE, by(to_percent=share))


@pytest.mark.parametrize(
    ("at_percent", "to", "goes_to", "skipped"),
    [(5, 0, 25, (5,)), (5, 50, 50, (5, 25)), (5, 100, 100, (5, 25, 50)), (50, 0, 100, (50,))],
)
def test_a_promotion_goes_past_the_gates_up_to_its_share(
    at_percent: int, to: int, goes_to: int, skipped: tuple[int, ...]
) -> None:
    canary = at(at_percent)
    canary.take(PROMOTE, by(to_percent=to), 101.0)
    assert canary.end is not None
    assert (canary.end.to_percent, canary.end.skipped, canary.from_percent) == (goes_to, skipped, goes_to)
    assert f"at {', '.join(map(str, skipped))} % by `eva`" in canary.gone_past


def test_past_a_gate_goes_only_who_may_approve() -> None:
    prod = at(5, environment="prod")
    with pytest.raises(errors.PolicyDenied, match="approval.role"):
        prod.check(PROMOTE, by(roles=("developer",)))
    with pytest.raises(errors.PolicyDenied, match="four-eyes"):
        prod.check(PROMOTE, by("ana"))
    prod.check(PROMOTE, by("eva"))
    at(5).check(PROMOTE, by("ana"))
    for order in (PAUSE, ABORT):
        prod.check(order, by("ana", roles=()))


def test_the_time_of_a_step_stands_still_while_it_is_paused() -> None:
    canary = at(5)
    canary.take(PAUSE, by(), 110.0)
    assert canary.state == canaries.CanaryState(
        percent=5, later_percents=(25, 50), is_paused=True, paused_by="eva", reason="a look"
    )
    canary.take(RESUME, by(), 170.0)
    assert (canary.held(), canary.held(), canary.told) == (60.0, 0.0, {"paused_seconds": 60.0})
    # On its way to the next share a pause counts from when that is reached.
    canary.take(PAUSE, by(), 180.0)
    canary.begin(25, 200.0)
    canary.take(PROMOTE, by(), 210.0)
    assert (canary.held(), canary.is_paused) == (10.0, False)


Story = Callable[[WorkflowClient, WorkflowHandle[Any, Any], WorkflowEnvironment], Awaitable[None]]


def steered(
    endpoint: Endpoint, story: Story, *, real: bool = False, **changes: Any
) -> deployment.DeployResult:
    """A canary that nobody is sure of, steered as `story` tells, to its end."""

    async def whole(client: Client, environment: WorkflowEnvironment) -> deployment.DeployResult:
        request = deploy_request(**{"step_seconds": 3600.0, **changes})
        handle = await client.start_workflow(DeployModel.run, request, id="run_deploy", task_queue=QUEUE)
        while "10 of 50" not in (await handle.query(DeployModel.status)).message:
            await asyncio.sleep(0.01)
        await story(WorkflowClient(client, QUEUE), handle, environment)
        return await handle.result()

    return run(whole, [DeployModel], endpoint.activities(), real=real)


async def paused(
    client: WorkflowClient, handle: WorkflowHandle[Any, Any], endpoint: Endpoint
) -> canaries.CanaryState:
    await client.steer("run_deploy", PAUSE, by(order_id="one"))
    await endpoint.watched.wait()
    return canaries.CanaryState.model_validate((await client.status("run_deploy")).detail["canary"])


def orders(endpoint: Endpoint) -> list[tuple[str, str]]:
    return [(e.action, e.actor) for e in endpoint.events if ".canary." in e.action]


def test_a_paused_canary_keeps_its_share_and_goes_on_when_it_is_resumed() -> None:
    """In real time: the server that skips it does so only while somebody waits for the end."""
    endpoint, step_seconds = Endpoint(requests=10), 4.0

    async def story(
        client: WorkflowClient, handle: WorkflowHandle[Any, Any], environment: WorkflowEnvironment
    ) -> None:
        state = await paused(client, handle, endpoint)
        assert (state.percent, state.is_paused, state.paused_by) == (5, True, "eva")
        await asyncio.sleep(step_seconds + 0.5)  # else it would have gone back by now
        endpoint.requests = 100  # enough to pass by, and it stays
        assert endpoint.traffic is not None and endpoint.traffic.canary_percent == 5
        status = await client.status("run_deploy")
        assert "paused by `eva` (a look) at 5 % of traffic" in status.message
        with pytest.raises(errors.Conflict, match="already; resume it"):
            await client.steer("run_deploy", PAUSE, by())
        await client.steer("run_deploy", RESUME, by("kim", order_id="two"))

    result = steered(endpoint, story, step_seconds=step_seconds)
    assert result.stage is Stage.DONE and "after 3 canary steps" in result.message
    assert [t.canary_percent for t in endpoint.history] == [5, 25, 50, 0]
    assert orders(endpoint) == [("endpoint.canary.pause", "eva"), ("endpoint.canary.resume", "kim")]
    assert [e.detail["order_id"] for e in endpoint.events if ".canary." in e.action] == ["one", "two"]
    assert result.steps[2].detail["paused_seconds"] >= step_seconds


def test_a_breach_goes_back_also_while_it_is_paused() -> None:
    endpoint = Endpoint(requests=10)

    async def story(
        client: WorkflowClient, handle: WorkflowHandle[Any, Any], environment: WorkflowEnvironment
    ) -> None:
        await paused(client, handle, endpoint)
        endpoint.requests, endpoint.errors_at = 100, {5: 40}

    result = steered(endpoint, story)
    assert result.stage is Stage.ROLLED_BACK and "error rate 0.4000" in result.message
    assert endpoint.traffic is not None
    assert (endpoint.traffic.stable, endpoint.traffic.canary) == (STABLE, None)


def test_traffic_that_somebody_else_moves_ends_a_paused_canary() -> None:
    endpoint = Endpoint(requests=10)

    async def story(
        client: WorkflowClient, handle: WorkflowHandle[Any, Any], environment: WorkflowEnvironment
    ) -> None:
        await paused(client, handle, endpoint)
        assert endpoint.traffic is not None
        endpoint.traffic = endpoint.traffic.model_copy(
            update={"version": endpoint.traffic.version + 1, "set_by": "somebody"}
        )
        with pytest.raises(errors.Conflict, match="somebody else moved it"):
            await client.deployment_result("run_deploy")
        raise Ended

    with pytest.raises(Ended):
        steered(endpoint, story)


class Ended(Exception):
    """The story is told."""


@pytest.mark.parametrize(
    ("to", "shares"), [(0, [5, 25, 50, 0]), (50, [5, 50, 0]), (100, [5, 0])], ids=["next", "over one", "all"]
)
def test_a_promotion_goes_on_at_once_and_says_past_which_gates(to: int, shares: list[int]) -> None:
    endpoint = Endpoint(requests=10)

    async def story(
        client: WorkflowClient, handle: WorkflowHandle[Any, Any], environment: WorkflowEnvironment
    ) -> None:
        await client.steer("run_deploy", PROMOTE, by(to_percent=to))
        endpoint.requests = 100

    result = steered(endpoint, story)
    assert (
        result.stage is Stage.DONE and "past the gates at 5" in result.message and "`eva`" in result.message
    )
    assert [t.canary_percent for t in endpoint.history] == shares
    assert endpoint.traffic is not None and endpoint.traffic.stable == CANDIDATE
    told = next(e for e in endpoint.events if e.action == "endpoint.canary.promote")
    past = [5] if to == 0 else [5, 25] if to == 50 else [5, 25, 50]
    assert (told.actor, told.detail["skipped"], told.detail["percent"]) == ("eva", past, 5)
    assert result.steps[2].detail["verdict"] == "skipped" and result.steps[2].detail["by"] == "eva"


@pytest.mark.parametrize("is_paused", [False, True])
def test_an_abort_gives_the_traffic_back_with_its_reason(is_paused: bool) -> None:
    endpoint = Endpoint(requests=10)

    async def story(
        client: WorkflowClient, handle: WorkflowHandle[Any, Any], environment: WorkflowEnvironment
    ) -> None:
        if is_paused:
            await paused(client, handle, endpoint)
        await client.steer("run_deploy", ABORT, by("kim", reason="wrong data"))

    result = steered(endpoint, story)
    assert result.stage is Stage.ROLLED_BACK
    assert "rolled back: aborted by `kim` (wrong data) at 5 % of traffic" in result.message
    assert [(t.canary_percent, t.stable) for t in endpoint.history] == [(5, STABLE), (0, STABLE)]
    assert orders(endpoint)[-1] == ("endpoint.canary.abort", "kim")
    assert endpoint.ended()["stage"] == "rolled_back"


@pytest.mark.integration
def test_a_paused_canary_that_is_cancelled_gives_its_traffic_back() -> None:
    """On a real server: the one that skips time stands still where a cancelled run has an activity under way."""
    endpoint = Endpoint(requests=10)

    async def story(
        client: WorkflowClient, handle: WorkflowHandle[Any, Any], environment: WorkflowEnvironment
    ) -> None:
        await paused(client, handle, endpoint)
        await client.cancel("run_deploy")
        with pytest.raises(errors.Conflict, match="was cancelled"):
            await client.deployment_result("run_deploy")
        raise Ended

    with pytest.raises(Ended):
        steered(endpoint, story, real=True)
    assert endpoint.traffic is not None
    assert (endpoint.traffic.stable, endpoint.traffic.canary) == (STABLE, None)
    assert endpoint.ended()["stage"] == "cancelled"


def test_an_order_that_comes_twice_is_one_and_one_after_the_end_is_refused() -> None:
    endpoint = Endpoint(requests=10)

    async def story(
        client: WorkflowClient, handle: WorkflowHandle[Any, Any], environment: WorkflowEnvironment
    ) -> None:
        first = await client.steer("run_deploy", PAUSE, by(order_id="one"))
        assert await client.steer("run_deploy", PAUSE, by(order_id="one")) == first
        await client.steer("run_deploy", ABORT, by(order_id="two"))
        await handle.result()
        with pytest.raises(errors.Rejected):
            await client.steer("run_deploy", ABORT, by(order_id="three"))

    assert steered(endpoint, story).stage is Stage.ROLLED_BACK
    assert [action for action, _ in orders(endpoint)] == ["endpoint.canary.pause", "endpoint.canary.abort"]
