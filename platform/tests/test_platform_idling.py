"""What is on record of endpoints' use: when somebody asked last, and notices, once each, for those who may see the project."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner
from platform_api import Api, api, empty, launcher  # noqa: F401 - fixtures

from mainspring.core.client import control as control_client
from mainspring.core.contracts import base, idling
from mainspring.platform.cli import costs as cli_costs
from mainspring.platform.cli import main as cli

#: Once over SQLite, once over PostgreSQL.
pytestmark = pytest.mark.usefixtures("database_url")

DIGEST = "sha256:" + "a" * 64
IDLE = "/api/v1/idle-endpoints"


def used(api: Api, key: str, hour: int, endpoint: str = "delay", requests: int = 1) -> None:  # noqa: F811
    record = {
        "usage_key": key,
        "project": "flight-delay",
        "endpoint": endpoint,
        "model_version": DIGEST,
        "caller": "ana",
        "requests": requests,
        "predictions": requests,
        "cpu_microseconds": 10,
        "started_at": f"2026-11-01T{hour:02}:00:00Z",
        "ended_at": f"2026-11-01T{hour:02}:01:00Z",
    }
    api.call("service", "POST", "/api/v1/serving-usage", 201, {"records": [record]})


def claimed(api: Api, *names: str) -> None:  # noqa: F811
    for name in names:
        api.run(endpoint=name)


def noted(api: Api, expect: int = 201, role: str = "service", **changes: Any) -> Any:  # noqa: F811
    event = {"event_key": "idle/delay/1", "kind": "notice", "detail": {"grace_minutes": 60}, **changes}
    return api.call(role, "POST", "/api/v1/endpoints/delay/idle-events", expect, event)


def test_the_last_use_is_that_of_the_newest_window_with_a_request(api: Api) -> None:  # noqa: F811
    claimed(api, "delay", "other")
    for key, hour in (("u1", 3), ("u2", 9), ("u3", 5)):
        used(api, key, hour)
    used(api, "u4", 11, requests=0)
    used(api, "u5", 10, endpoint="of-nobody")
    page = api.call("developer", "GET", IDLE, 200)
    found = {one["endpoint"]: one for one in page["items"]}
    assert set(found) == {"delay", "other"}
    assert found["delay"]["last_used_at"] == "2026-11-01T09:01:00Z"
    assert found["other"]["last_used_at"] is None and found["other"]["claimed_at"]
    assert (found["delay"]["noticed_at"], found["delay"]["environment"]) == (None, "dev")
    first = api.call("developer", "GET", IDLE, 200, limit=1)
    rest = api.call("developer", "GET", IDLE, 200, after=first["next"])
    assert [*first["items"], *rest["items"]] == page["items"] and rest["next"] == ""


def test_a_notice_is_on_record_once_and_seen_where_idle_endpoints_are(api: Api) -> None:  # noqa: F811
    claimed(api, "delay")
    made = noted(api)
    assert (made["action"], made["resource"], made["detail"]["grace_minutes"]) == (
        "endpoint.idle-notice",
        "endpoint/delay",
        60,
    )
    assert noted(api) == made
    assert noted(api, 409, kind="stop")["code"] == "conflict"
    stop = noted(api, event_key="idle/delay/2", kind="stop")
    (found,) = api.call("developer", "GET", IDLE, 200, project="flight-delay")["items"]
    assert (found["noticed_at"], found["stopped_at"]) == (made["at"], stop["at"])
    later = noted(api, event_key="idle/delay/3")
    (found,) = api.call("developer", "GET", IDLE, 200)["items"]
    assert found["noticed_at"] == later["at"]


def test_only_a_process_reports_and_only_of_endpoints_that_are_somebodys(api: Api) -> None:  # noqa: F811
    assert noted(api, 404)["code"] == "not_found"
    claimed(api, "delay")
    assert noted(api, 403, role="admin")["code"] == "permission_denied"
    assert "kind" in str(noted(api, 400, kind="gone"))
    assert "event_key" in str(noted(api, 400, event_key=""))
    assert api.call("developer", "GET", IDLE, 404, project="nowhere")["code"] == "not_found"
    # A denial is no notice.
    (found,) = api.call("developer", "GET", IDLE, 200)["items"]
    assert found["noticed_at"] is None


def test_an_endpoint_of_a_spent_budget_that_stops_them_is_told_and_not_deployed_to(api: Api) -> None:  # noqa: F811
    deploy = {"kind": "deploy", "bundle_digest": DIGEST, "environment": "prod"}
    api.run(endpoint="delay", **deploy)
    place = "/api/v1/projects/flight-delay/budgets/prod/month"
    made = api.call("admin", "PUT", place, 200, {"amount": 0.5, "stop_endpoints": True})
    assert made["stop_endpoints"] is True

    def delay() -> dict[str, Any]:
        (found,) = api.call("service", "GET", IDLE, 200)["items"]
        return dict(found)

    assert (delay()["spent_budget"], delay()["spent_since"]) == ("", None)
    spend = {
        "usage_key": "run_of_others", "run_id": "run_of_others", "project": "flight-delay", "environment": "prod", "service": "ray-train", "sku": "gpu_hour",
        "consumed_quantity": 0.3, "consumed_unit": "gpu-hours", "started_at": base.utc_now().isoformat(), "ended_at": base.utc_now().isoformat(),
    }  # fmt: skip
    api.call("service", "POST", "/api/v1/usage", 201, spend)
    found = delay()
    assert found["spent_budget"] == "prod/month" and found["spent_since"] == made["set_at"]
    refused = api.run(403, endpoint="delay", **deploy)
    assert refused["code"] == "budget_exceeded" and "a month in prod" in refused["detail"]
    for kind, field in (("budget-notice", "budget_noticed_at"), ("budget-stop", "budget_stopped_at")):
        told = noted(api, event_key=f"idle/delay/{kind}", kind=kind, detail={"budget": "prod/month"})
        assert (told["action"], delay()[field]) == (f"endpoint.{kind}", told["at"])
    raised = {"amount": 50.0, "stop_endpoints": True}
    api.call_with({"If-Match": f'"{made["version"]}"'}, "admin", "PUT", place, 200, raised)
    assert delay()["spent_budget"] == ""
    api.run(endpoint="delay", **deploy)


def test_a_budget_that_does_not_say_so_stops_no_endpoint(api: Api) -> None:  # noqa: F811
    claimed(api, "delay")
    place = "/api/v1/projects/flight-delay/budgets/all/day"
    soft = api.call("admin", "PUT", place, 400, {"amount": 1.0, "is_hard": False, "stop_endpoints": True})
    assert "stop_endpoints" in str(soft)
    assert api.call("admin", "PUT", place, 200, {"amount": 1e-9})["stop_endpoints"] is False
    used(api, "u1", 3)
    (found,) = api.call("developer", "GET", IDLE, 200)["items"]
    assert found["spent_budget"] == ""


def test_the_command_line_lists_what_nobody_asks(
    api: Api,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    claimed(api, "delay", "other")
    used(api, "u1", 3)
    client = control_client.ControlClient(
        "http://api", api._tokens["developer"], transport=api.client._transport
    )
    monkeypatch.setattr(cli_costs.session, "client", lambda _actor: client)
    monkeypatch.setattr(client, "close", lambda: None)

    def waste(*arguments: str) -> list[dict[str, Any]]:
        done = CliRunner().invoke(cli.cli, ["cost", "waste", *arguments, "--json"])
        assert done.exit_code == 0, done.output
        rows: list[dict[str, Any]] = json.loads(done.stdout)["data"]
        return rows

    assert waste() == []  # both were claimed just now
    assert [row["endpoint"] for row in waste("--idle-days", "0")] in (["delay", "other"], ["other", "delay"])
    event = idling.IdleEvent(event_key="k", kind=idling.IdleKind.NOTICE)
    told = control_client.ControlClient(
        "http://api", api._tokens["service"], transport=api.client._transport
    ).report_idle("delay", event)
    (row,) = (row for row in waste("--idle-days", "0") if row["endpoint"] == "delay")
    assert told.action == "endpoint.idle-notice" and row["noticed_at"]
