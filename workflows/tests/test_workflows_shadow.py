"""A candidate is judged as a shadow before anybody is answered by it, and by how its scores are distributed."""

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

OTHER = "sha256:" + "c" * 64

Story = Callable[[WorkflowClient, WorkflowHandle[Any, Any]], Awaitable[None]]


async def nothing(client: WorkflowClient, handle: WorkflowHandle[Any, Any]) -> None:
    """Nobody orders anything."""


def deploy(endpoint: Endpoint, story: Story = nothing, **changes: Any) -> deployment.DeployResult:
    async def whole(client: Client, _: WorkflowEnvironment) -> deployment.DeployResult:
        request = deploy_request(**{"shadow_seconds": 60.0, **changes})
        handle = await client.start_workflow(DeployModel.run, request, id="run_deploy", task_queue=QUEUE)
        if story is not nothing:
            while "as a shadow: " not in (await handle.query(DeployModel.status)).message:
                await asyncio.sleep(0.01)
            await story(WorkflowClient(client, QUEUE), handle)
        return await handle.result()

    return run(whole, [DeployModel], endpoint.activities())


def traffic(endpoint: Endpoint) -> list[tuple[str, str | None, int, str | None]]:
    return [(t.stable, t.canary, t.canary_percent, t.shadow) for t in endpoint.history]


def by(**more: Any) -> canaries.Steer:
    return canaries.Steer.model_validate({"by": "eva", "roles": ("approver",), "reason": "a look"} | more)


def test_it_is_asked_for_all_of_its_time_and_answers_nobody_before_its_first_share() -> None:
    endpoint = Endpoint()
    result = deploy(endpoint, canary_percents=[5])
    assert traffic(endpoint) == [
        (STABLE, None, 0, CANDIDATE),
        (STABLE, CANDIDATE, 5, None),
        (CANDIDATE, None, 0, None),
    ]
    assert (result.stage, result.message) == (Stage.DONE, "promoted after a shadow and 1 canary steps")
    as_shadow, canary = result.steps[2:4]
    assert (as_shadow.detail["is_shadow"], as_shadow.detail["verdict"]) == (True, "pass")
    assert as_shadow.seconds >= 60.0 > canary.seconds
    assert canary.detail["percent"] == 5 and "is_shadow" not in canary.detail
    # Each look sends recorded requests: as many as a step of a canary has at most.
    assert 20 <= len(endpoint.probes) <= 23
    assert endpoint.told[0] == "run_deploy/shadow"


@pytest.mark.parametrize(
    ("breach", "why"),
    [
        ({"errors_at": {0: 40}}, "error rate 0.4000 of 100 requests is above 0.0100 as a shadow"),
        ({"p95_at": {0: 200.0}}, "p95 is 20.00 times stable's in the same window, above 3.00 as a shadow"),
        (
            {"score_bins": {0: 30}},
            "by the population stability index of 100 keys and 100, above 0.2 as a shadow",
        ),
        ({"requests": 0}, "no request reached the shadow as a shadow"),
    ],
    ids=["errors", "latency", "scores", "nothing"],
)
def test_what_breaks_a_limit_is_taken_out_and_nobody_was_answered_by_it(
    breach: dict[str, Any], why: str
) -> None:
    endpoint = Endpoint(**breach)
    result = deploy(endpoint, max_score_psi=0.2)
    assert result.stage is Stage.ROLLED_BACK and why in result.message
    assert traffic(endpoint) == [(STABLE, None, 0, CANDIDATE), (STABLE, None, 0, None)]
    assert [t.counts_scores for t in endpoint.history] == [True, False]
    assert endpoint.ended()["stage"] == "rolled_back"


def test_a_canary_whose_scores_moved_goes_back_and_says_so() -> None:
    endpoint = Endpoint(score_bins={25: 30})
    result = deploy(endpoint, shadow_seconds=0.0, max_score_psi=0.2)
    assert result.stage is Stage.ROLLED_BACK
    assert "scores are distributed" in result.message and "at 25 % of traffic" in result.message
    first, second = (step.detail for step in result.steps[2:4])
    assert first["score_psi"] == 0.0 and second["score_psi"] > 0.2
    # Without a limit nobody counts them, and they are no reason.
    unjudged = Endpoint(score_bins={25: 30})
    done = deploy(unjudged, shadow_seconds=0.0)
    assert done.stage is Stage.DONE and not any(t.counts_scores for t in unjudged.history)
    assert all("score_psi" not in step.detail for step in done.steps)


