"""Limits that several processes take from: as one by the specification, never more than there is, through kills."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Sequence
from multiprocessing import connection
from pathlib import Path
from typing import Any, Final

import hypothesis
import limits_member
import pytest
from hypothesis import strategies as st

from mainspring.native import limits, reference_limits, status

PROCESSES: Final = 4
#: A process of its own, which shares nothing but the file.
_SPAWN: Final = multiprocessing.get_context("spawn")


class Crowd:
    """Processes that take steps when they are told to."""

    def __init__(self, path: Path, n: int = PROCESSES) -> None:
        self.path = str(path)
        self._members = [self._start() for _ in range(n)]

    def _start(self) -> tuple[Any, connection.Connection]:
        ours, theirs = _SPAWN.Pipe()
        process = _SPAWN.Process(target=limits_member.serve, args=(self.path, theirs), daemon=True)
        process.start()
        theirs.close()
        return process, ours

    def tell(self, i: int, *step: Any) -> None:
        self._members[i][1].send(step)

    def answer(self, i: int) -> Any:
        assert self._members[i][1].poll(30), "it waits for something"
        return self._members[i][1].recv()

    def ask(self, i: int, *step: Any) -> Any:
        self.tell(i, *step)
        return self.answer(i)

    def ask_all(self, *step: Any) -> list[Any]:
        for i in range(len(self._members)):
            self.tell(i, *step)
        return [self.answer(i) for i in range(len(self._members))]

    def kill(self, i: int) -> None:
        """And start another one in its place."""
        process, pipe = self._members[i]
        os.kill(process.pid, signal.SIGKILL)
        process.join(30)
        pipe.close()
        self._members[i] = self._start()

    def close(self) -> None:
        for process, pipe in self._members:
            with contextlib.suppress(BrokenPipeError):
                pipe.send(None)
            process.join(30)
            pipe.close()


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowd]:
    made = Crowd(tmp_path_factory.mktemp("limits") / "limits")
    yield made
    made.close()


@pytest.fixture
def path(crowd: Crowd, tmp_path: Path) -> str:
    """Accounts that nobody took from, which all of the crowd have open."""
    fresh = str(tmp_path / "limits")
    crowd.ask_all("reopen", fresh)
    return fresh


NAMES: Final = st.sampled_from(["a", "b"])
ENDPOINTS: Final = st.sampled_from(["flights", "hotels"])
COUNTS: Final = st.none() | st.integers(1, 12)
RATES: Final = st.none() | st.floats(0.01, 1e4)
RULES: Final = st.lists(
    st.builds(
        limits.Rule,
        NAMES | st.just("*"),
        ENDPOINTS | st.just("*"),
        requests_per_second=RATES,
        burst_requests=COUNTS,
        rows_per_second=RATES,
        burst_rows=COUNTS,
        requests_per_day=COUNTS,
        rows_per_day=COUNTS,
    ),
    min_size=1,
    max_size=3,
)
PAUSES: Final = st.sampled_from([0.0, 0.0, 0.001, 0.3, 1.0, 17.0, 30_000.0])
STEPS: Final = st.lists(
    st.tuples(
        st.integers(0, PROCESSES - 1),
        st.one_of(
            st.tuples(st.just("admit"), NAMES, ENDPOINTS, PAUSES),
            st.tuples(st.just("give_back"), NAMES, ENDPOINTS, PAUSES),
            st.tuples(st.just("charge"), NAMES, ENDPOINTS, st.integers(0, 30)),
        ),
    ),
    max_size=40,
)


@hypothesis.settings(max_examples=100, deadline=None)
@hypothesis.given(rules=RULES, more_rules=RULES, steps=STEPS, change_at=st.integers(0, 40))
def test_whoever_takes_a_step_it_is_the_specifications(
    crowd: Crowd,
    tmp_path_factory: pytest.TempPathFactory,
    rules: Sequence[limits.Rule],
    more_rules: Sequence[limits.Rule],
    steps: Sequence[tuple[int, tuple[Any, ...]]],
    change_at: int,
) -> None:
    """Rules change once, at all of them before the next step."""
    file = tmp_path_factory.mktemp("property") / "limits"
    crowd.ask_all("reopen", str(file))
    truth = reference_limits.ReferenceLimits()
    monotonic, wall = 1000.0, 20_000 * 86_400 + 43_200.0
    crowd.ask_all("set_rules", rules)
    truth.set_rules(rules)
    for n, (who, (what, caller, endpoint, number)) in enumerate(steps):
        if n == change_at:
            crowd.ask_all("set_rules", more_rules)
            truth.set_rules(more_rules)
        if what == "charge":
            crowd.ask(who, what, caller, endpoint, number, monotonic, wall)
            truth.charge(caller, endpoint, number, monotonic, wall)
            continue
        monotonic, wall = monotonic + number, wall + number
        expected = getattr(truth, what)(caller, endpoint, monotonic, wall)
        assert crowd.ask(who, what, caller, endpoint, monotonic, wall) == expected, (n, what)
    for told in crowd.ask_all("refused"):
        assert sorted(told) == sorted(truth.refused())
    file.unlink()


def test_all_at_once_they_take_what_there_is_and_no_more(crowd: Crowd, path: str) -> None:
    crowd.ask_all("set_rules", [limits.Rule(requests_per_day=5000)])
    assert sum(crowd.ask_all("press", "a", 0.5)) == 5000
    (refused,) = limits.Limits(path).refused()
    assert refused[:2] == ("a", "x")


def test_a_rate_is_that_of_all_of_them(crowd: Crowd, path: str) -> None:
    crowd.ask_all("set_rules", [limits.Rule(requests_per_second=2000.0, burst_requests=100)])
    began = time.monotonic()
    taken = sum(crowd.ask_all("press", "a", 1.0))
    assert 1000 <= taken <= 100 + 2000 * (time.monotonic() - began)


def test_a_killed_process_holds_nobody_up_and_refills_nothing(crowd: Crowd, path: str) -> None:
    rule = limits.Rule(requests_per_second=50_000.0, burst_requests=1, requests_per_day=10_000_000)
    crowd.ask_all("set_rules", [rule])
    crowd.path = path  # of those that come in place of others
    for i in range(8):
        victim = i % PROCESSES
        for j in range(PROCESSES):
            crowd.tell(j, "press", "a", 0.4)
        time.sleep(0.1 + 0.013 * i)  # whoever is killed is in the middle of something
        crowd.kill(victim)
        others = [crowd.answer(j) for j in range(PROCESSES) if j != victim]
        assert min(others) > 0, "nobody waits for the dead"
        crowd.ask(victim, "set_rules", [rule])
    # What was taken is taken: the day has so much less, whoever took it.
    ours = limits.Limits(path)
    ours.set_rules([limits.Rule(requests_per_day=1)])
    refused = ours.admit("a", "x", time.monotonic(), 0.0)
    assert refused is not None
    assert refused.limit == "requests_per_day"


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"x" * 100)
    for wrong, code in ((other, "corrupt"), (tmp_path / "nowhere" / "limits", "io")):
        with pytest.raises(status.NativeError) as refused:
            limits.Limits(wrong)
        assert refused.value.code == code
