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
