"""The gate: what runs, what waits, what is refused, and what never runs."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mainspring.core import errors
from mainspring.serving import gate


class Work:
    """Calls that block until they are let go, and tell that they run."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.ran: list[str] = []

    def call(self, name: str) -> Callable[[], str]:
        def run() -> str:
            self.ran.append(name)
            assert self.go.wait(30)
            return name

        return run


@asynccontextmanager
async def opened(**limits: int) -> AsyncIterator[tuple[gate.Gate, Work]]:
    work, doorkeeper = Work(), gate.Gate(**limits)
    try:
        yield doorkeeper, work
    finally:
        work.go.set()
        doorkeeper.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0)


def start(doorkeeper: gate.Gate, work: Work, name: str, **kwargs: Any) -> asyncio.Task[tuple[str, float]]:
    return asyncio.ensure_future(doorkeeper.run(work.call(name), **kwargs))


async def one_runs(doorkeeper: gate.Gate, work: Work) -> asyncio.Task[tuple[str, float]]:
    running = start(doorkeeper, work, "running")
    await until(lambda: work.ran == ["running"])
    return running


def run(test: Any) -> None:
    asyncio.run(test)


def test_what_finds_no_thread_waits_and_what_finds_no_place_is_shed() -> None:
    async def test() -> None:
        async with opened(workers=1, max_waiting=1) as (doorkeeper, work):
            running = await one_runs(doorkeeper, work)
            waiting = start(doorkeeper, work, "waiting")
            await until(lambda: doorkeeper.counts.waiting == 1)
            with pytest.raises(errors.Overloaded) as refused:
                await doorkeeper.run(work.call("shed"))
            assert refused.value.retry_after_seconds >= 1
            work.go.set()
            assert [(await t)[0] for t in (running, waiting)] == ["running", "waiting"]
            assert (await waiting)[1] > 0
            assert work.ran == ["running", "waiting"]
            counts = doorkeeper.counts
            assert (counts.shed, counts.threaded, counts.running, counts.waiting) == (1, 2, 0, 0)

    run(test())


def test_the_earliest_deadline_goes_first_and_none_goes_last() -> None:
    async def test() -> None:
        async with opened(workers=1, max_waiting=9) as (doorkeeper, work):
            await one_runs(doorkeeper, work)
            now = time.monotonic()
            given = {"never": math.inf, "late": now + 60, "early": now + 30}
            tasks = [start(doorkeeper, work, n, deadline=d) for n, d in given.items()]
            await until(lambda: doorkeeper.counts.waiting == 3)
            work.go.set()
            await asyncio.gather(*tasks)
            assert work.ran == ["running", "early", "late", "never"]

    run(test())


def test_what_is_late_does_not_run() -> None:
    async def test() -> None:
        async with opened(workers=1, max_waiting=9) as (doorkeeper, work):
            with pytest.raises(errors.DeadlineExceeded) as at_once:
                await doorkeeper.run(work.call("past"), deadline=time.monotonic())
            assert at_once.value.stage == "queue"
            await one_runs(doorkeeper, work)
            with pytest.raises(errors.DeadlineExceeded) as waiting:
                await doorkeeper.run(work.call("late"), deadline=time.monotonic() + 0.01)
            assert waiting.value.stage == "queue"
            assert doorkeeper.counts.waiting == 0
            work.go.set()
            assert (await doorkeeper.run(work.call("next")))[0] == "next"
            assert work.ran == ["running", "next"]
            assert doorkeeper.counts.expired == 2

    run(test())


def test_what_cannot_end_in_time_does_not_begin() -> None:
    async def test() -> None:
        async with opened(workers=1, max_waiting=9) as (doorkeeper, work):
            costs = gate.Costs()
            costs.measured(1, 10.0)
            await one_runs(doorkeeper, work)
            soon = time.monotonic() + 5
            with pytest.raises(errors.DeadlineExceeded):
                await doorkeeper.run(work.call("hopeless"), deadline=soon, costs=costs)
            with pytest.raises(errors.DeadlineExceeded):
                await doorkeeper.run(work.call("late"), deadline=time.monotonic() + 15.02, costs=costs)
            work.go.set()
            await until(lambda: doorkeeper.counts.running == 0)
            soon = time.monotonic() + 5
            assert (await doorkeeper.run(work.call("idle"), deadline=soon, costs=costs))[0] == "idle"
            assert work.ran == ["running", "idle"], "an idle thread takes it: the measurement may be stale"
            assert costs.expected(1) < 10.0

    run(test())


def test_what_is_late_while_it_runs_keeps_its_thread_until_it_ends() -> None:
    async def test() -> None:
        async with opened(workers=1, max_waiting=0) as (doorkeeper, work):
            with pytest.raises(errors.DeadlineExceeded) as late:
                await doorkeeper.run(work.call("slow"), deadline=time.monotonic() + 0.05)
            assert late.value.stage == "run"
            assert doorkeeper.counts.running == 1
            with pytest.raises(errors.Overloaded):
                await doorkeeper.run(work.call("shed"))
            work.go.set()
            await until(lambda: doorkeeper.counts.running == 0)
            assert (await doorkeeper.run(work.call("next")))[0] == "next"

    run(test())


