"""`python -m mainspring.platform.notebooks.keeper ID PACKAGES`: runs one workspace's JupyterLab, and ends it when it is time.

It is over when its time is, when nobody has done anything for `idle_minutes`, when its budget is spent (`spending.py`), when it is told to
stop (SIGTERM), or when JupyterLab ends by itself. Processes of the workspace have the cores that it was given; of those that take more memory than it was given the
largest kernel goes. At its start, every ten minutes and at its end what it cost goes to the control API, which puts it on record.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx

from mainspring.core import errors, settings
from mainspring.core.contracts import base, notebooks
from mainspring.platform.notebooks import environment, metering, spending, workspaces
from mainspring.platform.stack import processes

__all__ = ["main", "reason", "too_large"]

LOOK_SECONDS: Final = 1.0
METER_SECONDS: Final = 600.0
_GRACE_SECONDS: Final = 10.0
_TOLD_SECONDS: Final = 5.0
_PR_SET_PDEATHSIG: Final = 1
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


def main(words: list[str]) -> int:
    notebook_id, packages = words[0], Path(words[1])
    s = settings.load()
    one = workspaces.find(s, notebook_id)
    told_to_stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told_to_stop.set())
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[: one.asked.cores]))
    jupyter = _started(s, one, packages)
    why, metered, money = "", one.started_at, spending.Spending(s, one)
    try:
        _meter(s, one, metered, metered)
        while not why:
            told_to_stop.wait(LOOK_SECONDS)
            one, now = workspaces.find(s, notebook_id), base.utc_now()
            _mind_memory(one, jupyter.pid)
            if jupyter.poll() is not None:
                why = f"JupyterLab ended with {jupyter.returncode}"
            elif told_to_stop.is_set():
                why = "stopped"
            else:
                why = reason(one, now, _active_at(s, one)) or money.look(one, metered, now)
            if (now - metered).total_seconds() >= METER_SECONDS:
                metered = _meter(s, one, metered, now)
    finally:
        _end(jupyter)
        # Kernels are in sessions of their own.
        for pid in processes.marked(notebook_id):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _meter(s, one, metered, base.utc_now())
        done = workspaces.finish(s, workspaces.find(s, notebook_id), why or "its keeper failed; see its log")
        _record_end(s, done)
    return 0


def reason(one: workspaces.Workspace, now: datetime, active_at: datetime | None) -> str:
    """Why it is to end now; empty: it is not. `active_at`: when somebody did something last; None: nobody can say."""
    if now >= one.ends_at:
        return "its time is over"
    if active_at is not None and now - max(active_at, one.started_at) >= timedelta(minutes=one.idle_minutes):
        return f"nobody did anything for {one.idle_minutes:g} minutes"
    return ""


def too_large(sizes: dict[int, int], server: int, most: int) -> int | None:
    """The process that has to go, by resident bytes of each: the largest beside JupyterLab itself; None: they fit."""
    others = {pid: size for pid, size in sizes.items() if pid != server}
    return max(others, key=lambda pid: others[pid]) if others and sum(sizes.values()) > most else None


def _started(s: settings.Settings, one: workspaces.Workspace, packages: Path) -> subprocess.Popen[bytes]:
    folder = workspaces.folder_of(s, one.notebook_id)
    told = settings.child_environment(
        s,
        {
            **environment.variables(packages, folder / "runtime"),
            processes.MARKER: one.notebook_id,
            "JUPYTER_TOKEN": (folder / "token").read_text(),  # not in the list of processes
        },
    )
    options = {
        "ip": "127.0.0.1",
        "port": one.port,
        "port_retries": 0,
        "open_browser": False,
        "root_dir": folder / "work",
        "allow_root": True,
        "allow_remote_access": False,
        "quit_button": False,
    }
    argv = [str(folder / "env" / "bin" / "python"), "-m", "jupyterlab"]
    argv += [f"--ServerApp.{name}={value}" for name, value in options.items()]
    return subprocess.Popen(argv, env=told, cwd=folder / "work", preexec_fn=_die_with_parent)


def _die_with_parent() -> None:
    """Whatever becomes of the keeper: without it nobody would end what it started."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _active_at(s: settings.Settings, one: workspaces.Workspace) -> datetime | None:
    """The later of what a person and what a kernel did; a kernel that computes is not idle."""
    token = (workspaces.folder_of(s, one.notebook_id) / "token").read_text()
    try:
        with httpx.Client(
            base_url=f"http://127.0.0.1:{one.port}",
            headers={"Authorization": f"token {token}"},
            timeout=5.0,
            trust_env=False,
        ) as client:
            status = client.get("/api/status").raise_for_status().json()
            kernels = client.get("/api/kernels").raise_for_status().json()
    except (httpx.HTTPError, ValueError):
        return None
    return latest(status, kernels, base.utc_now())


def latest(status: dict[str, Any], kernels: list[dict[str, Any]], now: datetime) -> datetime:
    if any(kernel.get("execution_state") == "busy" for kernel in kernels):
        return now
    told = [str(status.get("started", "")), *(str(kernel.get("last_activity", "")) for kernel in kernels)]
    told.append(str(status.get("last_activity", "")))
    return max(datetime.fromisoformat(at) for at in told if at)


def _mind_memory(one: workspaces.Workspace, server: int) -> None:
    sizes = {pid: _resident(pid) for pid in processes.marked(one.notebook_id)}
    pid = too_large(sizes, server, int(one.asked.memory_gib * (1 << 30)))
    if pid is not None:
        print(
            f"process {pid} goes: it has {sizes[pid] >> 20} MiB, and all have more than they may", flush=True
        )
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError):
        return 0


def _meter(s: settings.Settings, one: workspaces.Workspace, since: datetime, until: datetime) -> datetime:
    folder, asked = workspaces.folder_of(s, one.notebook_id), one.asked
    who = f"{one.notebook_id}:{asked.actor}"
    metering.note(folder, who, asked.project, asked.cores, asked.memory_gib, since, until)
    try:
        with spending.as_service(s, _TOLD_SECONDS) as client:
            metering.settle(folder, client)
    except errors.MainspringError as error:
        print(f"what it cost was not received: {error.message}", flush=True)
    return until


def _record_end(s: settings.Settings, done: workspaces.Workspace) -> None:
    """What is not received is in the log of the keeper, and in `workspace.json`."""
    try:
        with spending.as_service(s, _TOLD_SECONDS) as client:
            ended = notebooks.NotebookEnd(notebook_id=done.notebook_id, reason=done.ended[:500])
            client.end_notebook(done.asked.project, ended)
    except errors.MainspringError as error:
        print(f"that it ended was not received: {error.message}", flush=True)


def _end(jupyter: subprocess.Popen[bytes]) -> None:
    jupyter.terminate()
    try:
        jupyter.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        jupyter.kill()
        jupyter.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
