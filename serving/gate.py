"""How much runs at once: threads for what takes long, the loop itself for what does not, and a bounded queue.

A thread hop costs about 50 us, more than a small model. Work whose measured cost is below INLINE_SECONDS therefore
runs where it was asked for, when nothing waits. Everything else takes one of `workers` threads; what finds none waits
in a queue of at most `max_waiting`, by priority, callers taking turns and each one's latest possible start first, and is
refused beyond that: the lowest priority first, and whoever has most waiting (`waiting_line.py`, `fair_queue.py`). Work that can no longer
end in time, or whose caller has gone, leaves the queue without having run: what is late helps nobody and makes the
next one late.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from mainspring.core import errors
from mainspring.serving import waiting_line
from mainspring.serving.access import guard, priorities

R = TypeVar("R")

#: Below this, a hop to a thread and back costs more than it frees. Above, other connections would wait too long.
INLINE_SECONDS: Final = 200e-6

#: Share of the newest measurement in a mean.
_SHARE: Final = 0.1


class ClientGone(Exception):
    """Nobody waits for the answer any more. Only transports catch it, and answer nothing."""


def _step(seen: float, mean: float) -> float:
    """How far one measurement moves a mean: towards it, at most as if it were three times the mean."""
    return (min(seen, 3 * mean) - mean) * _SHARE


class Costs:
    """Measured seconds of one kind of work by power of two of its rows. Used on the loop only.

    In a thread, work that other threads hold up looks slow though it would not be on the loop. Where its CPU time is
    small and its wall time is not dreadful, :meth:`is_small` therefore says yes now and then, to find out; each time that
    it was wrong it waits four times as long.
    """

    def __init__(self) -> None:
        self._sizes: dict[int, _Cost] = {}

    def expected(self, rows: int) -> float:
        """Seconds that `rows` rows are likely to take; infinite before the first measurement."""
        cost = self._sizes.get(rows.bit_length())
        return math.inf if cost is None else cost.wall

    def is_small(self, rows: int) -> bool:
        """Whether the loop should do it itself."""
        cost = self._sizes.get(rows.bit_length())
        if cost is None:
            return False
        if cost.wall < INLINE_SECONDS:
            return True
        if cost.cpu >= INLINE_SECONDS or cost.wall >= _PROBE_SECONDS:
            return False
        cost.until_probe -= 1
        if cost.until_probe > 0:
            return False
        cost.probe_every = min(4 * cost.probe_every, _PROBE_AT_MOST)
        cost.until_probe = cost.probe_every
        cost.probes = True
        return True

    def measured(self, rows: int, wall: float, cpu: float | None = None) -> None:
        """One measurement; `cpu` is None where it ran on the loop."""
        bucket = rows.bit_length()
        cost = self._sizes.get(bucket)
        if cost is None:
            self._sizes[bucket] = _Cost(wall, wall if cpu is None else cpu)
            return
        if cost.probes and cpu is None:
            cost.probes = False
            if wall < INLINE_SECONDS:
                cost.wall, cost.probe_every = wall, _PROBE_AT_LEAST
                return
        slow = wall >= _PROBE_SECONDS
        # One stall is the machine's, two in a row are the work's.
        cost.wall = wall if slow and cost.was_slow else cost.wall + _step(wall, cost.wall)
        cost.was_slow = slow
        if cpu is not None:
            cost.cpu += _step(cpu, cost.cpu)


@dataclass(slots=True)
class _Cost:
    wall: float
    cpu: float
    was_slow: bool = False
    probes: bool = False
    probe_every: int = 4
    until_probe: int = 4


#: Work that takes longer than this in a thread is never tried on the loop.
_PROBE_SECONDS: Final = 0.005
#: Requests between two trials, at first and at last.
_PROBE_AT_LEAST: Final = 4
_PROBE_AT_MOST: Final = 1 << 16

#: Times the expected cost that must be left of a deadline for work to begin: half as much again covers its jitter.
_MARGIN: Final = 1.5


@dataclass
class GateCounts:
    """Since the process began; `running` and `waiting` are now."""

    running: int = 0
    waiting: int = 0
    inline: int = 0
    threaded: int = 0
    shed: int = 0
    expired: int = 0
    left: int = 0
    """Callers that went away while they waited."""


class Gate:
    """Runs blocking calls for one event loop. All methods are called on that loop."""

    def __init__(
        self, *, workers: int, max_waiting: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._workers = workers
        self._max_waiting = max_waiting
        self._clock = clock
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="serving")
        self._queue = waiting_line.WaitingLine()
        self._mean_seconds = 0.0
        self.counts = GateCounts()

    def close(self) -> None:
        """Wait for what runs and end the threads."""
        self._pool.shutdown(wait=True)

    def runs_inline(self, costs: Costs, rows: int) -> bool:
        """Whether the work is known to be so small that the loop should do it itself, now."""
        return not self._queue and costs.is_small(rows)

    def takes_small(self, deadline: float) -> bool:
        """Whether the loop may do work now that is surely small: nothing waits, and it is not too late."""
        return not self.counts.waiting and (deadline == math.inf or self._clock() < deadline)

    async def run(
        self,
        call: Callable[[], R],
        *,
        deadline: float = math.inf,
        costs: Costs | None = None,
        rows: int = 1,
        priority: int = 0,
    ) -> tuple[R, float]:
        """What `call` gives, run in a thread, and the seconds it waited for one.

        `deadline` is on the gate's clock; `priority` is what the request says itself, as in :func:`priorities.level`.
        Errors: Overloaded if the queue is full; DeadlineExceeded if the time left while waiting falls below what the
        call is known to need (it is not run), or if the deadline passes while it runs (its result is thrown away);
        whatever the call raises.
        Cancellation: a waiting call is dropped; a running one keeps its thread until it ends.
        """
        asked = self._clock()
        needs = 0.0
        if costs is not None and deadline != math.inf:
            expected = costs.expected(rows)
            needs = 0.0 if expected == math.inf else expected * _MARGIN
        await self._enter(deadline, needs, priority)
        started = self._clock()
        running = asyncio.get_running_loop().run_in_executor(
            self._pool, contextvars.copy_context().run, _timed, call
        )
        running.add_done_callback(lambda done: self._leave(done, costs, rows))
        self.counts.threaded += 1
        if deadline == math.inf:
            # The thread cannot be stopped: shielded, so that its end, not its caller's, frees the place.
            result, _, _ = await asyncio.shield(running)
        else:
            try:
                async with asyncio.timeout(max(0.0, deadline - started)):
                    result, _, _ = await asyncio.shield(running)
            except TimeoutError:
                # It may have failed in the very turn of the loop in which its deadline passed: its own error says more.
                if running.done() and (failure := running.exception()) is not None:
                    raise failure from None
                self.counts.expired += 1
                raise _too_late("run") from None
        return result, started - asked

    async def _enter(self, deadline: float, needs: float, priority: int) -> None:
        counts = self.counts
        self.check_deadline(deadline)
        if counts.running < self._workers:
            # Whatever is expected of it, an idle thread takes it: only what runs is measured anew.
            counts.running += 1
            return
        self.check_deadline(deadline - needs)
        call = guard.current()
        caller, level = call.caller.name, priorities.level(call.priority_class, priority)
        if counts.waiting >= self._max_waiting:
            counts.shed += 1
            displaced = self._queue.displace_for(level, caller) if self._max_waiting else None
            if displaced is None:
                raise self.overloaded()
            counts.waiting -= 1
            displaced.set_exception(self.overloaded())
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.push(level, caller, deadline - needs, place)
        counts.waiting += 1
        timer = None
        if deadline != math.inf:
            timer = asyncio.get_running_loop().call_later(
                deadline - needs - self._clock(), self._expire, level, caller, place
            )
        try:
            await place
        except asyncio.CancelledError:
            if place.cancelled():
                counts.waiting -= 1
                self._queue.remove(level, caller, place)
            elif place.exception() is None:
                self._pass_on()  # the place was given in the same turn in which its taker went away
            counts.left += 1
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def check_deadline(self, deadline: float) -> None:
        """Errors: DeadlineExceeded if it has passed."""
        if deadline != math.inf and self._clock() >= deadline:
            self.counts.expired += 1
            raise _too_late("queue")

    def overloaded(self) -> errors.Overloaded:
        """The refusal, with the time that the queue now needs."""
        wait = self.counts.waiting * self._mean_seconds / self._workers
        seconds = min(60.0, max(1.0, wait))
        return errors.Overloaded(
            f"{self.counts.waiting} requests wait already; try again in {seconds:.0f} s",
            retry_after_seconds=seconds,
        )

    def _expire(self, level: int, caller: str, place: asyncio.Future[None]) -> None:
        if not place.done():
            self.counts.waiting -= 1
            self.counts.expired += 1
            self._queue.remove(level, caller, place)
            place.set_exception(_too_late("queue"))

    def _leave(self, done: asyncio.Future[tuple[Any, float, float]], costs: Costs | None, rows: int) -> None:
        if not done.cancelled() and done.exception() is None:
            _, wall, cpu = done.result()
            self._mean_seconds += (wall - self._mean_seconds) * _SHARE
            if costs is not None:
                costs.measured(rows, wall, cpu)
        self._pass_on()

    def _pass_on(self) -> None:
        while (place := self._queue.pop()) is not None:
            if not place.done():
                self.counts.waiting -= 1
                place.set_result(None)
                return
        self.counts.running -= 1


async def until_gone(work: Coroutine[Any, Any, R], gone: Callable[[], Awaitable[None]] | None) -> R:
    """What `work` gives, unless the client leaves first: `gone` returns then, and `work` is cancelled.

    Errors: ClientGone, and those of `work`.
    """
    if gone is None:
        return await work
    task = asyncio.ensure_future(work)
    watcher = asyncio.ensure_future(gone())
    try:
        await asyncio.wait({task, watcher}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        task.cancel()
        await asyncio.wait({task})
        raise ClientGone
    finally:
        task.cancel()
        watcher.cancel()


def _timed(call: Callable[[], R]) -> tuple[R, float, float]:
    wall, cpu = time.perf_counter(), time.thread_time()
    return call(), time.perf_counter() - wall, time.thread_time() - cpu


def _too_late(stage: str) -> errors.DeadlineExceeded:
    return errors.DeadlineExceeded(
        f"the deadline passed in stage `{stage}`; allow more time or send less", stage=stage
    )
