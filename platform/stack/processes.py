"""Start detached processes, find every one of a stack again, and end exactly those.

A stack's processes carry MAINSPRING_STACK_ID in their environment, and children inherit it. Servers that fork, set
sessions of their own or lose their parent (Ray does all three) are found by it all the same, those that write over
their environment by their parents, and nobody else's process is ever signalled.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from mainspring.core import errors

MARKER: Final = "MAINSPRING_STACK_ID"
_POLL_SECONDS: Final = 0.05


def start(argv: Sequence[str], *, environment: Mapping[str, str], log: Path) -> int:
    """Start one process in a session of its own, output appended to `log`; returns its pid.

    argv[0] is a path. The process outlives its starter, so it is no `Popen`, whose owner must wait for it.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    return os.posix_spawn(
        argv[0],
        list(argv),
        dict(environment),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )


def marked(stack_id: str) -> list[int]:
    """Pids of every living process of a stack, ours excepted: those that carry the marker, and their descendants.

    A program that writes a title over its command line (Ray's agent does) may write over its environment too.
    """
    needle = f"{MARKER}={stack_id}".encode()
    carriers, parents = set(), {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        # A process may end, or belong to somebody else, between the listing and the read.
        with contextlib.suppress(OSError):
            if _is_zombie(entry):
                continue
            parents[int(entry.name)] = int(_stat(entry)[1])
            if needle in (entry / "environ").read_bytes().split(b"\0"):
                carriers.add(int(entry.name))
    found = set(carriers)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found)


def _stat(entry: Path) -> list[str]:
    # The fields from the state on follow the command name, which is in parentheses and may itself hold spaces.
    return (entry / "stat").read_text().rpartition(")")[2].split()


def _is_zombie(entry: Path) -> bool:
    fields = _stat(entry)
    # A killed process's first thread may be done before the others are, which hold its ports as long as they last.
    return fields[0] == "Z" and int(fields[17]) <= 1


def is_alive(pid: int) -> bool:
    """True while the process runs; reaps it when it was our child and has ended."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    try:
        return not _is_zombie(Path(f"/proc/{pid}"))
    except OSError:
        return False


def end(
    stack_id: str, *, first: Sequence[int] = (), grace_seconds: float = 15.0, rest_seconds: float = 3.0
) -> int:
    """Ask every process of a stack to stop, `first` before the others, then insist. Returns how many there were.

    `first` may take `grace_seconds` to finish what it holds; the others get `rest_seconds`.
    Errors: InvariantViolated if some are still there after SIGKILL.
    """
    seen = set(marked(stack_id))
    _signal(stack_id, set(first), signal.SIGTERM, seen)
    _await_end(stack_id, set(first), grace_seconds, seen)
    _signal(stack_id, None, signal.SIGTERM, seen)
    _await_end(stack_id, None, rest_seconds, seen)
    _signal(stack_id, None, signal.SIGKILL, seen)
    if left := _await_end(stack_id, None, 10.0, seen):
        raise errors.InvariantViolated(
            f"processes {left} of the stack are still there after SIGKILL; end them by hand",
            where="platform.stack.processes.end",
        )
    return len(seen)


def _signal(stack_id: str, group: set[int] | None, number: signal.Signals, seen: set[int]) -> None:
    seen.update(marked(stack_id))
    # Whoever was found once, too: without its parent a process with a title is not found again.
    for pid in sorted(seen):
        if (group is None or pid in group) and is_alive(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def _await_end(stack_id: str, group: set[int] | None, seconds: float, seen: set[int]) -> list[int]:
    """Wait until none is left for two looks in a row.

    A process that is just executing shows no environment, so one look may miss it; a process that is ending shows
    none either while it still holds its ports, so those once seen are asked for by pid.
    """
    deadline = time.monotonic() + seconds
    looks_without = 0
    while True:
        seen.update(marked(stack_id))
        left = sorted(pid for pid in seen if (group is None or pid in group) and is_alive(pid))
        looks_without = 0 if left else looks_without + 1
        if looks_without == 2 or time.monotonic() >= deadline:
            return left
        time.sleep(_POLL_SECONDS)


def await_port_free(port: int, setting: str, *, seconds: float = 65.0, is_ending: bool = False) -> None:
    """Wait while nobody listens on a port that is taken all the same: connections of a server that has just ended
    linger for a minute. Errors: PortInUse, at once where somebody listens, but of whom it is known that he `is_ending`.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return check_port_free(port, setting)
        except errors.PortInUse:
            with socket.socket() as probe:
                is_heard = probe.connect_ex(("127.0.0.1", port)) == 0
            if (is_heard and not is_ending) or time.monotonic() >= deadline:
                raise
        time.sleep(4 * _POLL_SECONDS)


def check_port_free(port: int, setting: str) -> None:
    """Errors: PortInUse, naming the setting that chooses another port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise errors.PortInUse(
                f"port {port} is taken; stop what listens there or set `{setting}` to another one",
                port=port,
                setting=setting,
            ) from error
