"""Packed weights change hands: a broker in the supervisor keeps sealed memory for as long as a process holds a lease on it.

A process connects, names what it packed, and is given a file of sealed memory, or told that there is none and gives its own.
The connection is the lease: it ends when the model goes or the process dies, and the memory with the last of them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from mainspring.core import errors

_LOG: Final = logging.getLogger("mainspring.serving")

#: In the folder that the processes share.
SOCKET: Final = "weights.sock"

_NAME: Final = re.compile(rb"[0-9a-f]{64}")
_HAVE: Final = b"have"
_NONE: Final = b"none"
_MOST_FILES: Final = 4
_UCRED: Final = struct.Struct("3i")

#: The broker answers in microseconds; where it does not, a process goes on with memory of its own.
_TIMEOUT_SECONDS: Final = 5.0


@dataclass
class _Kept:
    """Sealed memory and who holds it."""

    fd: int
    holders: set[socket.socket] = field(default_factory=set)


class Broker:
    """One thread; what it keeps is touched by no other. Usable as a context manager."""

    def __init__(self, folder: Path) -> None:
        """`folder` is open to this user alone. Errors: OSError if its socket cannot be made."""
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._listener.bind(str(folder / SOCKET))
            self._listener.listen(1024)
            self._listener.setblocking(False)
        except OSError:
            self._listener.close()
            raise
        self._stop, self._stopping = os.pipe()
        self._kept: dict[bytes, _Kept] = {}
        self._names: dict[socket.socket, bytes | None] = {}
        self._thread = threading.Thread(target=self._run, name="weights", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.write(self._stopping, b"x")
        self._thread.join()
        os.close(self._stop)
        os.close(self._stopping)

    def _run(self) -> None:
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self._stop, selectors.EVENT_READ)
                selector.register(self._listener, selectors.EVENT_READ)
                self._serve(selector)
        except Exception:  # noqa: BLE001 - the thread's edge: processes go on with memory of their own
            _LOG.exception("weights are not shared any more")
        finally:
            # Closed, so that whoever asks is told at once.
            self._listener.close()
            for connection in list(self._names):
                self._drop(connection)

    def _serve(self, selector: selectors.BaseSelector) -> None:
        while True:
            for ready, _ in selector.select():
                if ready.fd == self._stop:
                    return
                if ready.fileobj is self._listener:
                    self._accept(selector)
                elif isinstance(ready.fileobj, socket.socket) and not self._answer(ready.fileobj):
                    selector.unregister(ready.fileobj)
                    self._drop(ready.fileobj)

    def _accept(self, selector: selectors.BaseSelector) -> None:
        try:
            connection, _ = self._listener.accept()
        except (
            OSError
        ) as error:  # no more files: who waits goes on by itself, and files come back as models go
            _LOG.error("a process cannot share weights: %s", error)
            time.sleep(0.05)
            return
        if _user_of(connection) != os.geteuid():
            connection.close()
            return
        connection.setblocking(False)
        self._names[connection] = None
        selector.register(connection, selectors.EVENT_READ)

    def _answer(self, connection: socket.socket) -> bool:
        """Whether the connection stays."""
        try:
            name, files = _received(connection)
        except BlockingIOError:
            return True
        except OSError:
            return False
        with _closing(files):
            if not _NAME.fullmatch(name) or len(files) > 1 or self._names[connection] not in (None, name):
                return False
            kept = self._kept.get(name)
            if kept is None and files:
                kept = self._kept[name] = _Kept(os.dup(files[0]))
            if kept is not None:  # and of two that packed it at once the first one's
                kept.holders.add(connection)
                self._names[connection] = name
            try:
                if kept is None:
                    connection.send(_NONE)
                else:
                    socket.send_fds(connection, [_HAVE], [kept.fd])
            except OSError:
                return False
        return True

    def _drop(self, connection: socket.socket) -> None:
        connection.close()
        name = self._names.pop(connection)
        if name is None:
            return
        kept = self._kept[name]
        kept.holders.discard(connection)
        if not kept.holders:
            os.close(kept.fd)
            del self._kept[name]


class Lease:
    """A `core.models.packed.Lease`: the file, and the connection that keeps it."""

    def __init__(self, fd: int, connection: socket.socket) -> None:
        self.fd: Final = fd
        self._connection = connection

    def close(self) -> None:
        """Once."""
        os.close(self.fd)
        self._connection.close()


class Exchange:
    """A process's side; a `core.models.packed.Exchange`. Thread-safe: each question has its own connection."""

    def __init__(self, folder: Path) -> None:
        self._path = str(folder / SOCKET)

    def take(self, name: str, make: Callable[[], int]) -> Lease:
        """Errors: DependencyDown if the supervisor does not answer; those of `make`."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            connection.settimeout(_TIMEOUT_SECONDS)
            connection.connect(self._path)
            if _user_of(connection) != os.geteuid():
                raise OSError("another user answers on its socket")
            fd = _asked(connection, name, [])
            if fd is None:
                own = make()
                with _closing([own]):
                    fd = _asked(connection, name, [own])
            if fd is None:
                raise OSError("it did not keep what it was given")
            return Lease(fd, connection)
        except OSError as error:
            connection.close()
            raise errors.DependencyDown(
                f"the supervisor does not share weights ({error}); each process has its own until its bundles are loaded again",
                name="weights",
            ) from error
        except BaseException:
            connection.close()
            raise


def _asked(connection: socket.socket, name: str, files: list[int]) -> int | None:
    """The file that the broker has by that name now. Errors: OSError."""
    socket.send_fds(connection, [name.encode()], files)
    said, received = _received(connection)
    if said == _HAVE and len(received) == 1:
        return received[0]
    with _closing(received):
        if said == _NONE:
            return None
    raise OSError("it gave no answer")


def _received(connection: socket.socket) -> tuple[bytes, list[int]]:
    """One packet, b"" at the end, and its files, which are the caller's. Errors: OSError."""
    data, files, flags, _ = socket.recv_fds(connection, 128, _MOST_FILES, socket.MSG_CMSG_CLOEXEC)
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        with _closing(files):
            raise OSError("a packet that is too long")
    return data, files


def _user_of(connection: socket.socket) -> int:
    """Who is at the other end."""
    _, user, _ = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return int(user)


@contextlib.contextmanager
def _closing(files: list[int]) -> Iterator[None]:
    try:
        yield
    finally:
        for file in files:
            os.close(file)
