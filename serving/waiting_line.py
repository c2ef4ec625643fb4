"""The line before the threads: high before normal before low, and nobody passed over for ever.

Of one level callers take turns (`fair_queue.py`). A level that waits while higher ones are served has its turn after
PASSES_AT_MOST of theirs: under any load of the high it keeps that share, and the high wait for at most one more request. The
age is counted in turns, not in seconds: it is the same on a slow machine, and in a test.
"""

from __future__ import annotations

from typing import Final

from mainspring.serving import fair_queue
from mainspring.serving.access import priorities

#: Turns of higher levels that one which waits lets pass.
PASSES_AT_MOST: Final = 16


class WaitingLine:
    """Used on one loop only. Memory: that of its queues, one for each level."""

    def __init__(self) -> None:
        self._queues: Final = tuple(fair_queue.FairQueue() for _ in priorities.LEVELS)
        self._passed = [0] * len(self._queues)

    def __bool__(self) -> bool:
        return any(self._queues)

    def push(self, level: int, caller: str, latest_start: float, place: fair_queue.Place) -> None:
        """`latest_start`: infinite without a deadline."""
        self._queues[level].push(caller, latest_start, place)

    def pop(self) -> fair_queue.Place | None:
        """The place whose turn it is; None if none waits."""
        waiting = [level for level, queue in enumerate(self._queues) if queue]
        if not waiting:
            return None
        turn = next((lv for lv in reversed(waiting) if self._passed[lv] >= PASSES_AT_MOST), waiting[0])
        place = self._queues[turn].pop()
        for level, queue in enumerate(self._queues):
            if level == turn or not queue:
                self._passed[level] = 0
            elif level > turn:
                self._passed[level] += 1
        return place

    def remove(self, level: int, caller: str, place: fair_queue.Place) -> None:
        """Take out a place whose owner waits no more; it may be out already."""
        self._queues[level].remove(caller, place)

    def displace_for(self, level: int, caller: str) -> fair_queue.Place | None:
        """The place that must go so that this one gets one in a full line: of the lowest level below it, else by fairness.

        None if the newcomer is the one to refuse.
        """
        for lower in reversed(self._queues[level + 1 :]):
            if lower:
                return lower.displace()
        return self._queues[level].displace_for(caller)
