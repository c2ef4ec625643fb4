"""The real stack, part by part: each can be killed with kill -9 and started again, and there are always workers enough."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import e2e_stack
from crash_boundaries import Boundaries

from mainspring.core import errors, identity, ids, settings
from mainspring.core.client.control import ControlClient
from mainspring.core.contracts import control
from mainspring.platform.stack import parts, processes

PROJECT = e2e_stack.PROJECT
DISK = "disk"


@dataclasses.dataclass
class Server:
    """One part of the stack, in processes of its own mark."""

    part: parts.Part
    mark: str
    log: Path
    environment: dict[str, str]

    def start(self) -> None:
        """Until it answers."""
        self.wait(self.begin(), 90)

    def begin(self) -> int:
        """Its pid."""
        for port, setting in self.part.ports.items():
            processes.await_port_free(port, setting, is_ending=True)
        return processes.start(self.part.argv, environment=self.environment, log=self.log)

    def wait(self, pid: int, seconds: float) -> None:
        """Until it answers; one that ends by itself before is started as often as the stack does it."""
        for left in reversed(range(self.part.starts)):
            e2e_stack.wait(functools.partial(self._is_decided, pid), seconds, f"{self.part.name} to answer")
            if processes.is_alive(pid):
                return
            if left:
                pid = self.begin()
        raise AssertionError(f"{self.part.name} ended while starting, see {self.log}")

    def _is_decided(self, pid: int) -> bool:
        return self.part.is_ready() or not processes.is_alive(pid)

    def kill(self) -> float:
        """kill -9 of every process of it, Ray's jobs on this node included. When the last was gone, Unix seconds."""
        seen: set[int] = set()
        # A process that ends shows its mark no more, and holds its ports still.
        while alive := {pid for pid in seen | set(processes.marked(self.mark)) if processes.is_alive(pid)}:
            seen |= alive
            for pid in alive:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.005)
        return time.time()


@dataclasses.dataclass
class Disk:
    """The folder where runs have their files, on a small file system of its own that can be full."""

    folder: Path
    boundaries: Boundaries
    megabytes: int = 512
    seen: int = 0

    def mount(self) -> bool:
        """False where this process may not."""
        self.folder.mkdir(parents=True, exist_ok=True)
        size = f"size={self.megabytes}m"
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(self.folder)], capture_output=True
        )
        return done.returncode == 0

    def unmount(self) -> None:
        subprocess.run(["umount", "-l", str(self.folder)], check=True)

    def kill(self) -> float:
        """Not a byte is free any more. Unix seconds."""
        with contextlib.suppress(OSError), self._ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 20))
        with contextlib.suppress(OSError), self._ballast.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(512))
        self.seen = len(self.boundaries.trace())
        return time.time()

    def start(self) -> None:
        """Room again, once a step was seen to fail for want of it, or to need none."""
        e2e_stack.wait(lambda: len(self.boundaries.trace()) > self.seen, 120, "a step on the full disk")
        self._ballast.unlink()

    @property
    def _ballast(self) -> Path:
        return self.folder / "ballast"


@dataclasses.dataclass
class World:
    s: settings.Settings
    boundaries: Boundaries
    servers: dict[str, Server | Disk]
    developer: ControlClient
    workers: list[int] = dataclasses.field(default_factory=list)
    """Pids."""
    started: int = 0
    nursery: subprocess.Popen[bytes] | None = None

    def start_worker(self) -> None:
        """Until it polls."""
        ready = self.s.stack.state_dir / f"worker-{self.started}.ready"
        ready.unlink(missing_ok=True)
        self.started += 1
        nursery = self.nursery or self._open_nursery()
        assert nursery.stdin is not None
        nursery.stdin.write(f"{ready}\n".encode())
        nursery.stdin.flush()
        e2e_stack.wait(ready.exists, 90, "a worker")
        self.workers.append(int(ready.read_text()))

    def _open_nursery(self) -> subprocess.Popen[bytes]:
        program = str(Path(__file__).with_name("crash_worker.py"))
        with (self.s.stack.state_dir / "logs" / "workers.log").open("ab") as log:
            self.nursery = subprocess.Popen(
                [sys.executable, program, str(self.boundaries.folder)],
                env=settings.child_environment(self.s, parts.worker(self.s).environment),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )
        return self.nursery

    def keep_workers(self, count: int) -> int:
        """Replace the dead; how many they were. Those that are started are ready."""
        living = [pid for pid in self.workers if processes.is_alive(pid)]
        dead = len(self.workers) - len(living)
        self.workers = living
        while len(self.workers) < count:
            self.start_worker()
        return dead

    def close(self) -> None:
        """End the workers."""
        for pid in self.workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.nursery is not None:
            assert self.nursery.stdin is not None
            self.nursery.stdin.close()
            self.nursery.wait(30)


@contextlib.contextmanager
def running(folder: Path, *names: str, hold: bool = False) -> Iterator[World]:
    """These parts of the stack over the state in `folder`, without a worker; all ended with the block. `hold`: what the
    control API starts waits in a queue that no worker polls."""
    s = settings.load({"MAINSPRING_STACK_PORT_BASE": str(e2e_stack.free_base())}, directory=folder)
    issuer = identity.ensure_token_file(s.control.tokens_file)
    mark = ids.new_id("stack")
    servers: dict[str, Server] = {}
    pids: dict[str, int] = {}
    made: World | None = None
    boundaries = Boundaries(s.stack.state_dir / "boundaries")
    disk = Disk(s.stack.state_dir / "projects", boundaries)
    has_disk = "ray" in names and disk.mount()
    try:
        for name in names:
            part = parts.PARTS[name](s)
            part.prepare()
            marked = {**part.environment, processes.MARKER: f"{mark}-{name}"}
            if hold and name == "control":
                marked["MAINSPRING_WORKFLOW_TASK_QUEUE"] = "held"
            log = s.stack.state_dir / "logs" / f"{name}.log"
            servers[name] = Server(part, marked[processes.MARKER], log, settings.child_environment(s, marked))
            pids[name] = servers[name].begin()
        for name, server in servers.items():
            server.wait(pids[name], 120)
        with ControlClient(s.control_url, issuer.token_of("developer@local")) as developer:
            with contextlib.suppress(errors.Conflict):
                developer.create_project(control.ProjectCreate(name=PROJECT, owner="ana"))
            made = World(s, boundaries, {**servers, **({DISK: disk} if has_disk else {})}, developer)
            yield made
    finally:
        if made is not None:
            made.close()
        for server in servers.values():
            server.kill()
        if has_disk:
            disk.unmount()
