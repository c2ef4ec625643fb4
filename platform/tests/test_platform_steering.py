"""The canary of a run is steered by who may, as it was looked at, once, and on record; the engine has the last word."""

from __future__ import annotations

from typing import Any

import pytest
from platform_api import Api, api, empty, launcher

from mainspring.core import errors
from mainspring.core.contracts.canaries import CanaryOrder
from mainspring.platform.runs import launcher as run_launcher

__all__ = ["api", "empty", "launcher"]  # fixtures

DEPLOY = {"kind": "deploy", "endpoint": "delay", "bundle_digest": "sha256:" + "a" * 64}

SCORE = {"input": "/data/in.parquet", "output": "/data/out"}


def judged(api: Api, launcher: run_launcher.MemoryLauncher, percent: int = 5, **fields: Any) -> str:
    run_id: str = api.run(**{**DEPLOY, **fields})["run_id"]
    launcher.judge(run_id, percent)
    return run_id


def steer(api: Api, run_id: str, expect: int = 200, role: str = "developer", **body: Any) -> Any:
    asked = {"order": "pause", "reason": "a look", **body}
    return api.call(role, "POST", f"/api/v1/runs/{run_id}/canary", expect, asked)


def look(api: Api, run_id: str) -> Any:
    return api.call("developer", "GET", f"/api/v1/runs/{run_id}/canary", 200)


def on_record(api: Api) -> list[tuple[str, str, Any]]:
    rows = [row for row in api.audit() if row["action"] == "run.steer"]
    return [(row["actor"], row["outcome"], row["detail"].get("order")) for row in rows]


@pytest.mark.usefixtures("database_url")  # once over SQLite, once over PostgreSQL
def test_a_canary_is_paused_and_resumed_as_it_was_looked_at(
    api: Api, launcher: run_launcher.MemoryLauncher
) -> None:
    run_id = judged(api, launcher)
    before = look(api, run_id)
    assert (before["percent"], before["is_paused"], before["endpoint"]) == (5, False, "delay")
    path, match = f"/api/v1/runs/{run_id}/canary", {"If-Match": f'"{before["version"]}"'}
    asked = {"order": "pause", "reason": "a look"}
    paused = api.call_with(match, "developer", "POST", path, 200, asked)
    assert (paused["is_paused"], paused["paused_by"]) == (True, "developer@local")
    late = api.call_with(match, "developer", "POST", path, 412, {"order": "resume", "reason": "looked"})
    assert late["code"] == "precondition_failed" and "run.steer" in late["detail"]
    assert steer(api, run_id, order="resume", reason="looked")["is_paused"] is False
    assert on_record(api) == [
        ("developer@local", "intended", "pause"),
        ("developer@local", "done", None),
        ("developer@local", "intended", "resume"),
        ("developer@local", "done", None),
    ]
    given = launcher.orders[0]
    assert given[:2] == (run_id, CanaryOrder.PAUSE) and given[2].order_id.startswith("intent_")
    assert (given[2].roles, given[2].reason) == (("developer",), "a look")


def test_past_a_gate_goes_who_may_approve_and_the_share_goes_with_it(
    api: Api, launcher: run_launcher.MemoryLauncher
) -> None:
    run_id = judged(api, launcher)
    denied = steer(api, run_id, 403, order="promote", reason="in a hurry", to_percent=100)
    assert denied["code"] == "policy_denied" and "past a gate" in denied["detail"]
    assert launcher.orders == []
    found = steer(api, run_id, role="approver", order="promote", reason="seen enough", to_percent=50)
    assert found["percent"] == 50
    assert launcher.orders[0][2].to_percent == 50
    own = api.run(role="admin", **DEPLOY, environment="prod")["run_id"]
    launcher.judge(own, 5)
    told = steer(api, own, 403, role="admin", order="promote", reason="mine")
    assert (told["code"], told["details"]["rule_id"]) == ("policy_denied", "canary.four-eyes")
    assert steer(api, own, role="admin", order="abort", reason="mine")["percent"] == 0


