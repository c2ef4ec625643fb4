"""Priorities: who goes first, how long the low are passed over, who makes room, and who may claim what."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core import errors
from mainspring.serving import gate, waiting_line
from mainspring.serving.access import callers, guard, limits, priorities
from mainspring.serving.access.priorities import HIGH, LOW, NORMAL
from mainspring.serving.protocols.v2 import request


class Line:
    """A waiting line whose places have names."""

    def __init__(self) -> None:
        self.line = waiting_line.WaitingLine()
        self.names: dict[Any, str] = {}

    def push(self, level: int, name: str, latest: float = math.inf, caller: str = "a") -> Any:
        place: Any = asyncio.get_running_loop().create_future()
        self.names[place] = name
        self.line.push(level, caller, latest, place)
        return place

    def pop(self) -> str | None:
        place = self.line.pop()
        return None if place is None else self.names[place]


def in_line(test: Callable[[Line], None]) -> None:
    async def run() -> None:
        test(Line())

    asyncio.run(run())


def test_higher_levels_go_first_and_within_one_the_latest_possible_start() -> None:
    def test(line: Line) -> None:
        for level, name, latest in (
            (LOW, "low-soon", 1.0),
            (NORMAL, "normal", math.inf),
            (HIGH, "high-late", math.inf),
            (HIGH, "high-soon", 5.0),
            (LOW, "low-late", math.inf),
        ):
            line.push(level, name, latest)
        order = [line.pop() for _ in range(6)]
        assert order == ["high-soon", "high-late", "normal", "low-soon", "low-late", None]
        assert not line.line

    in_line(test)


def test_low_ages_by_turns_and_high_waits_for_one_more_at_most() -> None:
    def test(line: Line) -> None:
        line.push(LOW, "low")
        line.push(LOW, "low")
        for _ in range(40):
            line.push(HIGH, "high")
        order = [line.pop() for _ in range(42)]
        at = [i for i, name in enumerate(order) if name == "low"]
        most = waiting_line.PASSES_AT_MOST
        assert at == [most, 2 * most + 1]

    in_line(test)


def test_a_level_that_was_empty_is_not_older_for_it() -> None:
    def test(line: Line) -> None:
        place = line.push(LOW, "left")
        for _ in range(waiting_line.PASSES_AT_MOST):
            line.push(HIGH, "high")
            assert line.pop() == "high"
        line.line.remove(LOW, "a", place)
        line.push(HIGH, "high")
        assert line.pop() == "high"
        line.push(LOW, "new")
        line.push(HIGH, "high")
        assert line.pop() == "high", "whoever comes now has not waited"

    in_line(test)


@given(st.lists(st.sampled_from([HIGH, NORMAL, LOW, None]), max_size=200))
def test_nobody_is_lost_and_nobody_starves(steps: list[int | None]) -> None:
    """None: one is served. While a level waits, it is passed over by at most so many turns of each other level's kind."""

    def test(line: Line) -> None:
        pushed, served = [0, 0, 0], [0, 0, 0]
        since = [0, 0, 0]
        for step in [*steps, *[None] * 201]:
            if step is not None:
                line.push(step, str(step))
                pushed[step] += 1
                continue
            name = line.pop()
            if name is None:
                assert pushed == served
                continue
            served[int(name)] += 1
            for level in (HIGH, NORMAL, LOW):
                waits = pushed[level] > served[level] and str(level) != name
                since[level] = since[level] + 1 if waits else 0
                assert since[level] <= 2 * (waiting_line.PASSES_AT_MOST + 1)
        assert pushed == served

    in_line(test)


def test_a_full_line_gives_up_the_lowest_first_and_never_for_a_lower_one() -> None:
    def test(line: Line) -> None:
        low = [line.push(LOW, f"low{i}") for i in range(2)]
        normal = line.push(NORMAL, "normal")
        assert line.line.displace_for(LOW, "a") is None
        assert line.line.displace_for(NORMAL, "b") is low[1]
        assert line.line.displace_for(HIGH, "b") is low[0]
        assert line.line.displace_for(NORMAL, "b") is None, "one each is fair"
        assert line.line.displace_for(HIGH, "b") is normal
        assert line.line.displace_for(HIGH, "b") is None
        assert not line.line

    in_line(test)


