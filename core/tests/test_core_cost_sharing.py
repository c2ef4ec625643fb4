"""What is of all is shared to the last billionth."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.contracts.capacity import Capacity
from mainspring.core.contracts.cost_reports import SHARED, Split
from mainspring.core.cost import sharing

NANOS = st.integers(-(10**6), 10**18)
OF = st.builds(
    sharing.Of,
    st.sampled_from(["ray-train", "serving", "storage"]),
    st.sampled_from(["cpu_core_hour", "gpu_hour"]),
    st.sampled_from(list(Capacity)),
    st.booleans(),
)
USED = st.dictionaries(OF, NANOS, min_size=1, max_size=6)
DIRECT = st.dictionaries(st.sampled_from(["alpha", "beta", "gamma", "=delta"]), USED, max_size=4)


@given(NANOS, st.lists(st.integers(0, 10**18), min_size=1, max_size=20).filter(any))
def test_shares_add_up_and_are_never_a_billionth_off(nanos: int, weights: list[int]) -> None:
    found = sharing.shares(nanos, weights)
    assert sum(found) == nanos
    for part, weight in zip(found, weights, strict=True):
        assert abs(part - Fraction(nanos * weight, sum(weights))) < 1


def test_what_is_left_goes_to_the_largest_remainders_and_of_equal_ones_to_the_first() -> None:
    assert sharing.shares(10, [1, 1, 1]) == [4, 3, 3]
    assert sharing.shares(10, [1, 2, 4]) == [1, 3, 6]  # 1.43, 2.86, 5.71
    assert sharing.shares(0, [3, 4]) == [0, 0]
    assert sharing.shares(1, [0, 5]) == [0, 1]


@given(DIRECT, st.dictionaries(OF, NANOS, max_size=6), st.sampled_from(list(Split)))
def test_nothing_is_lost_and_nothing_is_made(
    direct: dict[str, dict[sharing.Of, int]], shared: dict[sharing.Of, int], split: Split
) -> None:
    lines = sharing.charge(direct, shared, split)
    assert lines == sorted(lines) == sharing.charge(direct, dict(reversed(shared.items())), split)
    for of in {*shared, *(of for used in direct.values() for of in used)}:
        told = sum(line.nanos for line in lines if line.of == of)
        assert told == shared.get(of, 0) + sum(used.get(of, 0) for used in direct.values())
    for name, used in direct.items():
        own = {line.of: line.nanos for line in lines if line.receiver == name and not line.is_share}
        assert own == used, "what a receiver has itself is as it was"
    if split is Split.NONE or not direct:
        assert {line.receiver for line in lines if line.is_share} <= {SHARED}
    else:
        assert {line.receiver for line in lines} <= set(direct)


@pytest.mark.parametrize(
    ("split", "shares"),
    [
        (Split.EVEN, {"a": 50, "b": 50}),
        (Split.PROPORTIONAL, {"a": 25, "b": 75}),
        (Split.NONE, {SHARED: 100}),
    ],
)
def test_the_rule_says_who_has_what(split: Split, shares: dict[str, int]) -> None:
    of, shared = sharing.Of("ray-train", "gpu_hour"), sharing.Of("storage", "storage_gib_month")
    lines = sharing.charge({"a": {of: 10}, "b": {of: 30}}, {shared: 100}, split)
    assert {line.receiver: line.nanos for line in lines if line.is_share} == shares


def test_of_receivers_without_costs_each_has_the_same() -> None:
    of = sharing.Of("ray-train", "gpu_hour")
    lines = sharing.charge({"a": {of: 0}, "b": {of: 0}}, {of: 3}, Split.PROPORTIONAL)
    assert [(line.receiver, line.nanos) for line in lines if line.is_share] == [("a", 2), ("b", 1)]