def test_the_place_of_another_shadow_is_not_taken() -> None:
    table = deployment.TrafficTable(
        endpoint="flight-delay", version=3, stable=STABLE, shadow=OTHER, set_by="kim"
    )
    endpoint = Endpoint(traffic=table)

    async def story(client: Client, _: WorkflowEnvironment) -> None:
        handle = await client.start_workflow(
            DeployModel.run, deploy_request(shadow_seconds=5.0), id="run_deploy", task_queue=QUEUE
        )
        with pytest.raises(errors.Conflict, match="has a shadow, set by `kim`; take it out first"):
            await WorkflowClient(client, QUEUE).deployment_result(handle.id)

    run(story, [DeployModel], endpoint.activities())
    assert endpoint.history == []


def test_a_paused_shadow_stays_and_is_judged_on() -> None:
    endpoint = Endpoint()

    async def story(client: WorkflowClient, handle: WorkflowHandle[Any, Any]) -> None:
        status = await client.steer("run_deploy", CanaryOrder.PAUSE, by())
        state = canaries.CanaryState.model_validate(status.detail["canary"])
        assert (state.percent, state.is_shadow, state.is_paused) == (0, True, True)
        assert state.later_percents == (5, 25, 50)
        await endpoint.watched.wait()
        endpoint.errors_at = {0: 40}

    result = deploy(endpoint, story, shadow_seconds=3600.0)
    assert result.stage is Stage.ROLLED_BACK and "error rate 0.4000" in result.message
    assert traffic(endpoint) == [(STABLE, None, 0, CANDIDATE), (STABLE, None, 0, None)]


@pytest.mark.parametrize(
    ("to", "shares", "past"),
    [
        (0, [5, 25, 50, 0], "promoted past the gates as a shadow by `eva`"),
        (50, [50, 0], "promoted past the gates as a shadow and at 5, 25 % by `eva`"),
        (100, [0], "promoted past the gates as a shadow and at 5, 25, 50 % by `eva`"),
    ],
    ids=["first", "over two", "all"],
)
def test_a_promoted_shadow_goes_on_to_a_share_and_says_past_which_gates(
    to: int, shares: list[int], past: str
) -> None:
    endpoint = Endpoint()

    async def story(client: WorkflowClient, handle: WorkflowHandle[Any, Any]) -> None:
        await client.steer("run_deploy", CanaryOrder.PROMOTE, by(to_percent=to))

    result = deploy(endpoint, story, shadow_seconds=36_000.0)
    assert (result.stage, result.message) == (Stage.DONE, past)
    assert [t.canary_percent for t in endpoint.history[1:]] == shares
    assert all(t.shadow is None for t in endpoint.history[1:])


def test_an_aborted_shadow_is_taken_out() -> None:
    endpoint = Endpoint()

    async def story(client: WorkflowClient, handle: WorkflowHandle[Any, Any]) -> None:
        await client.steer("run_deploy", CanaryOrder.ABORT, by())

    result = deploy(endpoint, story, shadow_seconds=36_000.0)
    assert result.stage is Stage.ROLLED_BACK and "aborted by `eva` (a look) as a shadow" in result.message
    assert traffic(endpoint) == [(STABLE, None, 0, CANDIDATE), (STABLE, None, 0, None)]


def test_a_shadow_goes_on_to_a_share_that_it_has_before_it() -> None:
    shadow = steering.Steering(deploy_request(shadow_seconds=5.0))
    shadow.begin(steering.SHADOW, 100.0)
    with pytest.raises(errors.InvalidRequest, match="is as a shadow and goes on to 5, 25, 50, 100, not to 7"):
        shadow.check(CanaryOrder.PROMOTE, by(to_percent=7))
    shadow.check(CanaryOrder.PROMOTE, by(to_percent=25))
    shadow.close()
    assert shadow.state is None
    with pytest.raises(errors.Conflict, match="judges no canary now"):
        shadow.check(CanaryOrder.ABORT, by())
