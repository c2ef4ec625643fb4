"""Where servers and load run, and what a process and its children used."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import socket
import time
from collections.abc import Iterator
from typing import Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")
#: Ends a process at once, whatever it is doing.
KILL: Final = signal.SIGKILL


def cores() -> tuple[int, int]:
    """A core for the server and another one for the load; -1 twice where there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    return (allowed[0], allowed[1]) if len(allowed) > 1 else (-1, -1)


@contextlib.contextmanager
def on_core(cpu: int) -> Iterator[None]:
    """What is started in this block stays on that core, all of its threads too; -1: anywhere."""
    before = os.sched_getaffinity(0)
    if cpu >= 0:
        os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def family(pid: int) -> list[int]:
    """A process and everything that descends from it, itself first; empty if it has ended."""
    found = []
    with contextlib.suppress(OSError):
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
        return [pid, *(one for child in found for one in family(child))]
    return []


def pin(pid: int, cpu: int) -> None:
    """Every thread of the family stays on that core from now on, and so do those that they start; -1: no change."""
    if cpu < 0:
        return
    for one in family(pid):
        with contextlib.suppress(OSError):  # it may end meanwhile
            for task in pathlib.Path(f"/proc/{one}/task").iterdir():
                os.sched_setaffinity(int(task.name), {cpu})


def tell(pid: int, what: signal.Signals) -> None:
    """A signal for the whole family."""
    for one in family(pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, what)


def hold(pid: int) -> None:
    """The family stands still on return, until it is told SIGCONT."""
    tell(pid, signal.SIGSTOP)
    for one in family(pid):
        give_up = time.monotonic() + 1
        with contextlib.suppress(OSError):
            while not is_stopped(one) and time.monotonic() < give_up:
                time.sleep(0.0005)


def is_stopped(pid: int) -> bool:
    """Whether the process stands still by a signal."""
    state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state in "Tt"


def cpu_seconds(pid: int) -> float:
    """User and system time of the family so far, in steps of 10 ms."""
    ticks = 0
    for one in family(pid):
        with contextlib.suppress(OSError):
            fields = pathlib.Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS


def resident_mb(pid: int) -> float:
    """Resident memory of the family in megabytes; what its processes share is counted once."""
    found = family(pid)
    if len(found) <= 1:
        pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    kilobytes = 0
    for one in found:
        with contextlib.suppress(OSError):
            lines = pathlib.Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
            kilobytes += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kilobytes * 1024 / 1e6


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, all different."""
    with contextlib.ExitStack() as held:
        taken = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(s.getsockname()[1]) for s in taken]
