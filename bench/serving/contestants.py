"""Contestants as processes: started together, checked, held still while it is another's turn, ended by their ids."""

from __future__ import annotations

import contextlib
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from mainspring.bench.serving import compiled, forms, machine, model
from mainspring.bench.serving.peers import commands, environments

START_SECONDS: Final = 60.0
#: Ray starts a cluster.
_SLOW_START_SECONDS: Final = 150.0
_STOP_SECONDS: Final = 10.0


@dataclass(frozen=True)
class Server:
    """A contestant that runs."""

    name: str
    port: int
    grpc_port: int
    pid: int

    def port_of(self, form: forms.Form) -> int:
        """Ours that speak gRPC do so on the port they were given; peers have one for each protocol."""
        return self.grpc_port if form.body == "grpc" and self.name in commands.NAMES else self.port

    def check(self, form: forms.Form) -> tuple[bytes, str]:
        """As :func:`forms.check`."""
        return forms.check(self.port_of(form), form)

    def check_in_turn(self, form: forms.Form) -> tuple[bytes, str]:
        """The same of one that may stand still."""
        with self.turn():
            return self.check(form)

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """It runs within the block, and stands still after it if it did before."""
        stood = machine.is_stopped(self.pid)
        machine.tell(self.pid, signal.SIGCONT)
        try:
            yield
        finally:
            if stood:
                machine.hold(self.pid)


@dataclass
class Running:
    """Those that answer, and why the others do not."""

    servers: dict[str, Server] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)

    def hold_still(self) -> None:
        """Until it is their turn, so that nobody takes time from another."""
        for server in self.servers.values():
            machine.hold(server.pid)

    def __getitem__(self, name: str) -> Server:
        return self.servers[name]


@contextlib.contextmanager
def running(*names: str, cpu: int) -> Iterator[Running]:
    """The contestants, answering: started on every core, then kept on `cpu`.

    A peer that does not start is `absent`. Errors: RuntimeError if one of ours does not.
    """
    found = Running()
    with contextlib.ExitStack() as opened:
        started = {}
        ports = machine.free_ports(2 * len(names))
        for name, port, grpc_port in zip(names, ports[::2], ports[1::2], strict=True):
            folder = pathlib.Path(opened.enter_context(tempfile.TemporaryDirectory()))
            try:
                argv = _command(name, folder, port, grpc_port)
            except (environments.NotInstalled, compiled.NotBuilt) as error:
                found.absent[name] = str(error)
                continue
            one = opened.enter_context(process(argv, folder))
            started[name] = one, Server(name, port, grpc_port, one.pid), folder
        for name, (one, server, folder) in started.items():
            why = wait(one, server)
            if not why:
                machine.pin(server.pid, cpu)
                found.servers[name] = server
            elif name in commands.NAMES:
                found.absent[name] = f"{why}; its last words: {_last_words(folder)}"
            else:
                raise RuntimeError(f"`{name}` {why}: {_last_words(folder)}")
        yield found


def _command(name: str, folder: pathlib.Path, port: int, grpc_port: int) -> list[str]:
    if name in commands.NAMES:
        return commands.lay(name, folder, model.LAYERS, port=port, grpc_port=grpc_port)
    threads = ["OMP_NUM_THREADS=1", "OPENBLAS_NUM_THREADS=1"]
    argv = [sys.executable, "-m", "mainspring.bench.serving.servers", name, str(port)]
    return ["/usr/bin/env", *threads, *argv]


@contextlib.contextmanager
def process(argv: list[str], folder: pathlib.Path) -> Iterator[subprocess.Popen[bytes]]:
    """In `folder`, its words in `folder/log`. Ended with all of its family, those that stand still too."""
    with (folder / "log").open("wb") as log:
        started = subprocess.Popen(
            argv, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield started
    finally:
        family = machine.family(started.pid)
        machine.tell(started.pid, signal.SIGCONT)
        started.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            started.wait(_STOP_SECONDS)
        # A parent that went first leaves its children to init: they are ended by the ids they had.
        for pid in family:
            if pid == started.pid and started.poll() is not None:
                continue
            with contextlib.suppress(OSError):
                if pathlib.Path(f"/proc/{pid}/cwd").resolve().is_relative_to(folder) or pid == started.pid:
                    machine.tell(pid, signal.SIGKILL)
        started.wait()


def wait(process: subprocess.Popen[bytes], server: Server) -> str:
    """Until it answers rightly; what went wrong, "" if nothing."""
    seconds = _SLOW_START_SECONDS if server.name == commands.RAY else START_SECONDS
    give_up = time.monotonic() + seconds
    ready = forms.ready(server.name)
    why = "did not listen"
    while time.monotonic() < give_up:
        if process.poll() is not None:
            return f"ended with {process.returncode} before it answered"
        try:
            with socket.create_connection(("127.0.0.1", server.port), 1):
                pass
            if ready is None:
                return ""
            forms.ask(server.port_of(ready), ready)
            return ""
        except OSError as error:  # refused, or a status: peers listen before their model is there
            why = f"did not answer: {error}"
        time.sleep(0.05)
    return f"{why} within {seconds:.0f} s"


def _last_words(folder: pathlib.Path) -> str:
    lines = (folder / "log").read_text(errors="replace").strip().splitlines()
    return " / ".join(line.strip() for line in lines[-3:])[-500:]
