"""Limits against their specification, from several threads at once, and rules that make no sense."""

from __future__ import annotations

import concurrent.futures
import doctest
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from mainspring.native import limits, reference_limits, status

NAMES = st.sampled_from(["a", "b"])
ENDPOINTS = st.sampled_from(["flights", "hotels"])
RATES = st.none() | st.floats(0.01, 1e4)
COUNTS = st.none() | st.integers(1, 12)
LIMITED = {
    "requests_per_second": RATES,
    "burst_requests": COUNTS,
    "rows_per_second": RATES,
    "burst_rows": COUNTS,
    "requests_per_day": COUNTS,
    "rows_per_day": COUNTS,
}
RULES = st.lists(
    st.builds(limits.Rule, NAMES | st.just("*"), ENDPOINTS | st.just("*"), **LIMITED), max_size=4
)
#: A day takes a few of the longest.
PAUSES = st.sampled_from([0.0, 0.0, 0.001, 0.3, 1.0, 17.0, 30_000.0])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("admit"), NAMES, ENDPOINTS, PAUSES),
        st.tuples(st.just("admit"), NAMES, ENDPOINTS, PAUSES),
        st.tuples(st.just("give_back"), NAMES, ENDPOINTS, PAUSES),
        st.tuples(st.just("charge"), NAMES, ENDPOINTS, st.integers(0, 30)),
        st.tuples(st.just("set_rules"), RULES),
        st.tuples(
            st.just("throttle"),
            NAMES,
            ENDPOINTS,
            st.none() | st.builds(limits.Rule, NAMES, ENDPOINTS, **LIMITED),
        ),
    ),
    max_size=60,
)


@hypothesis.settings(max_examples=400, deadline=None)
@hypothesis.given(rules=RULES, steps=STEPS)
def test_every_step_is_what_the_specification_says(rules: list[limits.Rule], steps: list[Any]) -> None:
    ours, theirs = limits.Limits(), reference_limits.ReferenceLimits()
    both = ours, theirs
    monotonic, wall = 1000.0, 20_000 * 86_400 + 43_200.0
    for one in both:
        one.set_rules(rules)
    for what, *given in steps:
        if what == "set_rules":
            for one in both:
                one.set_rules(*given)
        elif what == "throttle":
            for one in both:
                one.throttle(*given)
        elif what == "charge":
            for one in both:
                one.charge(*given, monotonic, wall)
        else:
            *pair, pause = given
            monotonic, wall = monotonic + pause, wall + pause
            did = [getattr(one, what)(*pair, monotonic, wall) for one in both]
            assert did[0] == did[1], (what, given)
        assert ours.is_on == theirs.is_on
    assert sorted(ours.refused()) == sorted(theirs.refused())


def test_clocks_that_threads_read_one_after_the_other_take_nothing_away() -> None:
    accounts = limits.Limits()
    accounts.set_rules([limits.Rule(requests_per_second=1.0, burst_requests=3)])
    assert accounts.admit("a", "x", 10.0, 0.0) is None
    assert accounts.admit("a", "x", 9.0, 0.0) is None
    assert accounts.admit("a", "x", 9.5, 0.0) is None
    refused = accounts.admit("a", "x", 10.5, 0.0)
    assert refused == limits.Refusal("requests_per_second", 1.0, 0.5)


def test_what_is_given_back_is_there_again_and_no_more() -> None:
    accounts = limits.Limits()
    accounts.set_rules([limits.Rule(requests_per_second=1.0, burst_requests=2, requests_per_day=3)])
    for _ in range(50):
        assert accounts.admit("a", "x", 0.0, 0.0) is None
        accounts.give_back("a", "x", 0.0, 0.0)
    assert accounts.give_back("a", "x", 0.0, 0.0) is None
    assert [accounts.admit("a", "x", 0.0, 0.0) is None for _ in range(3)] == [True, True, False]


def test_refusals_stay_counted_when_the_rule_is_gone() -> None:
    accounts = limits.Limits()
    accounts.set_rules([limits.Rule(requests_per_day=1)])
    for _ in range(4):
        accounts.admit("a", "x", 0.0, 0.0)
    accounts.set_rules([limits.Rule("b")])
    assert accounts.admit("a", "x", 0.0, 0.0) is None
    assert accounts.refused() == [("a", "x", 3)]
    accounts.set_rules([limits.Rule(requests_per_day=1)])
    assert accounts.admit("a", "x", 0.0, 0.0) is not None, "the day's are used up still"


def test_threads_never_take_more_than_there_is() -> None:
    accounts = limits.Limits()
    rules = [limits.Rule(requests_per_day=5000), limits.Rule("b", requests_per_day=10)]
    accounts.set_rules(rules)

    def press(i: int) -> int:
        taken = 0
        for n in range(2000):
            if n % 500 == 7:
                accounts.set_rules(rules)
            taken += accounts.admit("a", "x", 0.0, 0.0) is None
        return taken

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(press, range(8))) == 5000
    assert accounts.refused() == [("a", "x", 11_000)]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (
            limits.Rule(requests_per_second=0.0),
            "`requests_per_second` for caller `\\*` and endpoint `\\*` is 0",
        ),
        (limits.Rule(rows_per_second=float("nan")), "expected a number above 0"),
        (limits.Rule(rows_per_second=float("inf")), "expected a number above 0"),
        (limits.Rule(requests_per_second=1.0, burst_requests=-1), "`burst_requests`"),
        (limits.Rule(rows_per_day=0), "`rows_per_day`"),
        (limits.Rule(caller=""), "`caller` is empty"),
        (limits.Rule(endpoint="a\0b"), "`endpoint` is empty or has a zero byte"),
    ],
)
def test_rules_that_make_no_sense_are_refused_whole(rule: limits.Rule, words: str) -> None:
    accounts = limits.Limits()
    accounts.set_rules([limits.Rule(requests_per_day=1)])
    with pytest.raises(status.NativeError, match=words) as refused:
        accounts.set_rules([limits.Rule("b"), rule])
    assert refused.value.code == "bad_spec"
    if rule.caller and "\0" not in rule.endpoint:
        with pytest.raises(status.NativeError, match=words):
            accounts.throttle("a", "x", rule)
    assert [accounts.admit("a", "x", 0.0, 0.0) is None for _ in range(2)] == [True, False]


def test_the_example_in_the_docstring_runs() -> None:
    assert doctest.testmod(limits) == (0, 4)
