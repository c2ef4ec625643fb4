"""The control API over a real SQLite file: every route, and every way each of them says no."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from platform_api import PROJECT, Api, api, empty, launcher

from mainspring.core import errors, identity, settings
from mainspring.core.contracts import scoring, training
from mainspring.platform import app as control_app
from mainspring.platform.http import errors as http_errors
from mainspring.platform.runs import launcher as run_launcher

__all__ = ["api", "empty", "launcher"]  # fixtures

#: Once over SQLite, once over PostgreSQL.
pytestmark = pytest.mark.usefixtures("database_url")

Raw = Callable[[str], list[Any]]
DIGEST = "sha256:" + "a" * 64
SERVED = {
    "usage_key": "w1",
    "project": "flight-delay",
    "endpoint": "delay",
    "model_version": DIGEST,
    "caller": "shop",
    "requests": 2,
    "predictions": 2000,
    "cpu_microseconds": 3_600_000,
}
EVENT = {"event_key": "k1", "action": "model.register", "actor": "workflow", "detail": {"stage": "register"}}


def usage(**fields: Any) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat()
    return {
        "usage_key": "u1",
        "run_id": "run_x",
        "project": "flight-delay",
        "service": "ray-train",
        "sku": "cpu_core_hour",
        "consumed_quantity": 2.5,
        "consumed_unit": "core-hours",
        "started_at": now,
        "ended_at": now,
        **fields,
    }


def test_project_is_created_shown_and_on_record(api: Api) -> None:
    shown = api.call("approver", "GET", "/api/v1/projects/flight-delay", 200)
    assert (shown["owner"], shown["monthly_budget"], shown["created_by"]) == (
        "team@example.org",
        1.0,
        "developer@local",
    )
    assert [p["name"] for p in api.call("service", "GET", "/api/v1/projects", 200)["items"]] == [
        "flight-delay"
    ]
    [row] = api.audit()
    assert (row["action"], row["actor"], row["resource"], row["outcome"]) == (
        "project.create",
        "developer@local",
        "project/flight-delay",
        "done",
    )


def test_a_training_gets_the_workers_that_the_settings_name(
    api: Api, launcher: run_launcher.MemoryLauncher
) -> None:
    started = launcher.started[api.run()["run_id"]]
    assert isinstance(started, training.TrainRequest) and started.num_workers == 3


SCORE = {
    "project": "flight-delay",
    "kind": "score",
    "bundle_digest": "sha256:" + "b" * 64,
    "score": {
        "input": "/data/in",
        "output": "s3://bucket/out",
        "as_of": "2013-12-01T10:00:00Z",
        "part_rows": 7,
    },
    "idempotency_key": "score-1",
}


def test_a_batch_scoring_is_a_run_like_any_other(api: Api, launcher: run_launcher.MemoryLauncher) -> None:
    run = api.call("developer", "POST", "/api/v1/runs", 201, SCORE)
    assert run["kind"] == "score"
    started = launcher.started[run["run_id"]]
    assert started == scoring.ScoreRequest(
        run_id=run["run_id"],
        project="flight-delay",
        requested_by="developer@local",
        bundle_digest="sha256:" + "b" * 64,
        input="/data/in",
        output="s3://bucket/out",
        as_of=datetime(2013, 12, 1, 10, tzinfo=UTC),
        part_rows=7,
        num_workers=3,
    )
    row = next(r for r in api.audit() if r["action"] == "run.start")
    assert row["detail"]["score"]["output"] == "s3://bucket/out"
    assert api.call("developer", "POST", "/api/v1/runs", 201, SCORE)["run_id"] == run["run_id"]
    assert len(launcher.started) == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"score": None}, "score"),
        ({"bundle_digest": None}, "bundle_digest"),
        ({"kind": "train"}, "score"),
        ({"score": {**SCORE["score"], "outptu": "/x"}}, "score.outptu"),  # type: ignore[dict-item]
        ({"score": {**SCORE["score"], "part_rows": 0}}, "score.part_rows"),  # type: ignore[dict-item]
    ],
)
def test_an_incomplete_batch_scoring_starts_nothing(
    api: Api, launcher: run_launcher.MemoryLauncher, change: dict[str, Any], field: str
) -> None:
    before = len(api.audit())
    answer = api.call("developer", "POST", "/api/v1/runs", 400, {**SCORE, **change})
    assert field in str(answer)
    assert not launcher.started and len(api.audit()) == before


def test_project_errors(api: Api) -> None:
    before = len(api.audit())
    assert api.call("developer", "POST", "/api/v1/projects", 409, PROJECT)["code"] == "conflict"
    bad = api.call("developer", "POST", "/api/v1/projects", 400, {**PROJECT, "name": "Bad Name"})
    assert bad["code"] == "invalid_request" and "lowercase" in bad["detail"]
    assert api.call("developer", "POST", "/api/v1/projects", 400, {**PROJECT, "colour": "red"})["details"][
        "field"
    ]
    missing = api.call("developer", "GET", "/api/v1/projects/flight-delya", 404)
    assert missing["details"]["did_you_mean"] == ["flight-delay"]
    assert len(api.audit()) == before  # nothing was done, nothing is on record


def test_projects_page(api: Api) -> None:
    for name in ("aa", "zz"):
        api.call("admin", "POST", "/api/v1/projects", 201, {**PROJECT, "name": name})
    first = api.call("developer", "GET", "/api/v1/projects", 200, limit=2)
    assert first["next"] == "flight-delay"
    rest = api.call("developer", "GET", "/api/v1/projects", 200, limit=2, after=first["next"])
    assert [p["name"] for p in rest["items"]] == ["zz"] and rest["next"] == ""
    api.call("developer", "GET", "/api/v1/projects", 400, limit=0)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/v1/projects"),
        ("GET", "/api/v1/projects"),
        ("GET", "/api/v1/projects/flight-delay"),
        ("POST", "/api/v1/runs"),
        ("GET", "/api/v1/runs"),
        ("GET", "/api/v1/runs/run_x"),
        ("POST", "/api/v1/runs/run_x/decision"),
        ("POST", "/api/v1/runs/run_x/cancel"),
        ("POST", "/api/v1/runs/run_x/events"),
        ("POST", "/api/v1/usage"),
        ("POST", "/api/v1/serving-usage"),
        ("GET", "/api/v1/serving-usage"),
        ("GET", "/api/v1/audit"),
        ("GET", "/api/v1/audit:verify"),
        ("GET", "/api/v1/audit:export"),
        ("GET", "/api/v1/costs"),
    ],
)
def test_nobody_enters_without_a_token(api: Api, method: str, path: str) -> None:
    bodies = {"projects": PROJECT, "runs": {"project": "flight-delay"}, "decision": {"approve": True}}
    served = {**SERVED, "started_at": usage()["started_at"], "ended_at": usage()["ended_at"]}
    bodies |= {
        "serving-usage": {"records": [served]},
        "events": {**EVENT, "run_id": "run_x"},
        "usage": usage(),
    }
    body = bodies.get(path.rsplit("/", 1)[-1]) if method == "POST" else None
    before = api.audit()
    assert api.call("", method, path, 401, body)["code"] == "unauthenticated"
    wrong = api.client.request(method, path, json=body, headers={"Authorization": "Bearer wrong"})
    assert wrong.status_code == 401 and wrong.headers["www-authenticate"] == "Bearer"
    assert api.audit() == before


def test_a_denied_mutation_is_on_record(api: Api) -> None:
    denied = api.call("approver", "POST", "/api/v1/projects", 403, {**PROJECT, "name": "other"})
    assert denied["code"] == "permission_denied"
    last = api.audit()[-1]
    assert (last["actor"], last["outcome"], last["detail"]["code"]) == (
        "approver@local",
        "denied",
        "permission_denied",
    )
    api.call("developer", "GET", "/api/v1/projects/other", 404)


def test_a_run_is_started_decided_and_on_record(api: Api, launcher: run_launcher.MemoryLauncher) -> None:
    run = api.run(environment="prod", endpoint="delay")
    assert (run["stage"], run["requested_by"]) == ("approval", "developer@local")
    started = launcher.started[run["run_id"]]
    assert (started.environment, started.deploy_to) == ("prod", "delay")  # type: ignore[union-attr]
    path = f"/api/v1/runs/{run['run_id']}"
    decided = api.call("approver", "POST", f"{path}/decision", 200, {"approve": True, "reason": "good"})
    assert decided["stage"] == "done" and launcher.decisions[run["run_id"]].by == "approver@local"
    assert api.call("developer", "GET", path, 200)["status"]["stage"] == "done"
    assert [(r["action"], r["outcome"]) for r in api.audit()] == [
        ("project.create", "done"),
        ("run.start", "intended"),
        ("run.start", "done"),
        ("run.decide", "intended"),
        ("run.decide", "done"),
    ]
    again = api.call("approver", "POST", f"{path}/decision", 409, {"approve": False})
    assert "waits for no decision" in again["detail"]
    assert [r["outcome"] for r in api.audit()][-2:] == ["intended", "refused"]


def test_a_deployment_is_started(api: Api, launcher: run_launcher.MemoryLauncher) -> None:
    run = api.run(kind="deploy", endpoint="delay", bundle_digest=DIGEST)
    assert launcher.started[run["run_id"]].bundle_digest == DIGEST  # type: ignore[union-attr]
    assert api.run(400, kind="deploy", endpoint="delay")["details"]["field"] == "bundle_digest"
    assert api.run(400, kind="deploy", bundle_digest=DIGEST)["details"]["field"] == "endpoint"


def test_the_same_key_is_the_same_run(api: Api, launcher: run_launcher.MemoryLauncher) -> None:
    first = api.run(idempotency_key="monday")
    assert api.run(idempotency_key="monday")["run_id"] == first["run_id"]
    assert len(launcher.started) == 1
    assert api.run(409, idempotency_key="monday", epochs=3)["code"] == "conflict"
    assert api.run(role="admin", idempotency_key="monday")["run_id"] != first["run_id"]
    started = [r["outcome"] for r in api.audit() if r["action"] == "run.start"]
    assert started == ["intended", "done"] * 2


def test_a_run_whose_engine_was_away_starts_with_the_same_key(
    api: Api, launcher: run_launcher.MemoryLauncher
) -> None:
    launcher.is_down = True
    assert api.run(503, idempotency_key="k")["code"] == "dependency_down"
    [pending] = api.call("developer", "GET", "/api/v1/runs", 200)["items"]
    assert pending["stage"] == "pending"
    launcher.is_down = False
    assert api.run(idempotency_key="k")["run_id"] == pending["run_id"]
    assert list(launcher.started) == [pending["run_id"]]


def test_runs_that_policy_or_budget_denies(api: Api, launcher: run_launcher.MemoryLauncher) -> None:
    assert api.run(403, environment="moon")["details"]["rule_id"] == "run.environment"
    assert api.run(403, role="approver")["code"] == "permission_denied"
    assert api.run(404, project="nowhere")["code"] == "not_found"
    assert api.run(400, sample_fraction=2)["code"] == "invalid_request"
    key = api.run(idempotency_key="before")["run_id"]
    api.call("service", "POST", "/api/v1/usage", 201, usage(consumed_quantity=25.0))
    assert api.run(403)["code"] == "budget_exceeded"
    assert api.run(idempotency_key="before")["run_id"] == key  # it was allowed when it was started
    assert list(launcher.started) == [key]
    assert api.audit()[-1]["detail"]["code"] == "budget_exceeded"


def test_decisions_that_are_denied(api: Api, launcher: run_launcher.MemoryLauncher) -> None:
    mine = api.run(role="admin", environment="prod")["run_id"]
    path = f"/api/v1/runs/{mine}/decision"
    own = api.call("admin", "POST", path, 403, {"approve": True})
    assert own["details"]["rule_id"] == "approval.four-eyes"
    assert api.call("developer", "POST", path, 403, {"approve": True})["code"] == "permission_denied"
    assert api.call("approver", "POST", "/api/v1/runs/run_no/decision", 404, {"approve": True})
    assert api.call("approver", "POST", path, 400, {})["details"]["field"] == "approve"
    launcher.is_down = True
    assert api.call("approver", "POST", path, 503, {"approve": True})["code"] == "dependency_down"
    assert launcher.decisions == {}
    assert [r["outcome"] for r in api.audit() if r["action"] == "run.decide"] == [
        "denied",
        "denied",
        "intended",
    ]
    other = api.call("approver", "POST", path, 409, {"approve": False})
    assert "`approver@local`" in other["detail"] and "under way" in other["detail"]
    launcher.is_down = False
    assert api.call("approver", "POST", path, 200, {"approve": True})["stage"] == "done"
    assert [r["outcome"] for r in api.audit()][-2:] == ["intended", "done"]


def test_who_put_on_record_what_started_a_training_does_not_decide_on_it_in_prod(
    api: Api, launcher: run_launcher.MemoryLauncher
) -> None:
    asked = {"environment": "prod", "cause": "drift", "on_behalf_of": "admin@local"}
    assert api.run(403, **asked)["details"]["rule_id"] == "run.on-behalf-of"
    nameless = api.run(403, role="service", environment="prod", cause="drift")
    assert nameless["details"]["rule_id"] == "run.prod.on-behalf-of"
    assert "put its schedule on record again" in nameless["detail"]
    run = api.run(role="service", **asked)
    assert (run["requested_by"], run["on_behalf_of"]) == ("service@local", "admin@local")
    started = launcher.started[run["run_id"]]
    assert isinstance(started, training.TrainRequest) and started.on_behalf_of == "admin@local"
    path = f"/api/v1/runs/{run['run_id']}/decision"
    own = api.call("admin", "POST", path, 403, {"approve": True})
    assert own["details"]["rule_id"] == "approval.four-eyes" and "ask somebody else" in own["detail"]
    assert launcher.decisions == {}
    assert api.call("approver", "POST", path, 200, {"approve": True})["stage"] == "done"
    rows = [r for r in api.audit() if r["action"] == "run.start" and r["outcome"] == "intended"]
    assert rows[-1]["detail"]["on_behalf_of"] == "admin@local"


def test_only_a_training_is_on_behalf_of_somebody(api: Api) -> None:
    wrong = api.run(400, role="service", kind="tune", cause="x", on_behalf_of="ana")
    assert wrong["details"]["field"] == "on_behalf_of"


def test_cancel(api: Api) -> None:
    path = f"/api/v1/runs/{api.run()['run_id']}"
    assert api.call("service", "POST", f"{path}/cancel", 403)["code"] == "permission_denied"
    assert api.call("developer", "POST", f"{path}/cancel", 200)["stage"] == "cancelled"
    assert "nothing to cancel" in api.call("developer", "POST", f"{path}/cancel", 409)["detail"]
    api.call("developer", "POST", "/api/v1/runs/run_no/cancel", 404)


def test_runs_page_newest_first(api: Api) -> None:
    ids = [api.run()["run_id"] for _ in range(3)]
    first = api.call("developer", "GET", "/api/v1/runs", 200, limit=2, project="flight-delay")
    rest = api.call("developer", "GET", "/api/v1/runs", 200, limit=2, before=first["next"])
    shown = [r["run_id"] for r in first["items"] + rest["items"]]
    assert sorted(shown) == sorted(ids) and shown == sorted(ids, reverse=True)
    assert api.call("developer", "GET", "/api/v1/runs", 200, project="other")["items"] == []
    api.call("developer", "GET", "/api/v1/runs", 400, limit=9999)
    api.call("developer", "GET", "/api/v1/runs/run_no", 404)


def test_events_are_recorded_once_and_move_the_stage(api: Api, launcher: run_launcher.MemoryLauncher) -> None:
    run_id = api.run()["run_id"]
    path = f"/api/v1/runs/{run_id}/events"
    event = {**EVENT, "run_id": run_id}
    first = api.call("service", "POST", path, 201, event)
    assert (first["actor"], first["detail"]["reported_by"]) == ("workflow", "service@local")
    assert api.call("service", "POST", path, 201, event) == first
    assert api.call("service", "POST", path, 409, {**event, "action": "other"})["code"] == "conflict"
    assert (
        api.call("service", "POST", path, 400, {**event, "run_id": "run_y"})["details"]["field"] == "run_id"
    )
    assert api.call("developer", "POST", path, 403, event)["code"] == "permission_denied"
    assert api.call("admin", "POST", path, 403, event)["code"] == "permission_denied"
    api.call("service", "POST", "/api/v1/runs/run_y/events", 404, {**event, "run_id": "run_y"})
    end = {
        **event,
        "event_key": "k2",
        "action": "run.end",
        "detail": {"stage": "done", "result": {"auc": 0.7}},
    }
    api.call("service", "POST", path, 201, end)
    launcher.is_down = True  # what was reported outlives the engine
    shown = api.call("developer", "GET", f"/api/v1/runs/{run_id}", 200)
    assert (shown["stage"], shown["result"], shown["status"]) == ("done", {"auc": 0.7}, None)
    assert shown["ended_at"] is not None


def test_usage_is_priced_once(api: Api) -> None:
    run_id = api.run()["run_id"]
    first = api.call("service", "POST", "/api/v1/usage", 201, usage(run_id=run_id))
    assert first["billed_cost"] == 0.1
    assert api.call("service", "POST", "/api/v1/usage", 201, usage(run_id=run_id, **_times(first))) == first
    changed = usage(run_id=run_id, consumed_quantity=9, **_times(first))
    assert api.call("service", "POST", "/api/v1/usage", 409, changed)["code"] == "conflict"
    assert api.call("developer", "POST", "/api/v1/usage", 403, usage())["code"] == "permission_denied"
    assert api.call("service", "POST", "/api/v1/usage", 404, usage(usage_key="u2", project="nowhere"))
    assert api.call("service", "POST", "/api/v1/usage", 400, usage(usage_key="u2", sku="x"))["details"] == {
        "field": "sku"
    }
    assert api.call("service", "POST", "/api/v1/usage", 400, usage(consumed_quantity=-1))
    assert api.call("developer", "GET", f"/api/v1/runs/{run_id}", 200)["cost"] == 0.1
    assert api.call("developer", "GET", "/api/v1/projects/flight-delay", 200)["spent_this_month"] == 0.1


def _times(view: dict[str, Any]) -> dict[str, Any]:
    return {"started_at": view["charge_period_start"], "ended_at": view["charge_period_end"]}


def test_costs_add_up(api: Api) -> None:
    for i, service in enumerate(["ray-train", "serving", "serving"]):
        api.call("service", "POST", "/api/v1/usage", 201, usage(usage_key=f"u{i}", service=service))
    summary = api.call("developer", "GET", "/api/v1/costs", 200, group_by="service")
    assert summary == {
        "group_by": "service",
        "currency": "USD",
        "total": 0.3,
        "groups": {"ray-train": 0.1, "serving": 0.2},
    }
    assert api.call("developer", "GET", "/api/v1/costs", 200, project="flight-delay")["total"] == 0.3
    api.call("developer", "GET", "/api/v1/costs", 404, project="nowhere")
    api.call("developer", "GET", "/api/v1/costs", 400, group_by="colour")


def test_serving_usage_over_http(api: Api) -> None:
    path = "/api/v1/serving-usage"
    times = {name: usage()[name] for name in ("started_at", "ended_at")}
    batch = {"records": [{**SERVED, **times}]}
    assert api.call("service", "POST", path, 201, batch) == {"received": 1, "new": 1}
    assert api.call("service", "POST", path, 201, batch) == {"received": 1, "new": 0}
    changed = {"records": [{**SERVED, **times, "requests": 3}]}
    assert api.call("service", "POST", path, 409, changed)["code"] == "conflict"
    api.call("service", "POST", path, 400, {"records": []})
    assert api.call("developer", "POST", path, 403, batch)["code"] == "permission_denied"
    api.call("developer", "GET", path, 400, group_by="colour")
    found = api.call("developer", "GET", path, 200, group_by="caller", project="flight-delay")
    used = {"requests": 2, "predictions": 2000, "cpu_microseconds": 3_600_000, "cost": 0.00204}
    assert found == {"group_by": "caller", "currency": "USD", "total": used, "groups": {"shop": used}}


def test_old_usage_is_not_this_months(api: Api) -> None:
    api.call("service", "POST", "/api/v1/usage", 201, usage(started_at="2020-01-01T00:00:00Z"))
    assert api.call("developer", "GET", "/api/v1/projects/flight-delay", 200)["spent_this_month"] == 0.0


def test_audit_pages_and_verifies(api: Api) -> None:
    api.run()
    api.call("developer", "POST", "/api/v1/projects", 201, {**PROJECT, "name": "other"})
    first = api.call("developer", "GET", "/api/v1/audit", 200, limit=3)
    rest = api.call("developer", "GET", "/api/v1/audit", 200, limit=3, after=first["next"])
    assert [r["sequence"] for r in first["items"] + rest["items"]] == [1, 2, 3, 4] and rest["next"] == ""
    assert api.call("developer", "GET", "/api/v1/audit", 400, after="x")["details"]["field"] == "after"
    verified = api.call("developer", "GET", "/api/v1/audit:verify", 200)
    assert (verified["ok"], verified["rows"], verified["problem"]) == (True, 4, "")
    assert verified["head"] == rest["items"][-1]["hash"]


@pytest.mark.parametrize("statement", ["UPDATE audit SET actor = 'x'", "DELETE FROM audit"])
def test_the_log_refuses_to_be_rewritten(api: Api, statement: str, raw: Raw) -> None:
    with pytest.raises(sa.exc.DBAPIError, match="never changed|permission denied for table audit"):
        raw(statement)


@pytest.mark.parametrize(
    ("statement", "bad", "problem"),
    [
        ("UPDATE audit SET actor = 'x' WHERE sequence = 2", 2, "was changed"),
        ("UPDATE audit SET detail = 'no json' WHERE sequence = 2", 2, "was changed"),
        ("DELETE FROM audit WHERE sequence = 2", 3, "is missing"),
        ("UPDATE audit SET previous_hash = 'sha256:0' WHERE sequence = 3", 3, "does not follow"),
    ],
)
def test_a_rewritten_log_is_found_out(api: Api, statement: str, bad: int, problem: str, tamper: Raw) -> None:
    api.run(), api.run()
    tamper(statement)
    found = api.call("developer", "GET", "/api/v1/audit:verify", 200)
    assert (found["ok"], found["first_bad_sequence"]) == (False, bad) and problem in found["problem"]


def test_health_and_schema(empty: Api, tamper: Raw) -> None:
    assert empty.call("", "GET", "/healthz", 200) == {"status": "ok"}
    assert empty.call("", "GET", "/readyz", 200) == {"status": "ready"}
    assert "/api/v1/runs/{run_id}/decision" in empty.call("", "GET", "/schema/openapi.json", 200)["paths"]
    tamper("ALTER TABLE projects RENAME TO elsewhere")
    assert empty.call("", "GET", "/readyz", 503)["details"] == {"name": "database"}


def test_the_frameworks_own_refusals_are_problems_too(api: Api) -> None:
    assert api.call("", "GET", "/nowhere", 404)["code"] == "not_found"
    assert api.call("developer", "DELETE", "/api/v1/projects", 405)["code"] == "invalid_request"
    malformed = api.client.post(
        "/api/v1/projects", content=b"{", headers={"content-type": "application/json"}
    )
    assert malformed.status_code == 400 and malformed.json()["code"] == "invalid_request"


def test_our_own_mistakes_stay_in_the_log(api: Api, launcher: run_launcher.MemoryLauncher) -> None:
    launcher.started = None  # type: ignore[assignment]
    body = api.run(500)
    assert body["code"] == "invariant_violated" and "NoneType" not in str(body)


@pytest.mark.parametrize("code", sorted(errors.BY_CODE))
def test_every_error_has_a_status(code: str) -> None:
    answer = http_errors.problem(errors.BY_CODE[code]("said"))
    assert 400 <= answer.status_code <= 599 and answer.content["code"] == code
    assert ("Retry-After" in answer.headers) == (code in ("overloaded", "rate_limited"))


def test_another_database_is_refused(tmp_path: Path, launcher: run_launcher.MemoryLauncher) -> None:
    s = settings.load({"MAINSPRING_CONTROL_DATABASE_URL": "mysql://me:secret@x/y"}, directory=tmp_path)
    with pytest.raises(errors.InvalidSettings, match="driver `mysql`") as refused:
        control_app.create_app(s, issuer=identity.TokenIssuer({}), launcher=launcher)
    assert "secret" not in str(refused.value)
