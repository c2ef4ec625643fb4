"""How much runs at once: threads for what takes long, the loop itself for what does not, and a bounded queue.

A thread hop costs about 50 us, more than a small model. Work whose measured cost is below INLINE_SECONDS therefore
runs where it was asked for, when nothing waits. Everything else takes one of `workers` threads; what finds none waits
in a queue of at most `max_waiting`, the earliest deadline first, and is refused beyond that. Work whose deadline has
passed, or whose caller has gone, leaves the queue without having run.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import itertools
import math
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from mainspring.core import errors

R = TypeVar("R")

#: Below this, a hop to a thread and back costs more than it frees. Above, other connections would wait too long.
INLINE_SECONDS: Final = 200e-6

#: Share of the newest measurement in a cost; a slower one counts more, so that a stall is not repeated on the loop.
_DOWN: Final = 0.1
_UP: Final = 0.3


class ClientGone(Exception):
    """Nobody waits for the answer any more. Only transports catch it, and answer nothing."""


class Costs:
    """Measured seconds of one kind of work by power of two of its rows. Not for several threads at once."""

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}

    def expected(self, rows: int) -> float:
        """Seconds that `rows` rows are likely to take; infinite before the first measurement."""
        return self._seconds.get(rows.bit_length(), math.inf)

    def measured(self, rows: int, seconds: float) -> None:
        bucket = rows.bit_length()
        old = self._seconds.get(bucket)
        if old is None:
            self._seconds[bucket] = seconds
        else:
            self._seconds[bucket] = old + (seconds - old) * (_UP if seconds > old else _DOWN)


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
        self._queue: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._mean_seconds = 0.0
        self.counts = GateCounts()

    def close(self) -> None:
        """Wait for what runs and end the threads."""
        self._pool.shutdown(wait=True)

    def runs_inline(self, costs: Costs, rows: int) -> bool:
        """Whether the work is known to be so small that the loop should do it itself, now."""
        return not self._queue and costs.expected(rows) < INLINE_SECONDS

    async def run(
        self,
        call: Callable[[], R],
        *,
        deadline: float = math.inf,
        costs: Costs | None = None,
        rows: int = 1,
    ) -> tuple[R, float]:
        """What `call` gives, run in a thread, and the seconds it waited for one.

        `deadline` is on the gate's clock.
        Errors: Overloaded if the queue is full, DeadlineExceeded if the deadline passes while waiting (the call is
        not run) or while running (its result is thrown away), and whatever the call raises.
        Cancellation: a waiting call is dropped; a running one keeps its thread until it ends.
        """
        asked = self._clock()
        await self._enter(deadline)
        started = self._clock()
        running = asyncio.get_running_loop().run_in_executor(
            self._pool, contextvars.copy_context().run, _timed, call
        )
        running.add_done_callback(lambda done: self._leave(done, costs, rows))
        self.counts.threaded += 1
        if deadline == math.inf:
            # The thread cannot be stopped: shielded, so that its end, not its caller's, frees the place.
            result, _ = await asyncio.shield(running)
        else:
            try:
                async with asyncio.timeout(max(0.0, deadline - started)):
                    result, _ = await asyncio.shield(running)
            except TimeoutError:
                if running.done() and running.exception() is not None:
                    raise
                self.counts.expired += 1
                raise _too_late("run") from None
        return result, started - asked

    async def _enter(self, deadline: float) -> None:
        counts = self.counts
        self.check_deadline(deadline)
        if counts.running < self._workers:
            counts.running += 1
            return
        if counts.waiting >= self._max_waiting:
            counts.shed += 1
            raise self.overloaded()
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._queue, (deadline, next(self._order), place))
        counts.waiting += 1
        timer = None
        if deadline != math.inf:
            timer = asyncio.get_running_loop().call_later(deadline - self._clock(), self._expire, place)
        try:
            await place
        except asyncio.CancelledError:
            if place.cancelled():
                counts.waiting -= 1
                self._forget(place)
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

    def _expire(self, place: asyncio.Future[None]) -> None:
        if not place.done():
            self.counts.waiting -= 1
            self.counts.expired += 1
            self._forget(place)
            place.set_exception(_too_late("queue"))

    def _forget(self, place: asyncio.Future[None]) -> None:
        # At most `max_waiting` long, and only for callers that left or came too late: a scan is cheap enough.
        self._queue = [waiting for waiting in self._queue if waiting[2] is not place]
        heapq.heapify(self._queue)

    def _leave(self, done: asyncio.Future[tuple[Any, float]], costs: Costs | None, rows: int) -> None:
        if not done.cancelled() and done.exception() is None:
            seconds = done.result()[1]
            self._mean_seconds += (seconds - self._mean_seconds) * _DOWN
            if costs is not None:
                costs.measured(rows, seconds)
        self._pass_on()

    def _pass_on(self) -> None:
        while self._queue:
            _, _, place = heapq.heappop(self._queue)
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


def _timed(call: Callable[[], R]) -> tuple[R, float]:
    started = time.perf_counter()
    return call(), time.perf_counter() - started


def _too_late(stage: str) -> errors.DeadlineExceeded:
    return errors.DeadlineExceeded(
        f"the deadline passed in stage `{stage}`; allow more time or send less", stage=stage
    )
