"""Starts the processes, starts what dies anew, and stops them all. It answers no request and imports little."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType
from typing import Final

from mainspring.core import errors
from mainspring.serving.processes import part, weights

_LOG: Final = logging.getLogger("mainspring.serving")

#: A process that ends by itself so soon after its first start says something that starting it again does not mend.
_START_SECONDS: Final = 30.0
#: Pauses before a process is started again: the first, and the longest of one that dies again and again.
_PAUSE_SECONDS: Final = (0.05, 5.0)
_STOP_SECONDS: Final = 20.0
_POLL_SECONDS: Final = 0.05


class _Child:
    """One place among the processes, and who has it now."""

    def __init__(self, told: part.Part) -> None:
        self.part = told
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0
        self._began = 0.0
        self._pause = _PAUSE_SECONDS[0]
        self._not_before = 0.0

    def start(self) -> None:
        self.starts += 1
        self._began = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mainspring.serving", *self.part.arguments()], pass_fds=self.part.inherited
        )

    def ended(self) -> int | None:
        """The code of a process that is no more; it is then nobody's."""
        code = None if self.process is None else self.process.poll()
        if code is not None:
            lived = time.monotonic() - self._began
            self._pause = _PAUSE_SECONDS[0] if lived > 60 else min(2 * self._pause, _PAUSE_SECONDS[1])
            self._not_before = time.monotonic() + self._pause
            self.process = None
        return code

    @property
    def may_start(self) -> bool:
        return self.process is None and time.monotonic() >= self._not_before

    @property
    def is_hopeless(self) -> bool:
        """Whether one that ended by itself did so in its first start."""
        return self.starts == 1 and time.monotonic() - self._began < _START_SECONDS


class Supervisor:
    """Runs in the main thread, which gets the signals."""

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        processes: int,
        *,
        beside: Callable[[Path], AbstractContextManager[object]] | None = None,
    ) -> None:
        """`listeners` of the port, which the caller closes; `beside`, given the shared folder, has more followers than these
        `processes` and is entered once the writer answers.
        """
        self._beside = beside
        self._listeners = listeners
        self._count = processes
        self._children: list[_Child] = []
        self._stopping = False

    def run(self) -> int:
        """Until a signal, or until a process cannot start at all; its code then, else 0."""
        self._take_signals()
        folder = Path(tempfile.mkdtemp(prefix="mainspring-"))
        lifeline, end = os.pipe()
        try:
            with socket.socket(socket.AF_UNIX) as writer:
                writer.bind(str(folder / part.WRITER_SOCKET))
                writer.listen(1024)
                numbers = tuple(one.fileno() for one in self._listeners)
                parts = [part.Part(i, folder, numbers, writer.fileno(), lifeline) for i in range(self._count)]
                self._children = [_Child(told) for told in parts]
                try:
                    with weights.Broker(folder), contextlib.ExitStack() as followers:
                        return self._watch(folder, followers)
                finally:
                    self._stop_all()
        finally:
            os.close(lifeline)
            os.close(end)
            shutil.rmtree(folder, ignore_errors=True)

    def _watch(self, folder: Path, followers: contextlib.ExitStack) -> int:
        answers = False
        while not self._stopping:
            for child in self._children:
                code = child.ended()
                if code is not None:
                    _LOG.warning("process %d ended with %d", child.part.index, code)
                    if code > 0 and child.is_hopeless:
                        return code
                if child.may_start and (answers or not child.part.follows):
                    child.start()
            # Followers want the views that the writer makes of its bundles.
            if not answers and _answers(folder / part.WRITER_SOCKET):
                answers = True
                if self._beside is not None:
                    followers.enter_context(self._beside(folder))
                    self._take_signals()  # Ray has its own handlers
            time.sleep(_POLL_SECONDS)
        return 0

    def _take_signals(self) -> None:
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)

    def _stop(self, signum: int, frame: FrameType | None) -> None:
        self._stopping = True

    def _stop_all(self) -> None:
        """Followers first: what they pass on ends while the writer is there."""
        for follows in (True, False):
            running = [
                c.process for c in self._children if c.process is not None and c.part.follows is follows
            ]
            for process in running:
                process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + _STOP_SECONDS
            for process in running:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, deadline - time.monotonic()))
                if process.poll() is None:
                    process.kill()
                    process.wait()


def check(processes: int, *, has_tls: bool) -> None:
    """Errors: InvalidSettings for what several processes cannot do."""
    if processes > 1 and has_tls:
        raise errors.InvalidSettings(
            "`serving.processes` above 1 speaks no TLS; put a proxy that does before it, or serve by one process",
            problems=("serving.processes", "serving.tls_certificate"),
        )


def _answers(path: Path) -> bool:
    """Whether the writer answers a probe; waits for a moment at most."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(0.5)
        try:
            probe.connect(str(path))
            probe.sendall(b"GET /v2/health/live HTTP/1.1\r\nhost: writer\r\nconnection: close\r\n\r\n")
            return probe.recv(64).startswith(b"HTTP/1.1 200")
        except OSError:
            return False
