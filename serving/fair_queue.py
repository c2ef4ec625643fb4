"""Requests that wait for a thread: callers take turns, and of one caller's the latest possible start goes first.

Start-time fair queueing, each request costing one: a caller's next turn is one after its last, and never before the turn
that is being served. Whoever has asked a thousand times waits behind its own requests, not before those of others.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from dataclasses import dataclass, field
from typing import Final, TypeAlias

Place: TypeAlias = "asyncio.Future[None]"


@dataclass(slots=True)
class _Line:
    """What one caller has waiting, by latest start and arrival; `turn` is when it is served next."""

    turn: float
    waiting: list[tuple[float, int, Place]] = field(default_factory=list)


class FairQueue:
    """Used on one loop only. Memory: the places in it, and a line for each caller that has one."""

    def __init__(self) -> None:
        self._lines: dict[str, _Line] = {}
        self._order: Final = itertools.count()
        self._served = 0.0

    def __bool__(self) -> bool:
        return bool(self._lines)

    def push(self, caller: str, latest_start: float, place: Place) -> None:
        """`latest_start`: infinite without a deadline."""
        line = self._lines.get(caller)
        if line is None:
            line = self._lines[caller] = _Line(self._served)
        heapq.heappush(line.waiting, (latest_start, next(self._order), place))

    def pop(self) -> Place | None:
        """The place whose turn it is; None if none waits."""
        if not self._lines:
            return None
        caller = min(self._lines, key=lambda c: self._lines[c].turn)
        line = self._lines[caller]
        self._served = line.turn
        line.turn += 1.0
        _, _, place = heapq.heappop(line.waiting)
        if not line.waiting:
            del self._lines[caller]
        return place

    def remove(self, caller: str, place: Place) -> None:
        """Take out a place whose owner waits no more; it may be out already."""
        line = self._lines.get(caller)
        if line is None:
            return
        # As long as the queue may be, and only for callers that left or came too late: a scan is cheap enough.
        line.waiting = [waiting for waiting in line.waiting if waiting[2] is not place]
        heapq.heapify(line.waiting)
        if not line.waiting:
            del self._lines[caller]

    def displace_for(self, caller: str) -> Place | None:
        """The place that must go so that `caller` gets one in a full queue: the last of the longest line.

        None if nobody has two more waiting than `caller`: then the newcomer is the one to refuse.
        """
        if not self._lines:
            return None
        longest = self._longest()
        own = self._lines.get(caller)
        if len(self._lines[longest].waiting) < (len(own.waiting) if own else 0) + 2:
            return None
        return self._without_last(longest)

    def displace(self) -> Place:
        """The last of the longest line, whoever takes its place. The queue is not empty."""
        return self._without_last(self._longest())

    def _longest(self) -> str:
        return max(self._lines, key=lambda c: len(self._lines[c].waiting))

    def _without_last(self, caller: str) -> Place:
        last = max(self._lines[caller].waiting, key=lambda waiting: waiting[:2])
        self.remove(caller, last[2])
        return last[2]
