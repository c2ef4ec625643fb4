"""Whole workspaces: JupyterLab is installed and started, its notebooks run, and it ends as it should. Needs pip's index."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import platform_notebooks as world
import pytest

from mainspring.core import settings
from mainspring.core.contracts import control
from mainspring.platform.notebooks import environment, spending, workspaces
from mainspring.platform.stack import processes

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]

#: A kernel takes a second to start on a quiet machine.
SECONDS = 120.0


@pytest.fixture(scope="module")
def s(tmp_path_factory: pytest.TempPathFactory) -> Iterator[settings.Settings]:
    home = tmp_path_factory.mktemp("home")
    with world.served(home, idle_minutes=30, per_project=2) as s:
        with world.client(s, "admin") as admin:
            admin.create_project(
                control.ProjectCreate(name="flight-delay", owner="team", monthly_budget=100.0)
            )
        yield s
        for one in workspaces.known(s):
            workspaces.end(s, one.notebook_id)


def command(s: settings.Settings, *words: str, **variables: str) -> Any:
    """As a person says it, in the home."""
    told = settings.child_environment(s, {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **variables})
    argv = [sys.executable, "-m", "mainspring.platform.cli.main", "notebook", *words, "--json"]
    done = subprocess.run(
        argv, env=told, cwd=s.stack.state_dir.parent, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["data"]


def until(what: Callable[[], Any]) -> Any:
    end = time.monotonic() + SECONDS
    while not (found := what()):
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.2)
    return found


def asked(made: dict[str, Any], path: str, token: str = "", method: str = "GET") -> httpx.Response:
    url = httpx.URL(made["url"])
    headers = {"Authorization": f"token {token}"} if token else {}
    return httpx.request(
        method, url.copy_with(path=path, query=None), headers=headers, trust_env=False, timeout=30
    )


def token_of(made: dict[str, Any]) -> str:
    return str(httpx.URL(made["url"]).params["token"])


@pytest.fixture(scope="module")
def made(s: settings.Settings) -> dict[str, Any]:
    started: dict[str, Any] = command(s, "start", "flight-delay", "--memory-gib", "4")
    return started


def test_it_answers_whoever_has_its_token_on_this_machine(s: settings.Settings, made: dict[str, Any]) -> None:
    until(lambda: asked(made, "/api/status", token_of(made)).status_code == 200)
    assert asked(made, "/api/status").status_code == 403
    assert asked(made, "/api/status", "another").status_code == 403
    assert asked(made, "/lab", token_of(made)).status_code == 200
    assert httpx.URL(made["url"]).host == "127.0.0.1"
    folder = workspaces.folder_of(s, made["notebook_id"])
    assert (folder / "token").stat().st_mode & 0o777 == 0o600
    lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in processes.marked(made["notebook_id"])]
    assert lines and not any(token_of(made).encode() in line for line in lines)
    assert [one["notebook_id"] for one in command(s, "list")] == [made["notebook_id"]]


def test_packages_are_its_own_and_ours_are_there(s: settings.Settings, made: dict[str, Any]) -> None:
    folder = workspaces.folder_of(s, made["notebook_id"])
    script = "import sys, numpy, jupyterlab, mainspring.core.errors; print(sys.prefix)"
    done = subprocess.run(
        [folder / "env" / "bin" / "python", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert Path(done.stdout.strip()) == folder / "env"


def test_it_has_its_cores_and_no_more_memory_than_it_may(s: settings.Settings, made: dict[str, Any]) -> None:
    token = token_of(made)
    kernel = asked(made, "/api/kernels", token, "POST").json()
    pids = until(
        lambda: [pid for pid in processes.marked(made["notebook_id"]) if b"ipykernel" in line_of(pid)]
    )
    assert {len(os.sched_getaffinity(pid)) for pid in pids} == {1}
    one = workspaces.find(s, made["notebook_id"])
    workspaces.write(s, one.model_copy(update={"asked": one.asked.model_copy(update={"memory_gib": 0.01})}))
    until(lambda: not processes.is_alive(pids[0]))
    workspaces.write(s, one)
    until(
        lambda: (
            asked(made, f"/api/kernels/{kernel['id']}", token).json().get("execution_state")
            in ("idle", "starting")
        )
    )
    assert "goes: it has" in (workspaces.folder_of(s, one.notebook_id) / "log").read_text()


def line_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_it_is_extended_and_stopped_and_its_work_stays(s: settings.Settings, made: dict[str, Any]) -> None:
    folder = workspaces.folder_of(s, made["notebook_id"])
    (folder / "work" / "mine.txt").write_text("kept")
    longer = command(s, "extend", made["notebook_id"], "--hours", "1")
    assert longer["ends_at"] > made["ends_at"]
    stopped = command(s, "stop", made["notebook_id"])
    assert stopped["state"] == "stopped" and command(s, "list") == []
    assert processes.marked(made["notebook_id"]) == []
    assert (folder / "work" / "mine.txt").read_text() == "kept"
    assert not (folder / "env").exists() and not (folder / "runtime").exists()
    with world.client(s, "approver") as approver:
        spent = [
            one for one in approver.cost_records(project="flight-delay") if one.run_id == made["notebook_id"]
        ]
        assert sum(one.billed_cost for one in spent) > 0 and {one.service_name for one in spent} == {
            "notebook"
        }
        audit = approver.audit(limit=200).items
        rows = [row for row in audit if row["action"] == "usage.record"]
        changes = [row["action"] for row in audit if row["resource"].endswith(made["notebook_id"])]
    assert len(rows) == len(spent) == 4  # where it began, and what it was
    assert changes == ["notebook.start", "notebook.extend", "notebook.stop", "notebook.end"]


def test_it_ends_when_nobody_is_there(s: settings.Settings) -> None:
    made = command(s, "start", "flight-delay", MAINSPRING_NOTEBOOKS_IDLE_MINUTES="0.05")
    ended = until(lambda: workspaces.find(s, made["notebook_id"]).ended)
    assert ended == "nobody did anything for 0.05 minutes"
    until(lambda: processes.marked(made["notebook_id"]) == [])


def test_when_its_budget_is_spent_it_is_told_and_ends_and_its_files_stay(s: settings.Settings) -> None:
    made = command(s, "start", "flight-delay", MAINSPRING_NOTEBOOKS_BUDGET_GRACE_SECONDS="6")
    folder = workspaces.folder_of(s, made["notebook_id"])
    (folder / "work" / "mine.txt").write_text("kept")
    with world.client(s, "admin") as admin:
        view = admin.project("flight-delay")
        admin.update_project("flight-delay", control.ProjectPatch(monthly_budget=1e-9), version=view.version)
        until((folder / "work" / spending.NOTICE).exists)
        (found,) = [one for one in command(s, "list") if one["notebook_id"] == made["notebook_id"]]
        assert "its budget is spent" in found["state"]
        ended = until(lambda: workspaces.find(s, made["notebook_id"]).ended)
        view = admin.project("flight-delay")
        admin.update_project("flight-delay", control.ProjectPatch(monthly_budget=100.0), version=view.version)
    assert ended.startswith("its budget is spent: the monthly budget of `flight-delay` has ")
    until(lambda: processes.marked(made["notebook_id"]) == [])
    assert (folder / "work" / "mine.txt").read_text() == "kept" and not (folder / "usage.jsonl").read_text()
    assert until(lambda: view_of(s).reserved == 0.0)


def view_of(s: settings.Settings) -> control.ProjectView:
    with world.client(s, "admin") as admin:
        return admin.project("flight-delay")


def test_without_its_keeper_nothing_of_it_runs_on(s: settings.Settings) -> None:
    made = command(s, "start", "flight-delay")
    (keeper,) = [pid for pid in processes.marked(made["notebook_id"]) if b"notebooks.keeper" in line_of(pid)]
    os.kill(keeper, signal.SIGKILL)
    until(lambda: processes.marked(made["notebook_id"]) == [])
    (found,) = [one for one in command(s, "list", "--all") if one["notebook_id"] == made["notebook_id"]]
    assert found["state"] == "its keeper was killed"


def test_pins_that_pip_cannot_install_are_named(tmp_path: Path) -> None:
    (tmp_path / "pins.txt").write_text("jupyterlab==0.0.0.1\n")
    with pytest.raises(environment.errors.MissingTool, match="could not be installed"):
        environment.installed(tmp_path / "packages", pins=tmp_path / "pins.txt")
    assert [path.name for path in (tmp_path / "packages").iterdir()] == ["lock"]
