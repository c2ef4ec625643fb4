"""An endpoint goes out of service by a run, and its name is given back once nobody answers there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from platform_api import Api, api, empty, launcher

from mainspring.core import errors
from mainspring.core.contracts import deployment, releasing
from mainspring.platform.endpoints import live
from mainspring.platform.runs import launcher as run_launcher

__all__ = ["api", "empty", "launcher"]  # fixtures

#: Once over SQLite, once over PostgreSQL.
pytestmark = pytest.mark.usefixtures("database_url")

WANTED = {"kind": "release", "endpoint": "delay", "release": {"reason": "nobody asks"}}
DIGEST = "sha256:" + "a" * 64


class Serving:
    """What the control API hears from serving."""

    def __init__(self) -> None:
        self.tables: dict[str, deployment.TrafficTable] = {}
        self.is_away = False

    def answer(self, asked: httpx.Request) -> httpx.Response:
        if self.is_away:
            raise httpx.ConnectError("nobody there")
        name = asked.url.path.rpartition("/")[2]
        if name in self.tables:
            view = deployment.EndpointView(endpoint=name, traffic=self.tables[name])
            return httpx.Response(200, json=view.model_dump(mode="json"))
        missing = errors.NotFound(f"no endpoint `{name}`", resource="endpoint", name=name)
        problem = {"content-type": "application/problem+json"}
        return httpx.Response(404, json=errors.to_wire(missing), headers=problem)


@pytest.fixture
def serving(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serving]:
    made = Serving()

    def client(_: object, credential: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.MockTransport(made.answer), base_url="http://serving")

    monkeypatch.setattr(live, "_client", client)
    yield made


def deployed(api: Api, launcher: run_launcher.MemoryLauncher) -> str:
    """A run that brought a bundle there, and whose end is on record."""
    run_id: str = api.run(kind="deploy", endpoint="delay", bundle_digest=DIGEST)["run_id"]
    ended(api, run_id)
    return run_id


def ended(api: Api, run_id: str) -> None:
    event = {"event_key": f"{run_id}/end", "run_id": run_id, "action": "run.end", "actor": "ana"}
    body = {**event, "detail": {"stage": "done", "result": {}}}
    api.call("service", "POST", f"/api/v1/runs/{run_id}/events", 201, body)


def delete(api: Api, expect: int = 204, role: str = "approver") -> Any:
    answer = api.client.request(
        "DELETE", "/api/v1/endpoints/delay", headers={"Authorization": f"Bearer {api._tokens[role]}"}
    )
    assert answer.status_code == expect, answer.text
    return answer.json() if answer.content else None


def test_an_endpoint_is_released_by_a_run_of_an_approver(
    api: Api, launcher: run_launcher.MemoryLauncher
) -> None:
    assert api.run(404, role="approver", **WANTED)["code"] == "not_found"
    deployed(api, launcher)
    denied = api.run(403, role="developer", **WANTED)
    assert denied["details"]["rule_id"] == "run.retire.role"
    made = api.run(role="approver", **WANTED)
    assert (made["kind"], made["endpoint"]) == ("release", "delay")
    assert launcher.started[made["run_id"]] == releasing.ReleaseRequest(
        run_id=made["run_id"],
        project="flight-delay",
        requested_by="approver@local",
        endpoint="delay",
        reason="nobody asks",
    )
    project = api.call("developer", "GET", "/api/v1/projects/flight-delay", 200)
    assert project["reserved"] == 0.0


def test_what_is_no_release_is_refused(api: Api, launcher: run_launcher.MemoryLauncher) -> None:
    deployed(api, launcher)
    for changes, field in (
        ({"release": None}, "release"),
        ({"release": {"reason": " x "}}, "release.reason"),
        ({"endpoint": ""}, "endpoint"),
        ({"kind": "deploy", "bundle_digest": DIGEST}, "release"),
    ):
        assert field in str(api.run(400, role="admin", **{**WANTED, **changes})), changes


def test_a_run_that_may_deploy_there_is_in_the_way_of_both(
    api: Api, launcher: run_launcher.MemoryLauncher, serving: Serving
) -> None:
    run_id = api.run(endpoint="delay")["run_id"]
    told = api.run(409, role="approver", **WANTED)
    assert run_id in told["detail"] and "cancel it first" in told["detail"]
    assert run_id in delete(api, 409)["detail"]
    ended(api, run_id)
    assert api.run(role="approver", **WANTED)["kind"] == "release"


def test_a_name_is_given_back_once_nobody_answers_there_and_history_stays(
    api: Api, launcher: run_launcher.MemoryLauncher, serving: Serving
) -> None:
    assert delete(api, 404)["code"] == "not_found"
    run_id = deployed(api, launcher)
    serving.tables["delay"] = deployment.TrafficTable(endpoint="delay", version=1, stable=DIGEST)
    assert "`mainspring endpoint release delay" in delete(api, 409)["detail"]
    serving.is_away = True
    assert delete(api, 503)["code"] == "dependency_down"
    serving.is_away = False
    del serving.tables["delay"]
    assert delete(api, 403, role="developer")["code"] == "permission_denied"
    delete(api)
    delete(api, 404)
    assert api.call("developer", "GET", "/api/v1/endpoints", 200)["items"] == []
    assert api.call("developer", "GET", f"/api/v1/runs/{run_id}", 200)["endpoint"] == "delay"
    rows = [(row["outcome"], row["resource"]) for row in api.audit() if row["action"] == "endpoint.delete"]
    assert rows == [("denied", "endpoint/delay"), ("done", "endpoint/delay")]
    other = {"name": "other", "owner": "team@example.org"}
    api.call("developer", "POST", "/api/v1/projects", 201, other)
    api.call("developer", "POST", "/api/v1/runs", 201, {"project": "other", "endpoint": "delay"})
    assert api.call("developer", "GET", "/api/v1/endpoints/delay", 200)["project"] == "other"
