"""A run that failed goes on under its id, if somebody may and can afford it; and what is left is told to whoever has it at work."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from platform_api import Api, api, empty, launcher

from mainspring.core import errors
from mainspring.core.contracts import training
from mainspring.platform.runs import launcher as run_launcher

__all__ = ["api", "empty", "launcher"]

#: Of the project's 1.0; a GPU's hour is 2.5.
PROJECT = "flight-delay"


def used(api: Api, run_id: str, cost: float) -> None:
    now = datetime.now(UTC)
    record = training.UsageRecord(
        usage_key=f"{run_id}/{now.isoformat()}",
        run_id=run_id,
        project=PROJECT,
        service="ray-train",
        sku="gpu_hour",
        consumed_quantity=cost / 2.5,
        consumed_unit="gpu-hours",
        started_at=now - timedelta(seconds=1),
        ended_at=now,
    )
    api.call("service", "POST", "/api/v1/usage", 201, record.model_dump(mode="json"))


def failed(api: Api, launcher: run_launcher.MemoryLauncher, *, cost: float = 0.3, **fields: Any) -> str:
    """A run that used something, and whose workflow has said that it failed."""
    run_id: str = api.run(**fields)["run_id"]
    used(api, run_id, cost)
    launcher.fail(run_id)
    end = {"stage": "failed", "message": "stopped", "result": {"message": "stopped"}}
    event = {
        "event_key": f"{run_id}/end",
        "run_id": run_id,
        "action": "run.end",
        "actor": "ana",
        "detail": end,
    }
    api.call("service", "POST", f"/api/v1/runs/{run_id}/events", 201, event)
    return run_id


def resume(api: Api, run_id: str, expect: int = 200, role: str = "developer", **body: Any) -> Any:
    return api.call(role, "POST", f"/api/v1/runs/{run_id}/resume", expect, body)


@pytest.mark.usefixtures("database_url")  # once over SQLite, once over PostgreSQL
def test_a_run_goes_on_as_it_was_asked_for_with_more_to_spend(
    api: Api, launcher: run_launcher.MemoryLauncher
) -> None:
    run_id = failed(api, launcher, max_cost=0.4, epochs=7)
    before = launcher.started[run_id]
    assert before.max_cost == 0.4
    view = resume(api, run_id, max_cost=0.9)
    assert (view["run_id"], view["stage"], view["ended_at"], view["result"]) == (run_id, "approval", None, {})
    assert launcher.started[run_id] == before.model_copy(update={"max_cost": 0.9})
    shown = api.call("developer", "GET", f"/api/v1/projects/{PROJECT}", 200)
    assert (shown["spent_this_month"], shown["reserved"]) == (0.3, 0.6)
    told = [(row["action"], row["outcome"]) for row in api.audit() if row["action"] == "run.resume"]
    assert told == [("run.resume", "intended"), ("run.resume", "done")]
    standing = api.call("service", "GET", "/api/v1/costs:standing", 200, run=run_id)
    assert standing["runs"] == {run_id: {"limit": 0.9, "spent": 0.3}}
    assert standing["projects"] == {PROJECT: {"limit": 1.0, "spent": 0.3}}
    assert standing["currency"] == "USD" and standing["prices"]["gpu_hour"] == 2.5
    assert {name: rates["gpu_hour"] for name, rates in standing["rates"].items()} == {
        "spot": 0.85,
        "reserved": 1.5,
    }
    assert all(set(rates) == set(standing["prices"]) for rates in standing["rates"].values())


def test_what_cannot_be_paid_does_not_go_on_and_stays_as_it_was(
    api: Api, launcher: run_launcher.MemoryLauncher
) -> None:
    project = f"/api/v1/projects/{PROJECT}"

    def refused(run_id: str, expect: int, **asked: Any) -> str:
        before = api.call("developer", "GET", f"/api/v1/runs/{run_id}", 200)
        refusal = resume(api, run_id, expect, **asked)
        assert refusal["code"] == ("budget_exceeded" if expect == 403 else "invalid_request")
        assert api.call("developer", "GET", f"/api/v1/runs/{run_id}", 200) == before
        assert api.call("developer", "GET", project, 200)["reserved"] == 0.0
        return str(refusal["message"])

    run_id = failed(api, launcher, max_cost=0.4, idempotency_key="one")
    assert "has cost 0.3 USD and may cost 0.3" in refused(run_id, 400, max_cost=0.3)
    assert "raise it" in refused(run_id, 403, max_cost=1.1)
    used(api, run_id, 0.2)
    assert "give it a higher `max_cost`" in refused(run_id, 400)
    version = api.call("developer", "GET", project, 200)["version"]
    api.call_with({"If-Match": f'"{version}"'}, "admin", "PATCH", project, 200, {"monthly_budget": 0.5})
    assert "is spent" in refused(run_id, 403, max_cost=0.9)
    api.call_with({"If-Match": "*"}, "admin", "PATCH", project, 200, {"monthly_budget": 1.0})
    assert resume(api, run_id, max_cost=0.9)["stage"] == "approval"
    # Who started it and asks again under its key does not know that it may cost more since.
    assert api.run(max_cost=0.4, idempotency_key="one")["run_id"] == run_id


def test_only_what_failed_is_resumed_by_who_may_start(
    api: Api, launcher: run_launcher.MemoryLauncher
) -> None:
    run_id = api.run()["run_id"]
    assert "only what failed" in resume(api, run_id, 409)["message"]
    assert resume(api, "run_none", 404)["code"] == "not_found"
    launcher.fail(run_id)  # its end is not on record yet, and the engine knows it
    assert resume(api, run_id, 403, role="approver")["code"] == "permission_denied"
    assert resume(api, run_id)["stage"] == "approval"
    gone = failed(
        api, launcher, cost=0.0, kind="deploy", endpoint="flights", bundle_digest="sha256:" + "a" * 64
    )
    assert "start another one" in resume(api, gone, 409)["message"]


def test_an_engine_that_is_away_has_it_later_and_one_that_refuses_leaves_it_failed(
    api: Api, launcher: run_launcher.MemoryLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = failed(api, launcher, max_cost=0.4)
    launcher.is_down = True
    resume(api, run_id, 503, max_cost=0.5)
    launcher.is_down = False
    assert resume(api, run_id, max_cost=0.6)["stage"] == "approval", "the first is under way, and counts"
    assert launcher.started[run_id].max_cost == 0.5

    async def refuse(request: training.TrainRequest) -> None:
        raise errors.InvalidRequest("no such project at the workers")

    run_id = failed(api, launcher, cost=0.1, max_cost=0.2)
    before = api.call("developer", "GET", f"/api/v1/runs/{run_id}", 200)
    monkeypatch.setattr(launcher, "start_training", refuse)
    resume(api, run_id, 400, max_cost=0.3)
    after = api.call("developer", "GET", f"/api/v1/runs/{run_id}", 200)
    assert (after["stage"], after["ended_at"], after["result"]) == (
        *("failed", before["ended_at"]),
        before["result"],
    )
