"""Trailing aggregates against a brute-force reading of their own words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.core import errors
from mainspring.core.features import frames, windows

T0 = datetime(2013, 1, 1, tzinfo=UTC)
AGGREGATES = (
    windows.Aggregate("mean_delay", "mean", "delay"),
    windows.Aggregate("sum_delay", "sum", "delay"),
    windows.Aggregate("cancelled", "mean", "cancelled"),
    windows.Aggregate("n", "rows"),
)


def events(rows: list[tuple[Any, Any, Any, Any]]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "origin": [r[0] for r in rows],
            "known_at": [None if r[1] is None else T0 + timedelta(minutes=r[1]) for r in rows],
            "delay": [r[2] for r in rows],
            "cancelled": [r[3] for r in rows],
        },
        schema={"origin": pl.String, "known_at": frames.TIME, "delay": pl.Int32, "cancelled": pl.Boolean},
    )


def trailing(stream: pl.DataFrame, minutes: int) -> pl.DataFrame:
    return windows.trailing(
        stream, keys=["origin"], known_at="known_at", window=timedelta(minutes=minutes), aggregates=AGGREGATES
    )


def brute_force(
    rows: list[tuple[Any, Any, Any, Any]], minutes: int
) -> dict[tuple[str, int], tuple[Any, ...]]:
    answers = {}
    for key, t, *_ in rows:
        if key is None or t is None:
            continue
        inside = [r for r in rows if r[0] == key and r[1] is not None and t - minutes < r[1] <= t]
        delays = [r[2] for r in inside if r[2] is not None]
        flags = [r[3] for r in inside if r[3] is not None]
        answers[key, t] = (
            np.float32(sum(delays) / len(delays)) if delays else None,
            np.float32(sum(delays)),
            np.float32(sum(flags) / len(flags)) if flags else None,
            np.float32(len(inside)),
        )
    return answers


ROW = st.tuples(
    st.sampled_from(["JFK", "LGA", None]),
    st.one_of(st.none(), st.integers(0, 30)),
    st.one_of(st.none(), st.integers(-30, 999)),
    st.one_of(st.none(), st.booleans()),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(ROW, max_size=20), st.sampled_from([1, 5, 100]))
def test_it_equals_brute_force(rows: Any, minutes: int) -> None:
    got = trailing(events(rows), minutes)
    want = brute_force(rows, minutes)
    found = {
        (r["origin"], int((r["event_timestamp"] - T0).total_seconds() // 60)): (
            r["mean_delay"],
            r["sum_delay"],
            r["cancelled"],
            r["n"],
        )
        for r in got.iter_rows(named=True)
    }
    assert found == want
    assert got.height == len(want)  # one row per key and instant
    assert got["event_timestamp"].equals(got["created_timestamp"].alias("event_timestamp"))
    assert got.select("event_timestamp", "origin").equals(
        got.select("event_timestamp", "origin").sort("event_timestamp", "origin")
    )


@settings(max_examples=30, deadline=None)
@given(st.lists(ROW, min_size=2, max_size=20), st.randoms())
def test_row_order_does_not_change_a_bit(rows: Any, random: Any) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert trailing(events(rows), 7).equals(trailing(events(shuffled), 7))


def test_the_window_is_open_at_its_start_and_closed_at_its_end() -> None:
    got = trailing(events([("JFK", 0, 10, None), ("JFK", 5, 20, None), ("JFK", 5, 40, None)]), 5)
    assert got["n"].to_list() == [
        1.0,
        2.0,
    ]  # the fact of minute 0 is outside (0, 5]; both of minute 5 are inside
    assert got["mean_delay"].to_list() == [10.0, 30.0]


def test_a_later_fact_changes_no_earlier_row() -> None:
    early = [("JFK", 0, 10, None), ("JFK", 3, 20, None)]
    later = [*early, ("JFK", 4, 999, None)]
    assert trailing(events(later), 60).head(2).equals(trailing(events(early), 60))


def test_fractions_bad_windows_and_absent_columns_are_refused() -> None:
    with pytest.raises(errors.SchemaMismatch, match="whole number"):
        trailing(events([]).with_columns(pl.col("delay").cast(pl.Float64)), 5)
    with pytest.raises(errors.SchemaMismatch, match="no column `cancelled`"):
        trailing(events([]).drop("cancelled"), 5)
    with pytest.raises(errors.SchemaMismatch, match="known_at"):
        trailing(events([]).with_columns(pl.col("known_at").dt.replace_time_zone(None)), 5)
    with pytest.raises(errors.InvalidRequest, match="window"):
        trailing(events([]), 0)


def test_no_facts_give_no_rows_of_the_same_type() -> None:
    assert trailing(events([]), 5).schema == trailing(events([("JFK", 1, 1, True)]), 5).schema
    assert trailing(events([]), 5).height == 0


EVERY_HOW = (
    *(windows.Aggregate(how, how, "delay") for how in ("mean", "sum", "count", "min", "max", "last")),
    windows.Aggregate("rows", "rows"),
    *(windows.Aggregate(f"real_{how}", how, "real") for how in ("count", "min", "max", "last")),
)
REAL = st.one_of(
    st.none(), st.just(float("nan")), st.just(-0.0), st.floats(-1e300, 1e300, allow_subnormal=False)
)


def facts(rows: list[tuple[Any, Any, Any, Any]]) -> pl.DataFrame:
    """(origin, seconds, delay, real)."""
    return pl.DataFrame(
        {
            "origin": [r[0] for r in rows],
            "known_at": [None if r[1] is None else T0 + timedelta(seconds=r[1]) for r in rows],
            "delay": [r[2] for r in rows],
            "real": [r[3] for r in rows],
        },
        schema={"origin": pl.String, "known_at": frames.TIME, "delay": pl.Int32, "real": pl.Float64},
    )


def one_column(inside: list[tuple[int, Any]], how: str) -> float | None:
    """An aggregate of (seconds, value) by its own words."""
    there = [(at, v + 0.0) for at, v in inside if v is not None and v == v]
    values = [v for _, v in there]
    if how == "count":
        return float(len(values))
    if how == "sum":
        return float(sum(values))
    if not values:
        return None
    if how == "mean":
        return sum(values) / len(values)
    return {"min": min(values), "max": max(values), "last": max(there)[1]}[how]


def as_float32(value: float | None) -> np.float32 | None:
    with np.errstate(over="ignore"):
        return None if value is None else np.float32(value)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["JFK", "LGA", None]),
            st.one_of(st.none(), st.integers(-90, 400)),
            st.one_of(st.none(), st.integers(-30, 999)),
            REAL,
        ),
        max_size=25,
    ),
    st.sampled_from([(60, 60), (180, 60), (300, 100)]),
)
def test_with_a_hop_each_fact_counts_from_the_next_boundary_on(rows: Any, sizes: tuple[int, int]) -> None:
    window, hop = sizes
    got = windows.trailing(
        facts(rows), keys=["origin"], known_at="known_at", window=timedelta(seconds=window),
        hop=timedelta(seconds=hop), aggregates=EVERY_HOW,
    )  # fmt: skip
    known = [(k, -(-at // hop) * hop, at, d, r) for k, at, d, r in rows if k is not None and at is not None]
    want = {}
    for key, end, *_ in known:
        inside = [(at, d, r) for k, e, at, d, r in known if k == key and end - window < e <= end]
        want[key, T0 + timedelta(seconds=end)] = [
            as_float32(
                float(len(inside))
                if a.how == "rows"
                else one_column(
                    [(at, d) if a.column == "delay" else (at, r) for at, d, r in inside], a.how
                )
            )
            for a in EVERY_HOW
        ]  # fmt: skip
    found = {(r[0], r[1]): list(r[3:]) for r in got.iter_rows()}
    assert found == want


def test_a_hop_must_divide_the_window_and_a_float_may_not_be_summed() -> None:
    ask = {"keys": ["origin"], "known_at": "known_at", "window": timedelta(minutes=5)}
    with pytest.raises(errors.InvalidRequest, match="multiple of the hop"):
        windows.trailing(facts([]), **ask, hop=timedelta(minutes=2), aggregates=EVERY_HOW)
    for how in ("sum", "mean"):
        with pytest.raises(errors.SchemaMismatch, match=f"whole number or bool for `{how}`"):
            windows.trailing(facts([]), **ask, aggregates=[windows.Aggregate("x", how, "real")])
    with pytest.raises(errors.SchemaMismatch, match="a number or bool for `last`"):
        windows.trailing(facts([]), **ask, aggregates=[windows.Aggregate("x", "last", "origin")])
