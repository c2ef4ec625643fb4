"""Every operation of the API is reachable by a verb, or has its reason here; and what the verbs of endpoints and events do."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result
from platform_api import PROJECT, Api, api, empty, launcher
from platform_operations import app, asks, matches, operations

from mainspring.core import errors, identity, job_logs, settings
from mainspring.core.client import control as control_client
from mainspring.core.contracts import control, deployment, events, progress, run_logs, training
from mainspring.platform import cli as commands
from mainspring.platform.cli import main as cli
from mainspring.platform.cli import session
from mainspring.platform.runs import launcher as run_launcher

__all__ = ["api", "app", "empty", "launcher"]  # fixtures

BY_PROCESSES = "is reported by a process, under its own key"
#: Operations that no verb asks for, and why. It may only shrink.
WITHOUT: Mapping[str, str] = {
    "POST /runs/{}/events": BY_PROCESSES,
    "POST /key-changes/{}/events": BY_PROCESSES,
    "POST /endpoints/{}/idle-events": BY_PROCESSES,
    "POST /monitoring/reports": BY_PROCESSES,
    "POST /usage": BY_PROCESSES,
    "POST /serving-usage": BY_PROCESSES,
    "POST /projects/{}/storage": BY_PROCESSES,
    "POST /projects/{}/access-requests/{}/expire": BY_PROCESSES,
    "POST /projects/{}/retentions": BY_PROCESSES,
    "POST /projects/{}/secrets/{}/use": BY_PROCESSES,
    "POST /projects/{}/erasures/{}/report": BY_PROCESSES,
    "POST /projects/{}/notebooks:end": BY_PROCESSES,
    "POST /projects/{}/reservations:renew": "is asked by processes that keep money free for what they do",
    "POST /projects/{}/reservations:end": BY_PROCESSES,
    "POST /service-accounts:introspect": "is asked by serving, of what its callers show",
    "POST /projects/{}/notebooks:change": "is asked by `mainspring notebook start|extend|stop` on the way (`platform/notebooks`)",
    "GET /lineage/{}/{}": "is the same as `lineage:walk`, for names without slashes",
}
OLD, NEW = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def called(folder: Path) -> set[str]:
    """Names of the methods that the files of a folder call."""
    found = set()
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                found.add(node.func.attr)
    return found


def test_every_operation_is_reachable_by_a_verb(app: Any, tmp_path: Path) -> None:
    by_method = dict(asks())

    def unreachable(folder: Path) -> set[str]:
        asked = [by_method[name] for name in called(folder) & set(by_method)]
        return {one for one in operations(app) if not any(matches(one, what) for what in asked)}

    assert unreachable(Path(commands.__file__).parent) == set(WITHOUT)
    (tmp_path / "seeded.py").write_text("client.project('x')\n")
    assert len(unreachable(tmp_path)) == len(operations(app)) - 1


class Shell:
    """Commands over one application, as whoever each is by default."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.traffic: deployment.TrafficTable | None = None

    def run(self, *words: str, code: int = 0) -> Result:
        done = CliRunner().invoke(cli.cli, list(words))
        assert done.exit_code == code, (done.output, done.exception)
        return done

    def json(self, *words: str) -> Any:
        lines = [one for one in self.run(*words, "--json").output.splitlines() if one.startswith("{")]
        return json.loads(lines[-1])["data"]


def _live(shell: Shell, name: str) -> control.EndpointLive:
    """What the control API says that serving says."""
    claim = {"name": name, "project": PROJECT["name"], "environment": "dev", "claimed_by": "x"}
    at = "2026-11-01T10:00:00Z"
    if shell.traffic is None:
        away = "serving does not answer; start it"
        return control.EndpointLive.model_validate({**claim, "claimed_at": at, "unavailable": away})
    one = deployment.BundleStats(
        bundle_digest=NEW, role="canary", requests=7, rows=7, errors=1, latency_p50_ms=1, latency_p95_ms=2.5,
        latency_p99_ms=3, mean_score=0.5,
    )  # fmt: skip
    stats = deployment.EndpointStats(endpoint=name, traffic_version=2, window_seconds=9, bundles=[one])
    return control.EndpointLive(**claim, claimed_at=at, traffic=shell.traffic, stats=stats)