def test_a_training_is_steered_by_its_own_deployment(api: Api, launcher: run_launcher.MemoryLauncher) -> None:
    run_id = api.run(endpoint="delay")["run_id"]
    assert look(api, run_id)["percent"] == 0
    assert "judges no canary now" in steer(api, run_id, 409)["detail"]
    launcher.judge(f"{run_id}-deploy", 25)
    assert look(api, run_id)["deployment_id"] == f"{run_id}-deploy"
    assert steer(api, run_id)["is_paused"]
    assert launcher.orders[0][0] == f"{run_id}-deploy"


def test_what_is_nothing_to_order_or_no_order_is_refused(
    api: Api, launcher: run_launcher.MemoryLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert steer(api, "run_none", 404)["code"] == "not_found"
    run_id = judged(api, launcher, 0)
    assert steer(api, run_id, 409)["code"] == "conflict"
    launcher.judge(run_id, 5)
    for wrong in ({"order": "stop"}, {"reason": "x"}, {"reason": ""}, {"to_percent": 101}, {"force": True}):
        assert steer(api, run_id, 400, **wrong)["code"] == "invalid_request", wrong

    async def refuse(*_: object) -> None:
        raise errors.InvalidRequest("it goes on to 50, 100, not to 30", field="to_percent")

    monkeypatch.setattr(launcher, "steer", refuse)
    told = steer(api, run_id, 400, role="approver", order="promote", to_percent=30)
    assert told["details"]["field"] == "to_percent"
    assert on_record(api)[-1][1] == "refused"
    score = api.run(kind="score", bundle_digest=DEPLOY["bundle_digest"], score=SCORE)
    assert look(api, score["run_id"])["percent"] == 0


def test_an_engine_that_is_away_has_the_order_later(api: Api, launcher: run_launcher.MemoryLauncher) -> None:
    run_id = judged(api, launcher)
    launcher.is_down = True
    steer(api, run_id, 503)
    api.call("developer", "GET", f"/api/v1/runs/{run_id}/canary", 503)
    launcher.is_down = False
    other = steer(api, run_id, 409, order="abort", reason="too late")
    assert "is under way" in other["detail"]
    assert steer(api, run_id)["is_paused"], "the same again is the first"
    assert len(launcher.orders) == 1


def test_one_that_waits_for_its_turn_can_be_aborted_and_nothing_else(
    api: Api, launcher: run_launcher.MemoryLauncher
) -> None:
    run_id = judged(api, launcher, 0)
    before = look(api, run_id)
    launcher.wait(run_id)
    found = look(api, run_id)
    assert (found["percent"], found["is_waiting"], before["is_waiting"]) == (0, True, False)
    assert before["version"] != found["version"]
    assert steer(api, run_id, 409)["code"] == "conflict"
    steer(api, run_id, order="abort", reason="a better one came")
    assert [order for _, order, _ in launcher.orders] == ["abort"]
    released = {"kind": "release", "endpoint": "delay", "release": {"reason": "gone"}}
    launcher.wait(run_id)
    assert "may bring a bundle to endpoint" in api.run(409, role="approver", **released)["detail"]


def test_a_shadow_that_is_judged_is_steered_as_a_canary(
    api: Api, launcher: run_launcher.MemoryLauncher
) -> None:
    run_id = judged(api, launcher, 0)
    before = look(api, run_id)
    launcher.judge(run_id, 0, is_shadow=True)
    found = look(api, run_id)
    assert (found["percent"], found["is_shadow"], found["later_percents"]) == (0, True, [5, 25, 50])
    assert before["is_shadow"] is False and before["version"] != found["version"]
    assert steer(api, run_id)["is_paused"]
    denied = steer(api, run_id, 403, order="promote", reason="in a hurry")
    assert denied["code"] == "policy_denied"
    gone_on = steer(api, run_id, role="approver", order="promote", reason="seen enough", to_percent=25)
    assert (gone_on["percent"], gone_on["is_shadow"]) == (25, False)
