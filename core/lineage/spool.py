"""Lines in a file of bounded size, for several processes: what could not be sent yet, in order."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

__all__ = ["Lines"]


class Lines:
    """A file of lines. Threads and processes take turns by a lock on the file; nothing is created before it is needed."""

    def __init__(self, path: Path, *, max_bytes: int) -> None:
        self._path, self._max_bytes = path, max_bytes

    def append(self, line: bytes) -> bool:
        """On disk when it returns; False, and nothing is written, if the file would be longer than it may be.

        Errors: OSError if the disk refuses.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._locked("ab") as file:
            if os.fstat(file.fileno()).st_size + len(line) + 1 > self._max_bytes:
                return False
            file.write(line + b"\n")
            file.flush()
            os.fsync(file.fileno())
        return True

    def take(self, use: Callable[[bytes], bool]) -> int:
        """Give the lines to `use`, oldest first, as long as it answers True; they are gone then. Returns how many were.

        Others wait meanwhile. What `use` raises leaves the line where it is; so does a crash, and then a line may be
        used again. Errors: OSError.
        """
        if not self._path.exists():
            return 0
        with self._locked("r+b") as file:
            lines = file.read().split(b"\n")
            # A last line without its end was torn by a crash: nobody was told that it is kept.
            whole, used = lines[:-1], 0
            try:
                for line in whole:
                    if not use(line):
                        break
                    used += 1
            finally:
                if used or lines[-1]:
                    rest = b"".join(line + b"\n" for line in whole[used:])
                    file.seek(0)
                    file.write(rest)
                    file.truncate(len(rest))
                    file.flush()
                    os.fsync(file.fileno())
        return used

    @contextlib.contextmanager
    def _locked(self, mode: str) -> Iterator[IO[bytes]]:
        with self._path.open(mode) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file