@pytest.mark.parametrize(
    ("caller_class", "asked", "level"),
    [
        *((None, 0, NORMAL), (None, 1, HIGH), (None, 2, NORMAL), (None, 3, LOW), (None, 1 << 60, LOW)),
        *((NORMAL, 0, NORMAL), (NORMAL, 1, NORMAL), (NORMAL, 3, LOW)),
        *((HIGH, 0, HIGH), (HIGH, 1, HIGH), (HIGH, 2, NORMAL), (LOW, 1, LOW), (LOW, 0, LOW)),
    ],
)
def test_a_caller_may_ask_for_less_than_its_class(caller_class: int | None, asked: int, level: int) -> None:
    assert priorities.level(caller_class, asked) == level


def test_classes_come_from_the_rule_that_names_more(tmp_path: Path) -> None:
    path = tmp_path / "limits.json"
    limiter = limits.Limiter(path, lambda name: True)
    classes = priorities.Classes(limiter)
    assert classes.of("team", "flights") is None
    limiter.apply(
        limits.read(
            json.dumps(
                {
                    "version": 1,
                    "rules": [
                        {"priority": "normal"},
                        {"caller": "batch", "priority": "low"},
                        {"caller": "batch", "endpoint": "urgent", "priority": "high", "rows_per_day": 5},
                        {"caller": "team", "requests_per_second": 5},
                        {"endpoint": "flights", "priority": "high"},
                    ],
                }
            ).encode()
        )
    )
    assert classes.of("batch", "flights") == LOW
    assert classes.of("batch", "urgent") == HIGH
    assert classes.of("team", "flights") == HIGH, "its own rule has no class"
    assert classes.of("team", "other") == NORMAL
    limiter.apply(limits.read(b'{"version": 2, "rules": [{"caller": "batch", "requests_per_second": 1}]}'))
    assert classes.of("batch", "urgent") is None


@pytest.mark.parametrize("value", [-1, 1.5, True, "1"])
def test_a_priority_that_is_no_whole_number_is_refused(value: object) -> None:
    with pytest.raises(errors.InvalidRequest, match="`priority` is no whole number"):
        request.priority_of({"priority": value})


def test_the_gate_serves_by_class_and_sheds_the_low() -> None:
    async def run() -> None:
        go, ran = threading.Event(), []

        def job(name: str) -> Callable[[], None]:
            def work() -> None:
                ran.append(name)
                assert go.wait(30)

            return work

        doorkeeper = gate.Gate(workers=1, max_waiting=3)

        def start(name: str, caller_class: int | None, priority: int = 0) -> asyncio.Task[Any]:
            async def call() -> Any:
                who = callers.Caller(name, frozenset())
                guard._CALL.set(guard.Call(who, "t", priority_class=caller_class))
                return await doorkeeper.run(job(name), priority=priority)

            return asyncio.ensure_future(call())

        first = start("first", None)
        async with asyncio.timeout(30):
            while not ran:
                await asyncio.sleep(0)
        low = [start("low-class", LOW, 1), start("low-asked", None, 9)]
        normal = start("normal", None)
        await asyncio.sleep(0)
        assert doorkeeper.counts.waiting == 3
        high = start("high", HIGH)
        await asyncio.sleep(0)
        refused_low = start("late-low", LOW)
        await asyncio.sleep(0)
        go.set()
        results = await asyncio.gather(first, *low, normal, high, refused_low, return_exceptions=True)
        shed = [isinstance(result, errors.Overloaded) for result in results]
        assert sum(shed) == 2 and shed[-1] and (shed[1] or shed[2])
        kept = "low-class" if shed[2] else "low-asked"
        assert ran == ["first", "high", "normal", kept]
        counts = doorkeeper.counts
        assert (counts.running, counts.waiting, counts.shed) == (0, 0, 2)
        doorkeeper.close()

    asyncio.run(run())


def test_high_waits_for_what_runs_however_many_low_wait() -> None:
    """The order that keeps the high's latency flat: its place in the line does not depend on how long the low line is."""

    async def run(n_low: int) -> int:
        line = Line()
        for i in range(n_low):
            line.push(LOW, "low", caller=f"c{i % 7}")
        for _ in range(3):
            line.pop()
        line.push(HIGH, "high", caller="z")
        return next(i for i in itertools.count() if line.pop() == "high")

    assert [asyncio.run(run(n)) for n in (3, 10, 100, 1000)] == [0, 0, 0, 0]
