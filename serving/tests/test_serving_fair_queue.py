"""The queue before the threads: callers take turns, and a full queue refuses whoever fills it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

import pytest

from mainspring.core import errors
from mainspring.serving import fair_queue, gate
from mainspring.serving.access import callers, guard


def served(asked: list[tuple[str, float]]) -> list[str]:
    """The order in which requests, pushed all at once, are served."""

    async def run() -> list[str]:
        queue = fair_queue.FairQueue()
        names: dict[Any, str] = {}
        for i, (caller, latest) in enumerate(asked):
            place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            names[place] = f"{caller}{i}"
            queue.push(caller, latest, place)
        order = []
        while (place_next := queue.pop()) is not None:
            order.append(names[place_next])
        assert not queue
        return order

    return asyncio.run(run())


def test_one_callers_requests_go_by_their_latest_start() -> None:
    assert served([("a", math.inf), ("a", 9.0), ("a", 3.0), ("a", math.inf)]) == ["a2", "a1", "a0", "a3"]


def test_callers_take_turns_however_many_requests_one_has() -> None:
    order = served([("a", math.inf)] * 6 + [("b", math.inf)] * 2 + [("c", math.inf)])
    assert sorted(order[:3]) == ["a0", "b6", "c8"]
    assert sorted(order[3:5]) == ["a1", "b7"]
    assert order[5:] == ["a2", "a3", "a4", "a5"]


def test_an_urgent_request_does_not_take_anothers_turn() -> None:
    order = served([("a", 1.0), ("a", 2.0), ("a", 3.0), ("b", math.inf)])
    assert order.index("b3") <= 1


def test_the_last_of_the_longest_line_makes_room() -> None:
    async def run() -> None:
        queue, places = fair_queue.FairQueue(), {}
        for name, latest in (("a1", 5.0), ("a2", math.inf), ("a3", math.inf), ("b1", math.inf)):
            places[name] = asyncio.get_running_loop().create_future()
            queue.push(name[0], latest, places[name])
        assert queue.displace_for("a") is None
        assert queue.displace_for("c") is places["a3"]
        assert queue.displace_for("b") is None, "a has one more than b: that is fair already"
        assert queue.displace_for("c") is places["a2"]
        assert queue.displace_for("c") is None
        queue.remove("a", places["a1"])
        queue.remove("a", places["a1"])
        queue.remove("nobody", places["a1"])
        assert queue.pop() is places["b1"]
        assert not queue and queue.pop() is None and queue.displace_for("a") is None

    asyncio.run(run())


def as_caller(name: str, work: Callable[[], Any]) -> Any:
    """Run a coroutine function as one caller's."""

    async def call() -> Any:
        guard._CALL.set(guard.Call(callers.Caller(name, frozenset()), "t"))
        return await work()

    return asyncio.ensure_future(call())


def test_a_full_gate_refuses_the_greedy_caller_and_serves_the_other_one_next() -> None:
    async def run() -> None:
        import threading

        go, ran = threading.Event(), []

        def job(name: str) -> Callable[[], None]:
            def work() -> None:
                ran.append(name)
                assert go.wait(30)

            return work

        doorkeeper = gate.Gate(workers=1, max_waiting=4)
        first = as_caller("greedy", lambda: doorkeeper.run(job("g")))
        async with asyncio.timeout(30):
            while not ran:
                await asyncio.sleep(0)
        greedy = [as_caller("greedy", lambda i=i: doorkeeper.run(job(f"g{i}"))) for i in range(9)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert doorkeeper.counts.waiting == 4
        modest = as_caller("modest", lambda: doorkeeper.run(job("m")))
        await asyncio.sleep(0)
        assert doorkeeper.counts.waiting == 4
        go.set()
        await asyncio.gather(first, modest)
        results = await asyncio.gather(*greedy, return_exceptions=True)
        refused = [r for r in results if isinstance(r, BaseException)]
        assert len(refused) == 6 and all(isinstance(r, errors.Overloaded) for r in refused)
        assert ran.index("m") <= 2, "after what ran and at most one of the greedy caller's"
        assert sorted(ran) == ["g", "g0", "g1", "g2", "m"]
        counts = doorkeeper.counts
        assert (counts.running, counts.waiting, counts.shed) == (0, 0, 6)
        doorkeeper.close()

    asyncio.run(run())


@pytest.mark.parametrize("max_waiting", [0, 1])
def test_a_queue_of_one_place_or_none_displaces_nobody(max_waiting: int) -> None:
    async def run() -> None:
        import threading

        go = threading.Event()
        doorkeeper = gate.Gate(workers=1, max_waiting=max_waiting)
        tasks = [as_caller("a", lambda: doorkeeper.run(lambda: go.wait(30))) for _ in range(1 + max_waiting)]
        await asyncio.sleep(0.01)
        with pytest.raises(errors.Overloaded):
            await as_caller("b", lambda: doorkeeper.run(lambda: None))
        go.set()
        await asyncio.gather(*tasks)
        doorkeeper.close()

    asyncio.run(run())
