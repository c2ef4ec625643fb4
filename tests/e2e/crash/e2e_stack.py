"""The real stack without a worker, and the workers that a test starts and kills."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from mainspring.core import errors, identity, settings
from mainspring.core.client.control import ControlClient
from mainspring.core.contracts import control
from mainspring.core.contracts.training import Stage
from mainspring.platform.stack import parts, processes, stack

PROJECT = "flight-delay"


@dataclass
class World:
    """The stack without a worker, and the workers that a test starts."""

    s: settings.Settings
    developer: ControlClient
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start_worker(self) -> subprocess.Popen[bytes]:
        ready = self.s.stack.state_dir / f"worker-{len(self.workers)}.ready"
        environment = settings.child_environment(self.s, parts.worker(self.s).environment)
        with (self.s.stack.state_dir / "workers.log").open("ab") as log:
            started = subprocess.Popen(
                [sys.executable, "-m", "mainspring.workflows.worker", "--ready-file", str(ready)],
                env=environment,
                stdout=log,
                stderr=log,
            )
        self.workers.append(started)
        wait(ready.exists, 120, "a worker")
        return started

    def jobs(self, run_id: str) -> dict[str, dict[str, Any]]:
        return jobs(self.s, run_id)

    def wait_for_job(self, run_id: str) -> None:
        def runs() -> bool:
            return any(j["status"] == "RUNNING" for j in self.jobs(run_id).values())

        wait(runs, 120, "a running Ray job")

    def wait_for_end(self, run_id: str) -> control.RunView:
        ended = {Stage.DONE, Stage.FAILED, Stage.CANCELLED, Stage.REJECTED}
        wait(lambda: self.developer.run(run_id).stage in ended, 180, "the end of the run")
        return self.developer.run(run_id)


def jobs(s: settings.Settings, run_id: str) -> dict[str, dict[str, Any]]:
    """Ray's jobs of one run by submission id."""
    answer = httpx.get(
        f"{s.ray.dashboard_url}/api/jobs/",
        headers={"Authorization": f"Bearer {s.ray.token_file.read_text().strip()}"},
        timeout=30,
        trust_env=False,
    )
    mine = (j for j in answer.json() if (j["submission_id"] or "").startswith(run_id))
    return {j["submission_id"]: j for j in mine}


def wait(is_so: Callable[[], bool], seconds: float, what: str) -> None:
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until, f"waited {seconds} s for {what}"
        time.sleep(0.2)


def free_base() -> int:
    """A block of 200 ports whose first 20 nobody has now; below the ephemeral range."""
    for base in range(20_000 + os.getpid() % 50 * 200, 32_000, 200):
        with contextlib.suppress(errors.PortInUse):
            for port in range(base, base + 20):
                processes.check_port_free(port, "x")
            return base
    raise AssertionError("no free block of ports")


@contextlib.contextmanager
def running(folder: Path, *names: str) -> Iterator[World]:
    """These parts of the stack, with the project made; all ended with the block, workers first."""
    s = settings.load({"MAINSPRING_STACK_PORT_BASE": str(free_base())}, directory=folder)
    issuer = identity.ensure_token_file(s.control.tokens_file)
    made: World | None = None
    try:
        stack.up(s, [parts.PARTS[name](s) for name in names])
        with ControlClient(s.control_url, issuer.token_of("developer@local")) as developer:
            developer.create_project(control.ProjectCreate(name=PROJECT, owner="ana"))
            made = World(s, developer)
            yield made
    finally:
        for worker in made.workers if made is not None else []:
            worker.kill()
            worker.wait(30)
        stack.down(s)
