"""The slow, obvious truth about batching, in one thread and with the clock passed in. The specification of `batcher.py`.

States of a request: writing -> waiting -> running -> done | failed; abandoned from writing; expired, rejected and
cancelled from waiting; cancelled from running too, whose output is then dropped. A final state never changes.
A batch is open, sealed (no more requests), taken, answered; its place is free when it was answered and nobody looks at
its rows, whether or not the answers are read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mainspring.native import status

__all__ = ["ReferenceBatch", "ReferenceBatcher", "ReferenceRequest"]


@dataclass(eq=False)
class ReferenceRequest:
    """One request. `rows` are its values; `value` the answer: rows of the output, an exception, or None."""

    rows: list[Any]
    arrival_ns: int
    deadline_ns: int | None
    state: str = "writing"
    value: Any = None


@dataclass(eq=False)
class ReferenceBatch:
    """Requests that are computed together."""

    priority: int
    requests: list[ReferenceRequest] = field(default_factory=list)
    is_answered: bool = False
    is_looked_at: bool = False

    @property
    def rows(self) -> list[Any]:
        """What is computed: the rows of the requests that were running when it was taken, in order."""
        return [row for r in self.running for row in r.rows]

    running: list[ReferenceRequest] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        """Whether its place is free."""
        return self.is_answered and not self.is_looked_at


class ReferenceBatcher:
    """As `Batcher` with `adaptive=False`, polled. Not thread-safe."""

    def __init__(self, *, max_rows: int, depth: int, priorities: int = 1, aging_ns: int = 10_000_000) -> None:
        self._max_rows = max_rows
        self._depth = depth
        self._aging_ns = aging_ns
        # Of each priority: the batches under way, the oldest first; the last may be open, `_taken` of them are taken.
        self._batches: list[list[ReferenceBatch]] = [[ReferenceBatch(p)] for p in range(priorities)]
        self._taken = [0] * priorities
        self._is_closed = False
        self._is_rejecting = False

    def reserve(
        self, rows: list[Any], *, arrival_ns: int, priority: int = 0, deadline_ns: int | None = None
    ) -> ReferenceRequest:
        """Into the open batch; where it does not fit, that one is sealed and the next one opened.

        Errors: NativeError `out_of_range`, `closed`; Busy where the next one's place is not free.
        """
        if not 1 <= len(rows) <= self._max_rows:
            raise status.NativeError(
                "out_of_range", f"a request must have 1 to `max_rows` rows, got {len(rows)}"
            )
        if self._is_closed:
            raise status.NativeError("closed", "the batcher must be open")
        line = self._line(priority)
        opened = line[-1]
        overflows = sum(len(r.rows) for r in opened.requests) + len(rows) > self._max_rows
        if len(line) + overflows > self._depth:
            raise status.Busy("the batcher must have room", 0.001)
        if overflows:
            opened = ReferenceBatch(priority)
            line.append(opened)
        request = ReferenceRequest(rows, arrival_ns, deadline_ns)
        opened.requests.append(request)
        return request

    def commit(self, request: ReferenceRequest) -> None:
        """Its rows are written."""
        request.state = "waiting"

    def abandon(self, request: ReferenceRequest) -> None:
        """It will not be written; nobody waits for it."""
        request.state = "abandoned"

    def cancel(self, request: ReferenceRequest) -> bool:
        """Whether it had no answer yet."""
        if request.state not in ("waiting", "running"):
            return False
        request.state = "cancelled"
        return True

    def poll(self, now_ns: int) -> ReferenceBatch | None:
        """The written batch whose first request came first, by a clock that is `aging_ns` late for each priority.

        What is expired by then is answered instead of computed; a batch with nothing left is passed over.
        """
        while True:
            ready = [
                (min(r.arrival_ns for r in batch.requests) + p * self._aging_ns, p)
                for p in range(len(self._batches))
                if (batch := self._head(p)) is not None and all(r.state != "writing" for r in batch.requests)
            ]
            if not ready:
                return None
            batch = self._take(min(ready)[1], now_ns)
            if batch.running:
                return batch
            batch.is_answered = True

    def complete(self, batch: ReferenceBatch, output: list[Any]) -> None:
        """Answer what still runs with its rows of the output."""
        at = 0
        for request in batch.running:
            if request.state == "running":
                request.state, request.value = "done", output[at : at + len(request.rows)]
            at += len(request.rows)
        batch.is_answered = True

    def fail(self, batch: ReferenceBatch, error: BaseException) -> None:
        """Answer what still runs with this."""
        for request in batch.running:
            if request.state == "running":
                request.state, request.value = "failed", error
        batch.is_answered = True
        batch.is_looked_at = False  # an exception's frames look at the rows, but nobody reads them there

    def close(self, *, drain: bool = True) -> None:
        """No more requests; without `drain` what waits is rejected."""
        self._is_closed = True
        self._is_rejecting |= not drain

    def _line(self, priority: int) -> list[ReferenceBatch]:
        """The priority's batches, without those at its head that are over; there is always one to open."""
        line = self._batches[priority]
        while self._taken[priority] and line[0].is_over:
            line.pop(0)
            self._taken[priority] -= 1
        if len(line) == self._taken[priority]:
            line.append(ReferenceBatch(priority))
        return line

    def _head(self, priority: int) -> ReferenceBatch | None:
        line = self._line(priority)
        batch = line[self._taken[priority]]
        return batch if batch.requests else None

    def _take(self, priority: int, now_ns: int) -> ReferenceBatch:
        batch = self._line(priority)[self._taken[priority]]
        self._taken[priority] += 1
        for request in batch.requests:
            if request.state != "waiting":
                continue
            if self._is_rejecting:
                request.state = "rejected"
            elif request.deadline_ns is not None and request.deadline_ns <= now_ns:
                request.state = "expired"
            else:
                request.state = "running"
                batch.running.append(request)
        return batch
