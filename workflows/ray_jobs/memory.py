"""Memory over time: how many bytes processes held, for how long.

Counted are pages that are a process's own. What it shares, such as mapped files and Ray's store of objects, is the
machine's and no process's: counted by each, it would be paid many times.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

__all__ = ["Held", "own_bytes"]

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


class Held:
    """Byte-seconds of what `bytes_now` says since this was made. Thread-safe.

    Between two looks it is taken for the mean of both: what came and went between them is not seen.
    """

    def __init__(
        self, bytes_now: Callable[[], int] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`bytes_now` None: this process's own."""
        self._bytes_now, self._clock = bytes_now or (lambda: own_bytes("self")), clock
        self._turn = threading.Lock()
        self._total = 0.0
        self._last, self._at = self._bytes_now(), clock()

    def look(self) -> int:
        """What is held now, in bytes."""
        with self._turn:
            held, now = self._bytes_now(), self._clock()
            self._total += (self._last + held) / 2 * (now - self._at)
            self._last, self._at = held, now
            return held

    def byte_seconds(self) -> int:
        """So far, after a look; never less than before."""
        self.look()
        return round(self._total)


def own_bytes(pid: int | str) -> int:
    """Of one process; 0 once it has ended."""
    try:
        _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_text().split()
    except (OSError, ValueError):
        return 0
    return (int(resident) - int(shared)) * _PAGE_BYTES
