"""Activities rebuild the other room's own error, and give back only what is theirs."""

import asyncio

import httpx
import pytest
from temporalio.exceptions import ApplicationError
from workflows_doubles import CANDIDATE, STABLE

from mainspring.core import errors
from mainspring.core.contracts import deployment
from mainspring.workflows.deployment import messages
from mainspring.workflows.deployment.activities import DeploymentActivities

PREVIOUS = deployment.TrafficTable(endpoint="flight-delay", version=3, stable=STABLE, set_by="run_before")


def activities(now: deployment.TrafficTable, put: list[deployment.TrafficTable]) -> DeploymentActivities:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "PUT":
            put.append(deployment.TrafficTable.model_validate_json(request.content))
            return httpx.Response(200, json={})
        if request.url.path == "/v1/bundles:load":
            return httpx.Response(
                422, json=errors.to_wire(errors.CorruptArtifact("bad bundle", artifact="x"))
            )
        if request.url.path != "/v1/endpoints/flight-delay":
            return httpx.Response(404, json={})
        view = deployment.EndpointView(endpoint=now.endpoint, traffic=now)
        return httpx.Response(200, json=view.model_dump(mode="json"))

    http = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://serving")
    return DeploymentActivities(http, http)


@pytest.mark.parametrize(("set_by", "changed"), [("run_x", True), ("run_other", False)])
def test_restores_only_its_own_traffic(set_by: str, changed: bool) -> None:
    now = deployment.TrafficTable(
        endpoint="flight-delay", version=5, stable=STABLE, canary=CANDIDATE, canary_percent=5, set_by=set_by
    )
    put: list[deployment.TrafficTable] = []
    asked = messages.RestoreTraffic(previous=PREVIOUS, run_id="run_x")
    assert asyncio.run(activities(now, put).restore_traffic(asked)).changed is changed
    assert [(t.version, t.stable, t.canary) for t in put] == ([(6, STABLE, None)] if changed else [])


def test_an_error_off_the_wire_keeps_its_class_and_an_absent_endpoint_is_none() -> None:
    ours = activities(PREVIOUS, [])
    with pytest.raises(ApplicationError) as caught:
        asyncio.run(ours.load_bundle(messages.LoadBundle(digest=CANDIDATE)))
    assert (caught.value.type, caught.value.non_retryable) == ("corrupt_artifact", True)
    assert asyncio.run(ours.read_endpoint(messages.ReadEndpoint(endpoint="absent"))).view is None
