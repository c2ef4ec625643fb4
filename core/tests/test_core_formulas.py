"""Formulas: what they mean, the same bits by NumPy and natively, and errors for what makes no sense."""

from __future__ import annotations

import doctest
import math
import types
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import core_flights_by_hand as by_hand
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.core import errors
from mainspring.core.features import derivation, formulas, schema
from mainspring.core.features.formulas import entry, is_below, local_minutes, ratio, real, whole, year
from mainspring.core.reference.flight_delay import request_time

HOUR_US = 3_600_000_000
CALENDAR_END_US = 253_402_300_800_000_000


def bits(values: np.ndarray[Any, Any]) -> list[int]:
    """All NaN are one: which of two missing values goes on is no value."""
    if values.dtype == np.int64:
        return values.tolist()
    clean = np.where(np.isnan(values), np.float32(np.nan), values)
    return clean.view(np.int32).tolist()


def same(made: derivation.Derivation, columns: dict[str, np.ndarray[Any, Any]]) -> bool:
    """Whether native code answers, and then with NumPy's bits."""
    expected = made(columns)
    inputs = [columns[n].astype(np.int64 if k == "whole" else np.float64) for n, k in made.inputs.items()]
    got = made.compiled.run(inputs)
    if got is None:
        return False
    for column, values in zip(made.columns, got, strict=True):
        assert values.dtype == column.numpy_dtype
        assert bits(values) == bits(expected[column.name]), column.name
    return True


def declared(**columns: formulas.Formula) -> derivation.Derivation:
    """Each as float32, and whole ones as int64, too."""
    named = {schema.Column(name=n, dtype="float32"): f for n, f in columns.items()}
    named |= {schema.Column(name=f"{n}_whole", dtype="int64"): f for n, f in columns.items() if f.is_whole}
    return derivation.Derivation(named)


A, B, X, Y = whole("a"), whole("b"), real("x"), real("y")
EVERYTHING = declared(
    add=A + B, subtract=A - B, more=A + 7, less=A - 2**62, floor=A // 7, modulo=A % 1440, mixed=A + X, minus=X - A,
    times=X * Y, scaled=A * 0.1, by=X / Y, whole_by=A / 3, none_by=A / (B % 2), ratio=ratio(X, Y), below=is_below(X, Y),
    below_3=is_below(A, 3.5), entry=entry([1.0, -2.5, math.inf], A), real_entry=entry([0.1, 0.2, 0.3, 1e300, -0.0], X),
    of_entry=entry([1.0, 2.0], X) * Y,
)  # fmt: skip
CLOCKS = declared(
    new_york=local_minutes(A, "America/New_York") % 1440,
    adelaide=local_minutes(A, "Australia/Adelaide") // 60,
    utc=local_minutes(B, "UTC"),
    year=year(B),
)
WHOLES = st.one_of(st.sampled_from([0, 1, -1, -(2**63), 2**63 - 1]), st.integers(-(2**63), 2**63 - 1))
REALS = st.one_of(st.sampled_from([0.0, -0.0, 360.0, -1e-300, 5.0, -5.0]), st.floats())


@settings(max_examples=500, deadline=None)
@given(rows=st.lists(st.tuples(WHOLES, WHOLES, REALS, REALS), min_size=1, max_size=5))
def test_every_formula_has_numpys_bits(rows: list[tuple[int, int, float, float]]) -> None:
    a, b, x, y = zip(*rows, strict=True)
    columns = {"a": np.array(a), "b": np.array(b), "x": np.array(x), "y": np.array(y)}
    assert same(EVERYTHING, columns)
    with np.errstate(over="ignore"):
        assert same(EVERYTHING, columns | {n: columns[n].astype(np.float32) for n in "xy"})


@settings(max_examples=300, deadline=None)
@given(a=st.integers(0, 4_102_444_799_999_999), b=st.integers(0, 4_102_444_799_999_999))
def test_every_time_is_read_alike(a: int, b: int) -> None:
    assert same(CLOCKS, {"a": np.array([a]), "b": np.array([b])})


