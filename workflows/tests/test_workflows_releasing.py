"""ReleaseEndpoint: who answers is looked at, that traffic is taken away and no other, and it is on record."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from releasing_doubles import Released, release_request
from temporalio.client import Client, WorkflowFailureError
from temporalio.testing import WorkflowEnvironment
from workflows_doubles import CANDIDATE, QUEUE, STABLE, Endpoint, deploy_request, run

from mainspring.core import errors
from mainspring.core.contracts import deployment, releasing, training
from mainspring.core.contracts.training import Stage
from mainspring.workflows import errors as temporal_errors
from mainspring.workflows.deployment import messages as deployment_messages
from mainspring.workflows.deployment.activities import DeploymentActivities
from mainspring.workflows.deployment.workflow import DeployModel
from mainspring.workflows.releasing import activities, messages
from mainspring.workflows.releasing.workflow import ReleaseEndpoint


def release(world: Released, **changes: Any) -> releasing.ReleaseResult:
    async def story(client: Client, _: WorkflowEnvironment) -> releasing.ReleaseResult:
        request = release_request(**changes)
        return await client.execute_workflow(
            ReleaseEndpoint.run, request, id=request.run_id, task_queue=QUEUE
        )

    return run(story, [ReleaseEndpoint], [*world.endpoint.activities(), *world.activities()])


def test_the_traffic_that_was_looked_at_is_taken_away_and_it_is_on_record() -> None:
    world = Released()
    result = release(world)
    assert (result.stage, result.traffic_version, result.bundles) == (Stage.DONE, 3, [STABLE])
    assert [one.version for one in world.asked] == [3] and world.endpoint.traffic is None
    assert world.endpoint.told == ["run_release/release", "run_release/end"]
    told = world.endpoint.events[0]
    assert (told.action, told.actor, told.detail["reason"]) == ("endpoint.release", "ana", "nobody asks")
    assert "out of service" in world.endpoint.ended()["message"]


def test_where_nobody_answers_there_is_nothing_to_take_away() -> None:
    world = Released(Endpoint(traffic=None))
    result = release(world)
    assert (result.stage, result.traffic_version, world.asked) == (Stage.DONE, 0, [])
    assert "nobody answers" in result.message
    assert world.endpoint.told == ["run_release/end"]


def test_what_serving_refuses_ends_it_in_its_own_words() -> None:
    world = Released(failing=errors.Conflict("a canary is in flight", resource="endpoint"))

    async def story(
        client: Client, _: WorkflowEnvironment
    ) -> tuple[errors.MainspringError, training.RunStatus]:
        handle = await client.start_workflow(
            ReleaseEndpoint.run, release_request(), id="run_release", task_queue=QUEUE
        )
        with pytest.raises(WorkflowFailureError) as caught:
            await handle.result()
        return temporal_errors.from_failure(caught.value), await handle.query(ReleaseEndpoint.status)

    error, status = run(story, [ReleaseEndpoint], [*world.endpoint.activities(), *world.activities()])
    assert isinstance(error, errors.Conflict) and "canary is in flight" in error.message
    assert status.stage is Stage.FAILED and world.endpoint.ended()["stage"] == "failed"
    assert len(world.asked) == 1 and world.endpoint.traffic is not None


def test_a_deployment_to_a_released_endpoint_goes_on_with_its_versions() -> None:
    endpoint = Endpoint(traffic=None, released_version=7)

    async def story(client: Client, _: WorkflowEnvironment) -> deployment.DeployResult:
        return await client.execute_workflow(
            DeployModel.run, deploy_request(), id="run_deploy", task_queue=QUEUE
        )

    result = run(story, [DeployModel], endpoint.activities())
    assert (result.stage, result.traffic_version) == (Stage.DONE, 8)
    assert [(t.version, t.stable) for t in endpoint.history] == [(8, CANDIDATE)]


def serving(answers: dict[str, tuple[int, Any]], asked: list[httpx.Request]) -> httpx.AsyncClient:
    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        status, value = answers[f"{request.method} {request.url.path}"]
        return httpx.Response(status, json=value)

    return httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://serving")


def test_serving_is_asked_for_that_version_in_the_runs_name() -> None:
    asked: list[httpx.Request] = []
    gone = {"endpoint": "flight-delay", "version": 3, "bundles": [STABLE]}
    http = serving({"POST /v1/endpoints/flight-delay:release": (200, gone)}, asked)
    done = asyncio.run(
        activities.ReleasingActivities(http).release(messages.Release(request=release_request(), version=3))
    )
    assert (done.version, done.bundles) == (3, [STABLE])
    assert json.loads(asked[0].content) == {"version": 3, "reason": "nobody asks", "set_by": "run_release"}


def test_an_endpoint_without_traffic_tells_where_its_versions_ended() -> None:
    missing = errors.to_wire(errors.NotFound("no endpoint `flight-delay`", resource="endpoint"))
    path = "GET /v1/endpoints/flight-delay"

    def found(released: tuple[int, Any]) -> deployment_messages.EndpointFound:
        http = serving({path: (404, missing), f"{path}/released": released}, [])
        ours = DeploymentActivities(http, http, state_dir=None)  # type: ignore[arg-type]
        return asyncio.run(ours.read_endpoint(deployment_messages.ReadEndpoint(endpoint="flight-delay")))

    assert found((200, {"endpoint": "flight-delay", "version": 7})).released_version == 7
    assert found((404, missing)).released_version == 0