def test_a_caller_that_leaves_the_queue_is_never_run() -> None:
    async def test() -> None:
        async with opened(workers=1, max_waiting=2) as (doorkeeper, work):
            running = await one_runs(doorkeeper, work)
            gone, stays = (start(doorkeeper, work, n) for n in ("gone", "stays"))
            await until(lambda: doorkeeper.counts.waiting == 2)
            gone.cancel()
            with pytest.raises(asyncio.CancelledError):
                await gone
            assert (doorkeeper.counts.waiting, doorkeeper.counts.left) == (1, 1)
            work.go.set()
            await asyncio.gather(running, stays)
            assert work.ran == ["running", "stays"]

    run(test())


def test_a_caller_that_leaves_as_its_turn_comes_passes_it_on() -> None:
    async def test() -> None:
        async with opened(workers=1, max_waiting=2) as (doorkeeper, work):
            await one_runs(doorkeeper, work)
            gone, stays = (start(doorkeeper, work, n) for n in ("gone", "stays"))
            await until(lambda: doorkeeper.counts.waiting == 2)
            work.go.set()
            await until(lambda: doorkeeper.counts.waiting == 1)  # `gone` has its place and has not woken yet
            gone.cancel()
            assert (await stays)[0] == "stays"
            with pytest.raises(asyncio.CancelledError):
                await gone
            assert work.ran == ["running", "stays"]
            assert doorkeeper.counts.running == 0

    run(test())


def test_a_call_that_fails_frees_its_place_and_tells_its_error() -> None:
    def fail() -> None:
        raise TimeoutError("the call's own")

    async def test() -> None:
        async with opened(workers=1, max_waiting=0) as (doorkeeper, _):
            for deadline in (math.inf, time.monotonic() + 60):
                with pytest.raises(TimeoutError, match="the call's own"):
                    await doorkeeper.run(fail, deadline=deadline)
            assert doorkeeper.counts.running == 0

    run(test())


def test_a_call_that_fails_as_its_deadline_passes_tells_its_own_error() -> None:
    def fail() -> None:
        time.sleep(0.02)
        raise errors.NotFound("no row", resource="row", name="r")

    async def main() -> None:
        doorkeeper = gate.Gate(workers=1, max_waiting=1)
        try:
            asked = asyncio.ensure_future(doorkeeper.run(fail, deadline=time.monotonic() + 0.03))
            await asyncio.sleep(0.005)
            time.sleep(0.06)  # the loop is busy: it learns of the failure and of the deadline at once
            with pytest.raises(errors.NotFound):
                await asked
        finally:
            doorkeeper.close()

    asyncio.run(main())


def test_work_is_cancelled_when_the_client_leaves_first() -> None:
    async def test() -> None:
        left = asyncio.Event()

        async def gone() -> None:
            await left.wait()

        async def soon() -> int:
            return 7

        assert await gate.until_gone(soon(), gone) == 7
        assert await gate.until_gone(soon(), None) == 7
        async with opened(workers=1, max_waiting=1) as (doorkeeper, work):
            await one_runs(doorkeeper, work)
            asked = asyncio.ensure_future(gate.until_gone(doorkeeper.run(work.call("gone")), gone))
            await until(lambda: doorkeeper.counts.waiting == 1)
            left.set()
            with pytest.raises(gate.ClientGone):
                await asked
            assert doorkeeper.counts.waiting == 0
            work.go.set()
        assert work.ran == ["running"]

    run(test())


def test_small_work_is_known_by_its_measured_cost() -> None:
    async def test() -> None:
        async with opened(workers=1, max_waiting=1) as (doorkeeper, work):
            costs = gate.Costs()
            assert not doorkeeper.runs_inline(costs, 1)
            costs.measured(1, gate.INLINE_SECONDS / 2)
            assert doorkeeper.runs_inline(costs, 1)
            assert not doorkeeper.runs_inline(costs, 2), "another size is another cost"
            await one_runs(doorkeeper, work)
            start(doorkeeper, work, "waiting")
            await until(lambda: doorkeeper.counts.waiting == 1)
            assert not doorkeeper.runs_inline(costs, 1), "nobody overtakes the queue"
        costs.measured(1, 10.0)
        assert costs.is_small(1), "one stall is the machine's"
        costs.measured(1, 10.0)
        assert not costs.is_small(1), "two in a row are the work's"
        for _ in range(200):
            costs.measured(1, gate.INLINE_SECONDS / 10)
        assert costs.expected(1) < gate.INLINE_SECONDS

    run(test())


def test_work_that_others_hold_up_is_tried_on_the_loop_now_and_then() -> None:
    costs = gate.Costs()
    held_up, small = 0.001, gate.INLINE_SECONDS / 10
    costs.measured(1, held_up, small)
    trials = [i for i in range(400) if costs.is_small(1) and costs.measured(1, held_up) is None]
    assert 2 <= len(trials) <= 5, "it waits longer each time"
    while not costs.is_small(1):
        pass
    costs.measured(1, small)
    assert costs.is_small(1), "and stays when it was right"
    sleeps, works = gate.Costs(), gate.Costs()
    sleeps.measured(1, 0.05, small)
    works.measured(1, held_up, held_up)
    assert not any(costs.is_small(1) for costs in (sleeps, works) for _ in range(1000)), "these never are"
