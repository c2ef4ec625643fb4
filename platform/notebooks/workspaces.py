"""Workspaces of this machine: each is a folder with what is known of it, a process that keeps it, and work that stays.

    <notebooks.dir>/<id>/workspace.json   what was asked for, and how it ended
                         token            of JupyterLab, mode 0600
                         usage.jsonl      what the control API has not received yet
                         log              of the keeper and JupyterLab
                         env/, runtime/   packages and JupyterLab's own files, removed at the end
                         work/            notebooks, which stay

The keeper (`keeper.py`) carries the id as the marker of a stack's processes, and so does all that it starts.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, ValidationError

from mainspring.core import durable, errors, ids, settings
from mainspring.core.client import control
from mainspring.core.contracts import base, notebooks
from mainspring.platform.notebooks import environment, metering
from mainspring.platform.stack import processes

__all__ = ["Asked", "Workspace", "end", "extend", "find", "known", "start", "stop", "url"]

_Change: TypeAlias = Literal["start", "extend", "stop"]
_ENDED_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.1


class Asked(BaseModel):
    """What somebody wants of a workspace."""

    model_config = ConfigDict(frozen=True)

    project: str
    actor: str
    cores: int
    memory_gib: float
    hours: float


class Workspace(BaseModel):
    """What is on disk of one. `ended`: why, or empty while it is at work."""

    model_config = ConfigDict(frozen=True)

    notebook_id: str
    asked: Asked
    port: int
    started_at: datetime
    ends_at: datetime
    idle_minutes: float
    ended: str = ""
    ended_at: datetime | None = None


def start(
    s: settings.Settings,
    client: control.ControlClient,
    asked: Asked,
    *,
    progress: Callable[[str], None] = lambda line: None,
) -> Workspace:
    """A workspace that answers, or nothing of it is left.

    Errors: those of the control API for the project and who asks; InvalidRequest beyond the quota, Conflict for too many at once,
    BudgetExceeded, MissingTool, DependencyDown if JupyterLab does not come up.
    """
    _check_quota(s, asked)
    _check_budget(s, client, asked)
    notebook_id = ids.new_id("notebook")
    _ask(client, asked, notebook_id, "start")
    try:
        return _started(s, asked, notebook_id, progress)
    except errors.MainspringError:
        with contextlib.suppress(errors.MainspringError):  # why it did not come up matters more
            _ask(client, asked, notebook_id, "stop")
        raise


def _started(
    s: settings.Settings, asked: Asked, notebook_id: str, progress: Callable[[str], None]
) -> Workspace:
    base_folder = environment.installed(s.notebooks.dir / "packages", progress)
    now = base.utc_now()
    made = Workspace(
        notebook_id=notebook_id, asked=asked, port=_free_port(), started_at=now,
        ends_at=now + timedelta(hours=asked.hours), idle_minutes=s.notebooks.idle_minutes,
    )  # fmt: skip
    folder = folder_of(s, made.notebook_id)
    (folder / "work").mkdir(parents=True)
    durable.ensure_secret(folder / "token", lambda: secrets.token_urlsafe(32).encode())
    write(s, made)
    environment.made(folder / "env", base_folder)
    argv = [sys.executable, "-m", "mainspring.platform.notebooks.keeper", made.notebook_id, str(base_folder)]
    told = settings.child_environment(s, {processes.MARKER: made.notebook_id})
    pid = processes.start(argv, environment=told, log=folder / "log")
    try:
        _await(s, made, pid)
    except BaseException:
        processes.end(made.notebook_id)
        finish(s, made, "did not start")
        raise
    return made


def known(s: settings.Settings) -> list[Workspace]:
    """Every one that there is something of, oldest first; one whose keeper is gone is ended on the way."""
    found = []
    for path in sorted(s.notebooks.dir.glob("notebook_*/workspace.json")):
        one = find(s, path.parent.name)
        if not one.ended and not processes.marked(one.notebook_id):
            one = finish(s, one, "its keeper was killed")
        found.append(one)
    return found


def find(s: settings.Settings, notebook_id: str) -> Workspace:
    """Errors: InvalidRequest for what is no id; NotFound; CorruptArtifact."""
    path = folder_of(s, ids.check_id(notebook_id, "notebook")) / "workspace.json"
    try:
        return Workspace.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise errors.NotFound(
            f"no notebook workspace `{notebook_id}` is here; `mainspring notebook list` has them",
            resource="notebook",
            name=notebook_id,
        ) from error
    except ValidationError as error:
        raise errors.CorruptArtifact(
            f"`{path}` is not what a workspace is remembered by; keep its `work` folder, and remove the rest",
            artifact=str(path),
            expected="a workspace",
            got=str(error.errors()[0]["msg"]),
        ) from error


def extend(s: settings.Settings, client: control.ControlClient, notebook_id: str, hours: float) -> Workspace:
    """Let it end later. Errors: as :func:`find`; Conflict if it has ended, InvalidRequest beyond the quota, BudgetExceeded."""
    one = find(s, notebook_id)
    if one.ended:
        raise errors.Conflict(
            f"`{notebook_id}` has ended: {one.ended}; start another one over its `work` folder",
            resource="notebook",
            name=notebook_id,
        )
    longer = one.ends_at + timedelta(hours=hours)
    whole = (longer - one.started_at) / timedelta(hours=1)
    _check_quota(s, one.asked.model_copy(update={"hours": whole}), is_new=False)
    _check_budget(s, client, one.asked.model_copy(update={"hours": hours}))
    _ask(client, one.asked.model_copy(update={"hours": hours}), notebook_id, "extend")
    one = one.model_copy(update={"ends_at": longer})
    write(s, one)
    return one


def stop(s: settings.Settings, client: control.ControlClient, notebook_id: str) -> Workspace:
    """End it for somebody who may, on record. One that has ended stays as it is. Errors: as :func:`find`; PermissionDenied."""
    one = find(s, notebook_id)
    if not one.ended:
        _ask(client, one.asked, notebook_id, "stop")
    return end(s, notebook_id)


def end(s: settings.Settings, notebook_id: str) -> Workspace:
    """Ask its keeper to end it, then insist. Twice is once. Errors: as :func:`find`."""
    one = find(s, notebook_id)
    for pid in processes.marked(notebook_id):
        if _is_keeper(pid):
            os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + _ENDED_SECONDS
    while processes.marked(notebook_id) and time.monotonic() < until:
        time.sleep(_POLL_SECONDS)
    processes.end(notebook_id)
    one = find(s, notebook_id)
    return one if one.ended else finish(s, one, "stopped")


def finish(s: settings.Settings, one: Workspace, why: str) -> Workspace:
    """Note the end, and remove what goes with it; `work`, the log and what is not charged yet stay."""
    done = one.model_copy(update={"ended": why, "ended_at": base.utc_now()})
    write(s, done)
    for name in ("env", "runtime"):
        shutil.rmtree(folder_of(s, one.notebook_id) / name, ignore_errors=True)
    return done


def url(s: settings.Settings, one: Workspace) -> str:
    """Where a browser opens it; whoever has it is let in."""
    token = (folder_of(s, one.notebook_id) / "token").read_text()
    return f"http://127.0.0.1:{one.port}/lab?token={token}"


def folder_of(s: settings.Settings, notebook_id: str) -> Path:
    return s.notebooks.dir / notebook_id


def write(s: settings.Settings, one: Workspace) -> None:
    durable.replace_file(folder_of(s, one.notebook_id) / "workspace.json", one.model_dump_json(indent=1))


def _ask(client: control.ControlClient, asked: Asked, notebook_id: str, change: _Change) -> None:
    """The control API lets it be, and has it on record. Errors: NotFound for the project; PermissionDenied, PolicyDenied, BudgetExceeded."""
    client.change_notebook(asked.project, _change(asked, notebook_id, change))


def _change(asked: Asked, notebook_id: str, change: _Change) -> notebooks.NotebookChange:
    return notebooks.NotebookChange(
        notebook_id=notebook_id,
        change=change,
        cores=asked.cores,
        memory_gib=asked.memory_gib,
        hours=asked.hours,
    )


def _check_quota(s: settings.Settings, asked: Asked, *, is_new: bool = True) -> None:
    quota = s.notebooks
    for name, wanted, most in (
        ("cores", asked.cores, quota.max_cores),
        ("memory_gib", asked.memory_gib, quota.max_memory_gib),
        ("hours", asked.hours, quota.max_hours),
    ):
        if not 0 < wanted <= most:
            raise errors.InvalidRequest(
                f"`{name}` would be {wanted:g}, and a workspace may have more than 0 and at most {most:g}; ask for less, or raise"
                f" `notebooks.max_{name}`",
                field=name,
            )
    at_work = (
        [one for one in known(s) if not one.ended and one.asked.project == asked.project] if is_new else []
    )
    if len(at_work) >= quota.per_project and is_new:
        raise errors.Conflict(
            f"project `{asked.project}` has {len(at_work)} workspaces at work, as many as `notebooks.per_project` lets it; stop"
            f" `{at_work[0].notebook_id}`, or raise that",
            resource="notebook",
            name=asked.project,
        )


def _check_budget(s: settings.Settings, client: control.ControlClient, asked: Asked) -> None:
    """What it may cost at most has to be free in the project's budget now."""
    project = client.project(asked.project)
    needed = metering.cost(s.cost, asked.cores, asked.memory_gib, asked.hours)
    if project.monthly_budget is None:
        return
    left = project.monthly_budget - project.spent_this_month - project.reserved
    if needed > left:
        raise errors.BudgetExceeded(
            f"{asked.hours:g} hours of `{asked.project}` may cost {needed:.2f} {s.cost.currency}, and {max(left, 0):.2f} of its budget"
            " are free; ask for fewer hours or cores, or an owner for more",
            project=asked.project,
            limit_usd=project.monthly_budget,
            needed_usd=needed,
        )


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _await(s: settings.Settings, one: Workspace, pid: int) -> None:
    until = time.monotonic() + s.stack.start_timeout_seconds
    log = folder_of(s, one.notebook_id) / "log"
    while time.monotonic() < until:
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", one.port)) == 0:
                return
        if not processes.is_alive(pid):
            break
        time.sleep(_POLL_SECONDS)
    tail = "; ".join(log.read_text(errors="replace").strip().splitlines()[-3:])
    raise errors.DependencyDown(f"JupyterLab did not come up: {tail}; see {log}", name="jupyterlab")


def _is_keeper(pid: int) -> bool:
    try:
        return b"mainspring.platform.notebooks.keeper" in Path(f"/proc/{pid}/cmdline").read_bytes().split(
            b"\0"
        )
    except OSError:
        return False