@pytest.fixture
def shell(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    def answer(asked: httpx.Request) -> httpx.Response:
        found = api.client.request(
            asked.method, str(asked.url), content=asked.content, headers=dict(asked.headers)
        )
        return httpx.Response(found.status_code, content=found.content, headers=dict(found.headers))

    def client(actor: str) -> control_client.ControlClient:
        tokens = identity.TokenIssuer.load(next(tmp_path.rglob("tokens.json")))
        return control_client.ControlClient(
            "http://testserver.local", tokens.token_of(actor), transport=httpx.MockTransport(answer)
        )

    made = Shell(api)
    monkeypatch.setattr(session, "client", client)
    monkeypatch.setattr(session, "shown", lambda _, actor: session.Shown("", f"embedded issuer, `{actor}`"))
    monkeypatch.setattr(control_client.ControlClient, "live_endpoint", lambda _, name: _live(made, name))
    yield made


def _deployed(shell: Shell, digest: str) -> str:
    run = shell.api.run(kind="deploy", endpoint="delay", bundle_digest=digest)
    path = f"/api/v1/runs/{run['run_id']}/decision"
    shell.api.call("approver", "POST", path, 200, {"approve": True})
    event = {"run_id": run["run_id"], "event_key": run["run_id"], "action": "run.end", "actor": "wf"}
    body = {**event, "detail": {"stage": "done", "result": {"endpoint": "delay"}}}
    shell.api.call("service", "POST", f"/api/v1/runs/{run['run_id']}/events", 201, body)
    return str(run["run_id"])


def test_an_endpoint_is_promoted_and_rolled_back_by_deployments(
    shell: Shell, launcher: run_launcher.MemoryLauncher
) -> None:
    assert "no endpoint `delay`" in shell.run("endpoint", "promote", "delay", OLD, code=1).output
    _deployed(shell, OLD)
    assert [one["name"] for one in shell.json("endpoint", "list")] == ["delay"]
    assert shell.json("endpoint", "show", "delay")["project"] == PROJECT["name"]
    before = len(launcher.started)
    planned = shell.json("endpoint", "promote", "delay", NEW, "--dry-run")
    assert planned["action"] == "create" and planned["changes"]["bundle_digest"]["to"] == NEW
    assert not planned["changes"].keys() & {"shadow_seconds", "max_score_psi", "max_wait_seconds"}
    chosen = ("--shadow-seconds", "60", "--max-score-psi", "0.2", "--max-wait-seconds", "0")
    judged = shell.json("endpoint", "promote", "delay", NEW, *chosen, "--dry-run")["changes"]
    assert (judged["shadow_seconds"]["to"], judged["max_score_psi"]["to"]) == (60.0, 0.2)
    assert judged["max_wait_seconds"]["to"] == 0.0
    assert len(launcher.started) == before, "a dry run starts nothing"
    made = shell.json("endpoint", "promote", "delay", NEW, "--reason", "better", "--key", "k1")
    assert (made["kind"], made["endpoint"], made["bundle_digest"], made["cause"]) == (
        "deploy", "delay", NEW, "better",
    )  # fmt: skip
    assert shell.json("endpoint", "promote", "delay", NEW, "--reason", "better", "--key", "k1") == made
    assert "rollback" not in str(made)
    shell.traffic = deployment.TrafficTable(endpoint="delay", version=2, stable=NEW)
    back = shell.json("endpoint", "rollback", "delay", "--reason", "wrong scores")
    assert (back["bundle_digest"], back["cause"]) == (OLD, "wrong scores")
    shell.traffic = deployment.TrafficTable(endpoint="delay", version=3, stable=OLD)
    none = shell.run("endpoint", "rollback", "delay", "--reason", "again", code=1)
    assert "name one by `--to`" in none.output
    named = shell.json("endpoint", "rollback", "delay", "--to", NEW, "--reason", "after all")
    assert named["bundle_digest"] == NEW
    assert shell.run("endpoint", "promote", "delay", "latest", code=2).output.startswith(
        "error: `bundle_digest`"
    )
    denied = shell.run("endpoint", "promote", "delay", NEW, "--as", "approver@local", code=3)
    assert "no policy permits `run.start`" in denied.output


def test_who_one_is_is_told(shell: Shell) -> None:
    found = shell.json("whoami", "--as", "approver@local")
    assert (found["actor"], found["roles"]) == ("approver@local", ["approver"])


def test_what_is_asked_of_serving_says_so_without_it(shell: Shell, tmp_path: Path) -> None:
    _deployed(shell, OLD)
    file = tmp_path / "asked.json"
    file.write_text('{"entities": [{"tail": "N1"}]}')
    for flag in ((), ("--explain",)):
        assert "serving" in shell.run("endpoint", "predict", "delay", str(file), *flag, code=1).output
    file.write_text("{")
    assert "is no JSON" in shell.run("endpoint", "predict", "delay", str(file), code=2).output
    file.write_text("{}")
    assert (
        "either `entities` or `rows`" in shell.run("endpoint", "predict", "delay", str(file), code=2).output
    )
    assert [one["endpoint"] for one in shell.json("endpoint", "idle")] in ([], ["delay"])
    assert shell.json("model", "list") == []
    assert shell.run("model", "show", "flight-delay", OLD, code=1)


def test_traffic_is_told_as_serving_has_it(shell: Shell) -> None:
    assert "serving does not answer" in shell.run("endpoint", "traffic", "delay", code=1).output
    shell.traffic = deployment.TrafficTable(
        endpoint="delay", version=2, stable=OLD, canary=NEW, canary_percent=5, set_by="run_1"
    )
    found = shell.json("endpoint", "traffic", "delay")
    assert [(one["role"], one["percent"], one["requests"], one["p95_ms"]) for one in found["bundles"]] == [
        ("stable", 95, 0, None),
        ("canary", 5, 7, 2.5),
    ]
    assert "canary" in shell.run("endpoint", "traffic", "delay").output


def test_an_endpoint_is_released_and_deleted(
    shell: Shell,
) -> None:
    _deployed(shell, OLD)
    planned = shell.json("endpoint", "release", "delay", "--reason", "nobody asks", "--dry-run")
    assert planned["action"] == "create" and planned["changes"]["kind"]["to"] == "release"
    made = shell.json("endpoint", "release", "delay", "--reason", "nobody asks", "--key", "k")
    assert shell.json("endpoint", "release", "delay", "--reason", "nobody asks", "--key", "k") == made
    assert "has not ended" in shell.run("endpoint", "release", "delay", "--reason", "again", code=1).output
    assert "remove" in shell.run("endpoint", "delete", "delay", "--dry-run").output
    assert "serving" in shell.run("endpoint", "delete", "delay", code=1).output, "nobody says who answers"
    assert shell.json("endpoint", "show", "delay")["name"] == "delay"


def test_a_canary_is_steered_by_its_endpoints_name(
    shell: Shell, launcher: run_launcher.MemoryLauncher
) -> None:
    assert "serving does not answer" in shell.run("endpoint", "canary", "show", "delay", code=1).output
    shell.traffic = deployment.TrafficTable(endpoint="delay", version=2, stable=OLD, set_by="run_1")
    none = shell.run("endpoint", "canary", "pause", "delay", "--reason", "a look", code=1)
    assert "no run judges a canary at `delay`" in none.output
    run_id = shell.api.run(endpoint="delay")["run_id"]
    launcher.judge(f"{run_id}-deploy", 5)
    shell.traffic = deployment.TrafficTable(
        endpoint="delay", version=3, stable=OLD, canary=NEW, canary_percent=5, set_by=f"{run_id}-deploy"
    )
    canary = ("endpoint", "canary")
    assert shell.json(*canary, "show", "delay")["run_id"] == run_id
    assert shell.run(*canary, "pause", "delay", code=2)
    assert shell.json(*canary, "pause", "delay", "--reason", "a look")["is_paused"]
    assert not shell.json(*canary, "resume", "delay", "--reason", "looked")["is_paused"]
    assert shell.json(*canary, "promote", "delay", "--to", "50", "--reason", "seen enough")["percent"] == 50
    assert shell.json(*canary, "abort", "delay", "--reason", "after all")["percent"] == 0
    assert [order for _, order, _ in launcher.orders] == ["pause", "resume", "promote", "abort"]


def test_a_shadow_is_steered_while_a_run_judges_it(
    shell: Shell, launcher: run_launcher.MemoryLauncher
) -> None:
    run_id = shell.api.run(kind="deploy", endpoint="delay", bundle_digest=NEW)["run_id"]
    shell.traffic = deployment.TrafficTable(
        endpoint="delay", version=3, stable=OLD, shadow=NEW, set_by=run_id
    )
    # What a deployment that went back has put in its place again: a shadow that nobody judges.
    launcher.judge(run_id, 0)
    told = shell.run("endpoint", "canary", "show", "delay", code=1)
    assert "no run judges a canary at `delay`" in told.output
    launcher.judge(run_id, 0, is_shadow=True)
    assert shell.json("endpoint", "canary", "show", "delay")["is_shadow"]
    aborted = shell.json("endpoint", "canary", "abort", "delay", "--reason", "after all")
    assert aborted["is_shadow"] is False


def test_one_that_waits_is_named_by_its_run(shell: Shell, launcher: run_launcher.MemoryLauncher) -> None:
    run_id = shell.api.run(kind="deploy", endpoint="delay", bundle_digest=NEW)["run_id"]
    launcher.wait(run_id)
    canary = ("endpoint", "canary")
    assert shell.json(*canary, "show", "delay", "--run", run_id)["is_waiting"]
    other = shell.run(*canary, "abort", "other", "--run", run_id, "--reason", "a slip", code=1).output
    assert f"run `{run_id}` does not deploy to `other`, but to `delay`" in " ".join(other.split())
    aborted = shell.json(*canary, "abort", "delay", "--run", run_id, "--reason", "a better one came")
    assert not aborted["is_waiting"] and [order for _, order, _ in launcher.orders] == ["abort"]


def test_events_are_a_line_each(shell: Shell) -> None:
    run_id = shell.api.run()["run_id"]
    words = ("event", "watch", "--after", "0", "--until-idle")
    lines = shell.run(*words).output.splitlines()
    assert len(lines) == 3 and "project.create" in lines[0] and lines[1].endswith("(intended)")
    documents = [json.loads(one)["data"] for one in shell.run(*words, "--json").output.splitlines()]
    assert [one["sequence"] for one in documents] == [1, 2, 3]
    of_run = shell.run(*words, "--run", run_id).output
    assert "project.create" not in of_run and f"{run_id} is at approval" in of_run
    assert shell.run("event", "watch", "--project", "nowhere", "--until-idle", code=1)


def test_a_watch_says_how_a_run_came_to_rest(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, launcher: run_launcher.MemoryLauncher
) -> None:
    run_id = shell.api.run()["run_id"]
    waits = shell.run("run", "watch", run_id, code=4)
    assert f"mainspring run approve {run_id}" in waits.output
    launcher._stages[run_id] = training.Stage.TRAIN
    stages = [
        events.RunStage(run_id=run_id, stage=training.Stage.TRAIN),
        events.RunStage(run_id=run_id, stage=training.Stage.EVALUATE),
    ]

    def told(_: control_client.ControlClient, *, run: str, within_seconds: float) -> Any:
        assert run == run_id
        yield from stages
        if within_seconds < 1:
            raise errors.DeadlineExceeded("as long as was asked for", stage="watch")
        launcher._stages[run_id] = training.Stage.DONE
        yield events.RunStage(run_id=run_id, stage=training.Stage.DONE)

    monkeypatch.setattr(control_client.ControlClient, "watch", told)
    late = shell.run("run", "watch", run_id, "--timeout-seconds", "0.5", code=5)
    assert f"{run_id}: train" in late.output and f"{run_id}: evaluate" in late.output
    assert f"`{run_id}` is still at `train`" in late.output
    assert "stage: done" in shell.run("run", "watch", run_id).output
    rejected = shell.api.run()["run_id"]
    shell.api.call("approver", "POST", f"/api/v1/runs/{rejected}/decision", 200, {"approve": False})
    assert "ended as `rejected`" in shell.run("run", "watch", rejected, code=1).output


def test_a_run_says_how_far_its_steps_are_each_time_that_it_is_otherwise(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, launcher: run_launcher.MemoryLauncher
) -> None:
    run_id = shell.api.run()["run_id"]
    third = progress.StepProgress(step="train", done=3, of=8, unit="epoch", checkpoint="/c/3")
    launcher.work(run_id, third)
    words = f"{run_id}: train: epoch 3 of 8 (checkpoint /c/3)"
    assert words in shell.run("run", "show", run_id).stderr
    shown = json.loads(shell.run("run", "show", run_id, "--json").stdout)["data"]["status"]
    assert shown["step_progress"] == [third.model_dump(mode="json")] and shown["progress"] == 0.375
    fourth = third.model_copy(update={"done": 4, "checkpoint": "", "message": "\x1b[2Jgone"})
    silent = progress.StepProgress(step="load")

    def told(_: control_client.ControlClient, *, run: str, within_seconds: float) -> Any:
        for one in (third, third, fourth):
            yield events.RunStage(run_id=run, stage=training.Stage.TRAIN, step_progress=[one, silent])
        launcher.work(run_id)
        yield events.RunStage(run_id=run, stage=training.Stage.APPROVAL)

    monkeypatch.setattr(control_client.ControlClient, "watch", told)
    lines = shell.run("run", "watch", run_id, code=4).stderr.splitlines()
    said = [line for line in lines if ": train: " in line]
    assert said == [words, f"{run_id}: train: epoch 4 of 8, \N{REPLACEMENT CHARACTER}[2Jgone"]
    assert not any("load" in line for line in lines), "nothing is said of what says nothing"


@pytest.mark.parametrize(
    ("words", "action"),
    [
        (("project", "update", "flight-delay", "--owner", "x"), "change"),
        (("project", "update", "flight-delay", "--owner", PROJECT["owner"]), "none"),
        (("member", "set", "flight-delay", "ana", "viewer"), "create"),
        (("schedule", "put", "flight-delay", "skew"), "create"),
    ],
)
def test_a_dry_run_says_what_would_be_and_changes_nothing(
    shell: Shell, words: tuple[str, ...], action: str
) -> None:
    before = len(shell.api.audit())
    assert shell.json(*words, "--dry-run")["action"] == action
    assert len(shell.api.audit()) == before


def test_a_dry_run_of_a_removal_says_what_would_be_gone(shell: Shell) -> None:
    shell.run("member", "set", "flight-delay", "ana", "viewer")
    shell.run("schedule", "put", "flight-delay", "skew", "--every-minutes", "5")
    assert [one["process"] for one in shell.json("schedule", "list", "flight-delay")] == ["skew"]
    before = len(shell.api.audit())
    gone = shell.json("member", "remove", "flight-delay", "ana", "--dry-run")
    assert (gone["action"], gone["changes"]) == ("remove", {"*": {"from": ["viewer"], "to": None}})
    gone = shell.json("schedule", "remove", "flight-delay", "skew", "--dry-run")
    assert gone["changes"]["every_minutes"] == {"from": 5.0, "to": None}
    changed = shell.json("schedule", "put", "flight-delay", "skew", "--every-minutes", "6", "--dry-run")
    assert changed["changes"] == {"every_minutes": {"from": 5.0, "to": 6.0}}
    assert len(shell.api.audit()) == before
    shell.run("schedule", "put", "flight-delay", "skew", "--every-minutes", "6")
    shell.run("schedule", "remove", "flight-delay", "skew")
    shell.run("member", "remove", "flight-delay", "ana")


def test_a_catalog_is_put_from_a_file(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "catalog.json"
    entry = {
        "kind": "view",
        "name": "view.tail",
        "owner": "team",
        "description": "rows",
        "classification": "internal",
    }
    file.write_text(json.dumps([entry]))
    planned = shell.json("catalog", "put", "flight-delay", str(file), "--dry-run")
    assert planned["changes"]["view.tail"]["from"] is None
    assert shell.json("catalog", "put", "flight-delay", str(file))["changed"] == 1
    assert shell.json("catalog", "put", "flight-delay", str(file), "--dry-run")["action"] == "none"
    file.write_text(json.dumps(shell.json("catalog", "list")))
    assert shell.json("catalog", "put", "flight-delay", str(file))["changed"] == 0
    file.write_text("{")
    assert "is no JSON" in shell.run("catalog", "put", "flight-delay", str(file), code=2).output


def test_what_is_left_is_shown_and_a_failed_run_is_resumed_with_more(
    shell: Shell, launcher: run_launcher.MemoryLauncher
) -> None:
    run_id = shell.api.run(max_cost=0.4)["run_id"]
    run, project = shell.json("cost", "standing", run_id)
    assert run == {"what": "run", "name": run_id, "limit": 0.4, "spent": 0.0, "currency": "USD"}
    assert (project["what"], project["name"], project["limit"]) == ("project", PROJECT["name"], 1.0)
    early = shell.run("run", "resume", run_id, code=1)
    assert "only what failed is resumed" in early.output
    launcher.fail(run_id)
    assert shell.json("run", "resume", run_id, "--max-cost", "0.7")["run_id"] == run_id
    assert shell.json("cost", "standing", run_id)[0]["limit"] == 0.7
    assert launcher.started[run_id].max_cost == 0.7


def test_the_log_of_a_job_is_told_as_it_was_kept_while_ray_is_away(shell: Shell, tmp_path: Path) -> None:
    run_id = shell.api.run()["run_id"]
    away = shell.run("run", "logs", run_id, code=1).output
    assert "mainspring status" in away
    kept = job_logs.JobLogs.of(settings.load({}, directory=tmp_path).stack.state_dir, "flight-delay")
    kept.keep(run_id, run_logs.LogJob(name="train-0", status="FAILED"), "epoch 1\nout of memory\n")
    told = shell.run("run", "logs", run_id)
    assert told.stdout == "epoch 1\nout of memory\n"
    assert "warning: ray's jobs" in told.stderr
    assert "train-0, as it was kept when it ended: lines 0 to 2 of 2" in told.stderr


def test_the_log_is_filtered_turned_round_and_followed_over_pages(shell: Shell) -> None:
    for n in range(3):
        shell.json("project", "create", f"more-{n}", "--owner", "team")
    rows = shell.json("audit", "log")
    assert [r["resource"] for r in rows] == ["project/flight-delay", *(f"project/more-{n}" for n in range(3))]
    assert [r["sequence"] for r in shell.json("audit", "log", "--newest", "--limit", "2")] == [4, 3]
    (one,) = shell.json("audit", "log", "--resource", "project/more-1", "--action", "project.create")
    assert (one["actor"], one["outcome"]) == ("developer@local", "done")
    assert (
        shell.json("audit", "log", "--outcome", "denied")
        == shell.json("audit", "log", "--by", "nobody")
        == []
    )
    assert shell.json("audit", "list", "--after", str(rows[1]["sequence"])) == rows[2:]
    assert "project/more-2" in shell.run("audit", "log").output
