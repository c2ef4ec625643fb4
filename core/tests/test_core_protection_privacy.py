"""Answers with noise: near the truth by as much as they say, of one person's rows as little as asked, and never of nonsense."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core import errors
from mainspring.core.contracts import privacy as contracts
from mainspring.core.protection import privacy
from mainspring.core.protection.privacy import Asked

ROWS = pl.DataFrame({"who": [f"p{i}" for i in range(1000)], "age": [20.0 + i % 60 for i in range(1000)]})
SURE = 20.0
"""So much epsilon leaves noise of less than one person."""


def test_with_much_epsilon_answers_are_the_truth_within_their_noise() -> None:
    for asked, truth in (
        (Asked("count", "who", SURE), 1000.0),
        (Asked("sum", "who", SURE, "age", (0, 100)), float(ROWS["age"].sum())),
        (Asked("mean", "who", SURE, "age", (0, 100)), float(ROWS["age"].mean())),  # type: ignore[arg-type]
    ):
        found = privacy.answer(ROWS, asked)
        # exp(-30): it does not happen.
        assert abs(found.value - truth) <= 30 * found.scale + 1e-3 * truth, asked
        assert found.epsilon == SURE and found.scale > 0


def test_noise_is_as_wide_as_epsilon_says() -> None:
    measure, scale = privacy._measure(1, 1, 0.5)
    assert scale == pytest.approx(2.0, rel=0.01)
    drawn = [measure([1] * 10) for _ in range(400)]
    spread = sum(abs(value - 10) for value in drawn) / len(drawn)
    assert 1.4 < spread < 2.6  # of a Laplace of scale 2 it is 2, and its deviation over 400 draws 0.1
    assert privacy._measure(1, 3, 0.5)[1] == pytest.approx(6.0, rel=0.01)  # three rows of a person
    assert privacy._measure(50, 1, 0.5)[1] == pytest.approx(100.0, rel=0.01)  # values of up to 50


def test_one_person_hardly_moves_what_may_come_out() -> None:
    """With epsilon 1 no answer is e times likelier with a person than without, but for the error of 2,000 draws."""
    measure, _ = privacy._measure(1, 1, 1.0)
    counts = [Counter(measure([1] * n) for _ in range(2000)) for n in (5, 6)]
    for value in range(4, 8):
        with_one, without = counts[1][value] + 1, counts[0][value] + 1
        slack = 4 * math.sqrt(1 / with_one + 1 / without)
        assert abs(math.log(with_one / without)) <= 1.0 + slack, value


def test_whoever_is_in_many_rows_counts_as_often_as_is_said() -> None:
    rows = pl.concat([ROWS, pl.DataFrame({"who": ["p0"] * 500, "age": [99.0] * 500})])
    assert abs(privacy.answer(rows, Asked("count", "who", SURE)).value - 1000) < 5
    assert abs(privacy.answer(rows, Asked("count", "who", SURE, rows_per_person=3)).value - 1002) < 10


def test_values_beyond_the_bounds_count_as_the_bound_and_missing_ones_for_nothing() -> None:
    rows = pl.DataFrame(
        {"who": ["a", "b", "c", "d", None, "f"], "x": [1e300, -5.0, None, math.nan, 7.0, math.inf]}
    )
    found = privacy.answer(rows, Asked("sum", "who", SURE, "x", (0.0, 10.0)))
    assert abs(found.value - 10.0) <= 30 * found.scale
    assert abs(privacy.answer(rows, Asked("count", "who", SURE)).value - 5) < 3


def test_of_nobody_there_is_an_answer_too() -> None:
    nobody = ROWS.head(0)
    assert abs(privacy.answer(nobody, Asked("count", "who", SURE)).value) < 3
    assert 0 <= privacy.answer(nobody, Asked("mean", "who", 0.1, "age", (0.0, 100.0))).value <= 100


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        (Asked("count", "nobody", 1.0), errors.SchemaMismatch),
        (Asked("sum", "who", 1.0, "weight", (0, 1)), errors.SchemaMismatch),
        (Asked("sum", "who", 1.0, "who", (0, 1)), errors.SchemaMismatch),
        (Asked("sum", "who", 1.0, "age"), errors.InvalidRequest),
        (Asked("mean", "who", 1.0, "age", (5, 5)), errors.InvalidRequest),
        (Asked("mean", "who", 1.0, "age", (9, 5)), errors.InvalidRequest),
        (Asked("mean", "who", 1.0, "age", (0, math.nan)), errors.InvalidRequest),
        (Asked("mean", "who", 1.0, "age", (0, math.inf)), errors.InvalidRequest),
        (Asked("count", "who", 0.0), errors.InvalidRequest),
        (Asked("count", "who", 21.0), errors.InvalidRequest),
        (Asked("count", "who", 1.0, rows_per_person=0), errors.InvalidRequest),
    ],
)
def test_what_cannot_be_answered_is_refused_before_anything_is_charged(
    asked: Asked, error: type[errors.MainspringError]
) -> None:
    for act in (privacy.check, privacy.answer):
        call: Any = act
        with pytest.raises(error):
            call(ROWS, asked)


@given(st.floats(1e-6, 20))
def test_a_charge_is_never_rounded_down(epsilon: float) -> None:
    nanos = contracts.to_nanos(epsilon)
    assert nanos >= epsilon * contracts.NANOS and nanos - epsilon * contracts.NANOS <= 1
