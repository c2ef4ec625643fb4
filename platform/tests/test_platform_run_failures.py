"""A run that ends badly, as the command line shows it: the error's own code and words, and the exit code of its kind."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result
from platform_api import Api, api, empty, launcher

from mainspring.core import errors
from mainspring.core.client import control as control_client
from mainspring.core.contracts import training
from mainspring.platform.cli import main as cli
from mainspring.platform.cli import session
from mainspring.platform.runs import launcher as run_launcher

__all__ = ["api", "empty", "launcher"]  # fixtures

Run = Callable[..., Result]


@pytest.fixture
def run(api: Api, monkeypatch: pytest.MonkeyPatch) -> Run:
    def forward(request: httpx.Request) -> httpx.Response:
        sent = api.client.request(
            request.method, request.url.path, content=request.content, headers=dict(request.headers)
        )
        return httpx.Response(sent.status_code, content=sent.content, headers=dict(sent.headers))

    def client(actor: str) -> control_client.ControlClient:
        token = api._tokens[actor.removesuffix("@local")]
        return control_client.ControlClient("http://control", token, transport=httpx.MockTransport(forward))

    monkeypatch.setattr(session, "client", client)
    return lambda *arguments: CliRunner().invoke(cli.cli, list(arguments))


def ends_as(launcher: run_launcher.MemoryLauncher, monkeypatch: pytest.MonkeyPatch, **status: Any) -> None:
    """What the engine says of any run from now on."""

    async def answer(run_id: str) -> training.RunStatus:
        return training.RunStatus(run_id=run_id, **status)

    monkeypatch.setattr(launcher, "status", answer)


ENDS = [
    (errors.SchemaMismatch("plan wants `age`, the set has none; add it", feature="age"), 1),
    (errors.DataInvalid("3 checks failed; mend the source", dataset="lake", failed=("labels",)), 1),
    (errors.JobFailed("loss became nan; lower `learning_rate`", status="diverged"), 1),
    (errors.JobFailed("a worker died; give it more memory", status="workers_failed"), 1),
    (errors.BudgetExceeded("the budget is spent; raise it", project="x", limit_usd=1, needed_usd=2), 3),
    (errors.PolicyDenied("no signature; sign the bundle", rule_id="bundle.signed"), 3),
    (errors.DependencyDown("ray is away; start it", name="ray"), 1),
]


@pytest.mark.parametrize(("error", "code"), ENDS, ids=lambda value: getattr(value, "code", str(value)))
def test_a_failed_run_is_shown_and_watched_in_its_own_words(
    api: Api,
    launcher: run_launcher.MemoryLauncher,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    error: errors.MainspringError,
    code: int,
) -> None:
    run_id = api.run()["run_id"]
    wire = errors.to_wire(error)
    ends_as(launcher, monkeypatch, stage=training.Stage.FAILED, message=error.message, error=wire)
    shown = json.loads(run("run", "show", run_id, "--json").output)["data"]
    assert (shown["stage"], shown["status"]["error"]) == ("failed", wire)
    watched = run("run", "watch", run_id)
    assert watched.exit_code == code and f"error: {error.message}" in watched.output


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (training.Stage.REJECTED, "rejected by `system`: nobody decided within 1 day, 0:00:00"),
        (training.Stage.ROLLED_BACK, "the deployment went back: p95 is 9.00 times stable's"),
    ],
)
def test_another_end_says_why_and_what_to_look_at(
    api: Api,
    launcher: run_launcher.MemoryLauncher,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    stage: training.Stage,
    message: str,
) -> None:
    run_id = api.run()["run_id"]
    ends_as(launcher, monkeypatch, stage=stage, message=message)
    watched = run("run", "watch", run_id)
    assert watched.exit_code == 1
    assert f"`{run_id}` ended as `{stage}`: {message}; see `mainspring run show {run_id}`" in watched.output


def test_why_is_said_of_what_is_on_record_where_the_engine_has_forgotten_it(
    api: Api, launcher: run_launcher.MemoryLauncher, run: Run
) -> None:
    run_id = api.run()["run_id"]
    detail = {"stage": "failed", "message": "auc is low", "result": {"message": "auc is low; train again"}}
    event = {"event_key": "end", "run_id": run_id, "action": "run.end", "actor": "w", "detail": detail}
    api.call("service", "POST", f"/api/v1/runs/{run_id}/events", 201, event)
    launcher.is_down = True
    watched = run("run", "watch", run_id)
    assert watched.exit_code == 1 and "ended as `failed`: auc is low; train again; see" in watched.output


def test_who_may_not_approve_is_told_who_may(api: Api, run: Run) -> None:
    run_id = api.run(role="admin", environment="prod")["run_id"]
    for actor, says in (("developer@local", "role `approver`"), ("admin@local", "ask somebody else who may")):
        refused = run("run", "approve", run_id, "--as", actor)
        assert refused.exit_code == 3 and says in refused.output, refused.output
    assert api.call("developer", "GET", f"/api/v1/runs/{run_id}", 200)["stage"] == "approval"


def test_a_deployment_without_an_endpoint_is_refused_before_it_is_a_run(api: Api) -> None:
    before = len(api.audit())
    asked = {"project": "flight-delay", "kind": "deploy", "bundle_digest": "sha256:" + "a" * 64}
    refused = api.call("developer", "POST", "/api/v1/runs", 400, asked)
    assert refused["details"]["field"] == "endpoint" and "add it" in refused["detail"]
    assert len(api.audit()) == before
