"""A pipeline is sent, started and decided on as who may: its code is kept by its digest, its run is one like any other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from platform_api import Api, api, empty, launcher

from mainspring.core.contracts import pipelines
from mainspring.platform.cli import main as cli
from mainspring.platform.cli import pipelines as pipeline_cli
from mainspring.platform.runs import launcher as run_launcher

__all__ = ["api", "empty", "launcher"]  # fixtures

SOURCE = """
from mainspring.core.pipelines import approval, pipeline, step

@step
def load(rows: int) -> int:
    return rows

@step(memory_gib=2)
def double(rows: int) -> int:
    return 2 * rows

@pipeline(project="flight-delay")
def nightly(rows: int = 3):
    return double(approval(load(rows)))
"""


def pack(**changes: Any) -> pipelines.Pack:
    node = pipelines.Node(name="load", function="nightly:load", gives="int")
    graph = pipelines.PipelineGraph(name="nightly", nodes=(node,), parameters={"rows": 3})
    return pipelines.Pack(**{"sources": {"nightly.py": SOURCE}, "graph": graph, **changes})


def send(api: Api, sent: pipelines.Pack, expect: int = 200, role: str = "developer", **more: Any) -> Any:
    path = f"/api/v1/projects/flight-delay/pipelines/{more.pop('digest', sent.digest)}"
    body = sent.model_dump(mode="json", exclude_defaults=True)
    return api.call(role, "PUT", path, expect, body, **more)


def start(api: Api, digest: str, expect: int = 201, **options: Any) -> Any:
    return api.run(expect, kind="pipeline", pipeline={"pack": digest, **options})


def test_it_is_kept_by_its_digest_once_and_on_record(api: Api) -> None:
    sent = pack()
    assert send(api, sent) == {
        "project": "flight-delay",
        "digest": sent.digest,
        "pipeline": "nightly",
        "is_new": True,
    }
    assert send(api, sent)["is_new"] is False
    row = api.audit()[-1]
    assert (row["action"], row["resource"]) == ("pipeline.put", f"pipeline/flight-delay/{sent.digest}")
    (asked,) = api.audit()[-2]["detail"]["authorisation"]["decisions"]
    assert asked["asked"]["action"] == "pipeline.run"
    path = f"/api/v1/projects/flight-delay/pipelines/{sent.digest}"
    assert pipelines.Pack.model_validate(api.call("developer", "GET", path, 200)) == sent


def test_what_is_not_its_digest_or_no_pack_is_kept_nowhere(api: Api, tmp_path: Path) -> None:
    other = "sha256:" + "0" * 64
    assert send(api, pack(), 422, digest=other)["code"] == "corrupt_artifact"
    body = pack().model_dump(mode="json")
    for path in ("../nightly.py", "/nightly.py", "a/../../nightly.py", "nightly.txt", "a b.py"):
        wrong = {**body, "sources": {**body["sources"], path: ""}}
        answer = api.call("developer", "PUT", f"/api/v1/projects/flight-delay/pipelines/{other}", 400, wrong)
        assert "no source of a pack" in json.dumps(answer)
    assert not list(tmp_path.rglob("pipelines"))


@pytest.mark.parametrize(
    ("role", "environment"), [("approver", "dev"), ("service", "dev"), ("developer", "moon")]
)
def test_who_may_not_bring_code_is_denied_on_record(api: Api, role: str, environment: str) -> None:
    send(api, pack(), 403, role, environment=environment)
    assert api.audit()[-1]["outcome"] == "denied"


def test_a_run_of_it_carries_its_digest_and_keeps_budget_free(
    api: Api, launcher: run_launcher.MemoryLauncher
) -> None:
    digest = send(api, pack())["digest"]
    run = start(api, digest, again_from=["load"])
    started = launcher.started[run["run_id"]]
    assert isinstance(started, pipelines.PipelineRequest)
    assert (started.pack, started.again_from, started.requested_by) == (digest, ("load",), "developer@local")
    assert api.call("developer", "GET", "/api/v1/projects/flight-delay", 200)["reserved"] > 0


def test_what_is_not_there_starts_nothing(api: Api, launcher: run_launcher.MemoryLauncher) -> None:
    assert start(api, "sha256:" + "1" * 64, 404)["details"]["resource"] == "pipeline"
    digest = send(api, pack())["digest"]
    assert start(api, digest, 404, resume_of="run_that_is_not_there")["details"]["resource"] == "run"
    assert api.run(400, kind="pipeline")["details"]["field"] == "pipeline"
    assert api.run(400, kind="train", pipeline={"pack": digest})["details"]["field"] == "pipeline"
    assert not launcher.started


def test_another_projects_run_is_not_resumed(api: Api) -> None:
    api.call("developer", "POST", "/api/v1/projects", 201, {"name": "other", "owner": "x@example.org"})
    theirs = api.run(project="other")["run_id"]
    digest = send(api, pack())["digest"]
    assert start(api, digest, 404, resume_of=theirs)["details"]["name"] == theirs


def test_a_decision_says_which_step_and_with_which_roles(
    api: Api, launcher: run_launcher.MemoryLauncher
) -> None:
    run_id = start(api, send(api, pack())["digest"])["run_id"]
    api.call("approver", "POST", f"/api/v1/runs/{run_id}/decision", 200, {"approve": True, "step": "release"})
    decided = launcher.decisions[run_id]
    assert (decided.step, decided.by, decided.roles) == ("release", "approver@local", ("approver",))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "nightly.py"
    path.write_text(SOURCE)
    return path


def test_the_command_says_what_a_file_would_do(file: Path) -> None:
    done = CliRunner().invoke(cli.cli, ["run", str(file), "--dry-run", "--json", "--set", "rows=4"])
    assert done.exit_code == 0, done.output
    plan = json.loads(done.output)["data"]
    assert [n["name"] for n in plan["nodes"]] == ["load", "approval", "double"]
    assert (plan["parameters"], plan["files"]) == ({"rows": 4}, ["nightly.py"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--set", "rows=many"], "`rows` is of type `int`"),
        (["--set", "row=1"], "has no parameter `row`"),
        (["--pipeline", "weekly"], "no pipeline `weekly`"),
    ],
)
def test_the_command_refuses_what_does_not_fit(file: Path, arguments: list[str], says: str) -> None:
    done = CliRunner().invoke(cli.cli, ["run", str(file), "--dry-run", *arguments])
    assert done.exit_code == 1 and says in done.output


def test_the_command_runs_it_here_and_asks(file: Path, tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    done = CliRunner().invoke(cli.cli, ["run", str(file), "--local", store, "--json"], input="y\n")
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(cli.cli, ["run", str(file), "--local", store], input="n\n")
    assert done.exit_code == 3 and "`approval` was rejected" in done.output


def test_the_commands_of_run_are_still_there() -> None:
    assert "start" in CliRunner().invoke(cli.cli, ["run", "--help"]).output
    assert CliRunner().invoke(cli.cli, ["run", "nonsense"]).exit_code == 2
    done = CliRunner().invoke(pipeline_cli.pipeline, ["decide", "run_1"])
    assert done.exit_code == 2