@pytest.mark.parametrize("zone", ["America/New_York", "Australia/Adelaide", "Asia/Kolkata", "UTC"])
def test_clocks_are_right_as_far_as_they_are_known(zone: str) -> None:
    hours = np.arange(0, 4_102_444_800 // 3600, 5)  # of 260 changes of a clock a fifth is met to the hour
    made = declared(local=local_minutes(A, zone))
    assert same(made, {"a": hours * HOUR_US + 59 * 60_000_000})
    some = hours[:: len(hours) // 500]
    local = [
        datetime.fromtimestamp(h * 3600, UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=UTC)
        for h in some.tolist()
    ]
    expected = [round(one.timestamp()) // 60 for one in local]
    assert made({"a": some * HOUR_US})["local_whole"].tolist() == expected


@pytest.mark.parametrize(
    ("a", "b", "is_native"),
    [
        (0, 0, True),
        (4_102_444_799_999_999, 4_102_444_799_999_999, True),
        (-1, 0, False),
        (4_102_444_800_000_000, 0, False),
        (0, -1, False),
        (-(2**63), -(2**63), False),
        (2**63 - 1, 0, False),
    ],
)
def test_times_that_only_python_knows_are_left_to_it(a: int, b: int, is_native: bool) -> None:
    columns = {"a": np.array([0, a]), "b": np.array([0, b])}
    assert same(CLOCKS, columns) is is_native
    assert all(values.shape == (2,) for values in CLOCKS(columns).values())


def test_years_are_the_calendars() -> None:
    days = np.concatenate([np.arange(0, 60_000), np.arange(0, CALENDAR_END_US // (24 * HOUR_US), 97)])
    assert same(declared(year=year(A)), {"a": days * 24 * HOUR_US})


def test_what_is_meant_by_hand() -> None:
    got = EVERYTHING(
        {
            "a": np.array([-1, 2**63 - 1]),
            "b": np.array([2, 1]),
            "x": np.array([-6.5, np.inf]),
            "y": np.array([0.0, np.nan]),
        }
    )
    assert got["add_whole"].tolist() == [1, -(2**63)]
    assert (got["floor_whole"][0], got["modulo_whole"][0]) == (-1, 1439)
    assert got["whole_by"][0] == np.float32(-1 / 3)
    assert math.isnan(got["ratio"][0]) and math.isnan(got["below"][1]) and got["below"][0] == 1.0
    assert got["entry"][0] == math.inf and got["real_entry"][0] == math.inf
    assert math.isnan(got["real_entry"][1])


def request(**changed: list[Any]) -> dict[str, np.ndarray[Any, Any]]:
    types = {
        "scheduled_departure_us": np.int64,
        "scheduled_arrival_us": np.int64,
        "tail_last__arr_known_us": np.float64,
    }
    return {n: np.array(v, types.get(n, np.float32)) for n, v in changed.items()}


FLOATS = st.one_of(st.sampled_from([0.0, -0.0, 360.0, 359.999, -1e-30]), st.floats(width=32))
THESE_DAYS = st.integers(0, 4_102_444_799_999_999)


@settings(max_examples=500, deadline=None)
@given(
    times=st.lists(st.tuples(st.one_of(THESE_DAYS, THESE_DAYS, WHOLES), THESE_DAYS), min_size=1, max_size=4),
    data=st.data(),
)
def test_the_flights_formulas_have_the_bits_of_the_function_by_hand(
    times: list[tuple[int, int]], data: st.DataObject
) -> None:
    departures, arrivals = zip(*times, strict=True)
    rest = {
        name: data.draw(st.lists(FLOATS, min_size=len(times), max_size=len(times)))
        for name, kind in request_time.derive.inputs.items()
        if kind == "real"
    }
    columns = request(scheduled_departure_us=[*departures], scheduled_arrival_us=[*arrivals], **rest)
    try:
        expected = by_hand.derive(columns)
    except OverflowError:  # its mistake in the calendar's first hours
        expected = request_time.derive(columns)
    got = request_time.derive(columns)
    assert {n: (v.dtype, bits(v)) for n, v in got.items()} == {
        n: (v.dtype, bits(v)) for n, v in expected.items()
    }
    assert same(request_time.derive, columns) is all(0 <= t <= 4_102_444_799_999_999 for t in departures)


def test_the_first_hours_of_the_calendar_are_no_error() -> None:
    first = -62_135_596_800_000_000
    got = CLOCKS({"a": np.array([first, first - 1]), "b": np.array([first, first])})
    assert got["year_whole"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: X % 3, "is real, a whole formula is expected"),
        (lambda: X // 3, "is real"),
        (lambda: year(X), "is real"),
        (lambda: A % 0, "the divisor is 0"),
        (lambda: A // -1, "the divisor is -1"),
        (lambda: entry([], A), "a table has no entry"),
        (lambda: declared(a=whole("a") + 1, b=real("a") + 1), "`a` is read as a whole and as a real one"),
        (
            lambda: derivation.Derivation({schema.Column(name="c", dtype="int64"): X}),
            "`c` is int64 of a real formula",
        ),
        (lambda: derivation.Derivation({schema.Column(name="c", dtype="float64"): X}), "`c` is float64"),
        (lambda: derivation.Derivation({}), "read no column"),
    ],
)
def test_what_makes_no_sense_is_refused_when_it_is_declared(make: Any, words: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=words):
        make()


@pytest.mark.parametrize("module", [formulas, derivation])
def test_the_examples_in_the_docstrings(module: types.ModuleType) -> None:
    found = doctest.testmod(module)
    assert found.attempted > 1 and found.failed == 0
