"""The end of a bundle is a run: who may start it, what it needs, and that no budget is in its way."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner
from platform_api import Api, api, empty, launcher  # noqa: F401 - fixtures

from mainspring.core.client import control as control_client
from mainspring.core.contracts import retiring
from mainspring.platform.cli import main as cli
from mainspring.platform.cli import models as cli_models
from mainspring.platform.runs import launcher as run_launcher

DIGEST, OTHER = ("sha256:" + letter * 64 for letter in "ab")
WANTED = {"kind": "retire", "bundle_digest": DIGEST, "retire": {"reason": "it leaks"}}


def test_it_is_started_as_it_was_asked_for(api: Api, launcher: run_launcher.MemoryLauncher) -> None:  # noqa: F811
    options = {"reason": "  it leaks ", "replace_by": OTHER, "is_revocation": True}
    made = api.run(role="approver", environment="prod", **{**WANTED, "retire": options})
    assert (made["kind"], made["environment"]) == ("retire", "prod")
    assert launcher.started[made["run_id"]] == retiring.RetireRequest(
        run_id=made["run_id"],
        project="flight-delay",
        environment="prod",
        requested_by="approver@local",
        bundle_digest=DIGEST,
        reason="it leaks",
        replace_by=OTHER,
        is_revocation=True,
    )
    started = next(r for r in api.audit() if r["action"] == "run.start" and r["outcome"] == "intended")
    assert started["detail"]["retire"]["reason"] == "it leaks"
    (decision,) = started["detail"]["authorisation"]["decisions"]
    assert decision["policies"] == ["run.retire"]


def test_a_developer_does_not_and_an_approver_does_nothing_else(api: Api) -> None:  # noqa: F811
    denied = api.run(403, role="developer", **WANTED)
    assert denied["details"]["rule_id"] == "run.retire.role"
    assert api.run(403, role="approver")["code"] == "permission_denied"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"retire": None}, "retire"),
        ({"bundle_digest": None}, "bundle_digest"),
        ({"retire": {"reason": "x"}}, "retire.reason"),
        ({"retire": {"reason": "it leaks", "replace_by": "no"}}, "retire.replace_by"),
        ({"kind": "deploy", "endpoint": "delay"}, "retire"),
    ],
)
def test_what_cannot_be_retired(api: Api, changes: dict[str, Any], field: str) -> None:  # noqa: F811
    refused = api.run(400, role="admin", **{**WANTED, **changes})
    assert field in str(refused), refused


def test_a_spent_budget_keeps_no_bad_model_in_service(api: Api) -> None:  # noqa: F811
    usage = {
        "usage_key": "u1",
        "run_id": "run_1",
        "project": "flight-delay",
        "service": "ray-train",
        "sku": "cpu_core_hour",
        "consumed_quantity": 1000.0,
        "consumed_unit": "core-hours",
        "started_at": "2026-11-01T10:00:00Z",
        "ended_at": "2026-11-01T11:00:00Z",
    }
    from mainspring.core.contracts import base

    now = base.utc_now().isoformat()
    api.call("service", "POST", "/api/v1/usage", 201, {**usage, "started_at": now, "ended_at": now})
    api.run(403)
    api.run(role="admin", **WANTED)


def test_the_command_line(
    api: Api,  # noqa: F811
    launcher: run_launcher.MemoryLauncher,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    token = api._tokens["approver"]
    client = control_client.ControlClient("http://api", token, transport=api.client._transport)
    monkeypatch.setattr(cli_models.session, "client", lambda _actor: client)
    monkeypatch.setattr(client, "close", lambda: None)

    def run(*arguments: str, code: int = 0) -> Any:
        done = CliRunner().invoke(cli.cli, ["model", *arguments, "--json"])
        assert done.exit_code == code, done.output
        return json.loads(done.stdout)["data"] if code == 0 else done.output

    made = run("retire", "flight-delay", DIGEST, "--reason", "too old", "--replace-by", OTHER, "--key", "k")
    assert (
        run("retire", "flight-delay", DIGEST, "--reason", "too old", "--replace-by", OTHER, "--key", "k")
        == made
    )
    revoked = run("revoke", "flight-delay", DIGEST, "--reason", "it leaks", "--environment", "prod")
    first, second = (launcher.started[r["run_id"]] for r in (made, revoked))
    assert isinstance(first, retiring.RetireRequest) and isinstance(second, retiring.RetireRequest)
    assert (first.replace_by, first.is_revocation) == (OTHER, False)
    assert (second.replace_by, second.is_revocation, second.environment) == (None, True, "prod")
    assert "Missing option '--reason'" in run("revoke", "flight-delay", DIGEST, code=2)
