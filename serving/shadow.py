"""The shadow: one more bundle that is asked what was answered, and how far its scores are from the stable ones.

It costs its caller nothing but a place in a line. One thread works it off, at most one core; what finds the line full, of
requests or of rows, is skipped and counted.
"""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mainspring.core.contracts import deployment
from mainspring.serving import stats, traffic

_LOG: Final = logging.getLogger("mainspring.serving")

#: Requests and rows that may wait; the rows bound what memory the waiting columns take.
MAX_BACKLOG: Final = 256
MAX_BACKLOG_ROWS: Final = 65_536


class Shadow:
    """Asks shadows after the caller was answered. Thread-safe."""

    def __init__(self, book: stats.StatsBook) -> None:
        self._book = book
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="shadow")
        self._lock = threading.Lock()
        self._waiting = self._waiting_rows = 0

    def close(self) -> None:
        """Wait for the backlog and end the thread."""
        self._thread.shutdown(wait=True)

    def send(
        self,
        table: deployment.TrafficTable,
        answered: NDArray[np.float32],
        role: str,
        ask: Callable[[], NDArray[np.float32]],
    ) -> None:
        """Have `ask` score, soon, what `role` answered with the scores (n,). Never waits, never raises.

        Differences are recorded from what the stable bundle answered: a canary's would be of neither.
        """
        if table.shadow is None:
            return
        where = (table.endpoint, table.version, table.shadow, traffic.SHADOW)
        rows = len(answered)
        with self._lock:
            has_room = self._waiting < MAX_BACKLOG and self._waiting_rows + rows <= MAX_BACKLOG_ROWS
            if has_room:
                self._waiting += 1
                self._waiting_rows += rows
        if not has_room:
            self._book.record_skipped(*where)
            return

        def work() -> None:
            try:
                scores = ask()
                if role == traffic.STABLE:
                    self._book.record_differences(
                        *where, np.abs(np.subtract(scores, answered, dtype=np.float64))
                    )
            except Exception as error:  # noqa: BLE001 - the edge of the shadow's thread: nobody waits for its answer
                _LOG.warning("shadow of `%s` failed: %s", table.endpoint, error)
            finally:
                with self._lock:
                    self._waiting -= 1
                    self._waiting_rows -= rows

        # With the request's id and caller, for the records.
        self._thread.submit(_in_context(contextvars.copy_context(), work))


def _in_context(context: contextvars.Context, work: Callable[[], Any]) -> Callable[[], Any]:
    return lambda: context.run(work)
