"""The as-of join against a brute-force reading of its own words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.core import errors
from mainspring.core.features import frames, point_in_time, schema

T0 = datetime(2013, 3, 10, 6, 59, tzinfo=UTC)  # a minute before New York skips an hour: UTC does not care

KEYS = (schema.Column(name="carrier", dtype="string"), schema.Column(name="flight", dtype="int64"))
FIELDS = (schema.Column(name="late", dtype="float32"), schema.Column(name="gate", dtype="string"))


def at(minute: float) -> datetime:
    return T0 + timedelta(minutes=minute)


def view(ttl_minutes: int | None) -> schema.FeatureView:
    return schema.FeatureView(
        name="v", keys=KEYS, fields=FIELDS, ttl_seconds=None if ttl_minutes is None else ttl_minutes * 60
    )


def entities(rows: list[tuple[Any, Any, Any]]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "n": range(len(rows)),
            "carrier": [r[0] for r in rows],
            "flight": [r[1] for r in rows],
            "as_of": [r[2] for r in rows],
        },
        schema={"n": pl.Int64, "carrier": pl.String, "flight": pl.Int64, "as_of": frames.TIME},
    )


def facts(rows: list[tuple[Any, Any, Any, Any, Any]]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "carrier": [r[0] for r in rows],
            "flight": [r[1] for r in rows],
            "event_timestamp": [r[2] for r in rows],
            "created_timestamp": [r[3] for r in rows],
            "late": [r[4] for r in rows],
            "gate": [None if r[4] is None else f"g{r[4]}" for r in rows],
        },
        schema={
            "carrier": pl.String,
            "flight": pl.Int64,
            "event_timestamp": frames.TIME,
            "created_timestamp": frames.TIME,
            "late": pl.Float32,
            "gate": pl.String,
        },
    )


def brute_force(asked: pl.DataFrame, known: pl.DataFrame, ttl: timedelta | None) -> list[tuple[Any, Any]]:
    answers = []
    for row in asked.iter_rows(named=True):
        best: Any = None
        for fact in known.iter_rows(named=True):
            if None in (row["carrier"], row["flight"], fact["carrier"], fact["flight"]):
                continue
            if (fact["carrier"], fact["flight"]) != (row["carrier"], row["flight"]) or fact[
                "event_timestamp"
            ] > row["as_of"]:
                continue
            order = (fact["event_timestamp"], fact["created_timestamp"])
            if best is None or order >= (best["event_timestamp"], best["created_timestamp"]):
                best = fact
        alive = best is not None and (ttl is None or row["as_of"] - best["event_timestamp"] <= ttl)
        answers.append((best["late"], best["gate"]) if alive else (None, None))
    return answers


MINUTES = st.integers(0, 20).map(at)
ENTITY = st.tuples(st.sampled_from(["AA", "UA", None]), st.sampled_from([1, 2, None]), MINUTES)
FACT = st.tuples(
    st.sampled_from(["AA", "UA", None]),
    st.sampled_from([1, 2, None]),
    MINUTES,
    MINUTES,
    st.one_of(st.none(), st.integers(0, 9).map(float)),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(ENTITY, max_size=12), st.lists(FACT, max_size=15), st.sampled_from([None, 1, 5]))
def test_it_equals_brute_force(asked: Any, known: Any, ttl: int | None) -> None:
    left, right = entities(asked), facts(known)
    got = point_in_time.join_view(left, view(ttl), right)
    assert got.columns == ["v__late", "v__gate"] and got.height == left.height
    want = brute_force(left, right, None if ttl is None else timedelta(minutes=ttl))
    assert got.rows() == want


def test_rows_are_never_dropped_reordered_or_deduplicated() -> None:
    asked = entities([("UA", 1, at(5)), ("ZZ", 9, at(5)), ("UA", 1, at(3)), ("UA", 1, at(5))])
    service = schema.FeatureService(name="s", views=(view(None),))
    got = point_in_time.join_service(
        asked, service, {"v": facts([("UA", 1, at(2), at(2), 2.0), ("UA", 1, at(4), at(4), 4.0)])}
    )
    assert got["n"].to_list() == [0, 1, 2, 3]
    assert got["v__late"].to_list() == [4.0, None, 2.0, 4.0]
    assert got.columns == ["n", "carrier", "flight", "as_of", "v__late", "v__gate"]


def test_the_ttl_edge_is_alive_and_one_microsecond_more_is_null() -> None:
    known = facts([("UA", 1, at(0), at(0), 1.0)])
    asked = entities([("UA", 1, at(5)), ("UA", 1, at(5) + timedelta(microseconds=1))])
    assert point_in_time.join_view(asked, view(5), known)["v__late"].to_list() == [1.0, None]


def test_a_stale_newest_row_is_null_and_an_event_at_as_of_counts() -> None:
    known = facts([("UA", 1, at(5), at(5), 1.0)])
    asked = entities([("UA", 1, at(5)), ("UA", 1, at(5) - timedelta(microseconds=1))])
    assert point_in_time.join_view(asked, view(5), known)["v__late"].to_list() == [1.0, None]


def test_created_time_breaks_ties_whatever_the_row_order() -> None:
    rows = [("UA", 1, at(1), at(9), 9.0), ("UA", 1, at(1), at(2), 2.0)]
    asked = entities([("UA", 1, at(30))])
    for order in (rows, rows[::-1]):
        assert point_in_time.join_view(asked, view(None), facts(order))["v__late"].to_list() == [9.0]


def test_a_null_value_of_the_newest_row_is_the_answer() -> None:
    known = facts([("UA", 1, at(1), at(1), 1.0), ("UA", 1, at(2), at(2), None)])
    assert point_in_time.join_view(entities([("UA", 1, at(3))]), view(None), known)["v__late"].to_list() == [
        None
    ]


def test_newest_without_ttl_tells_when_it_was() -> None:
    found = point_in_time.newest(
        entities([("UA", 1, at(60)), ("AA", 1, at(60))]),
        view(5),
        facts([("UA", 1, at(1), at(2), 1.0)]),
        ignore_ttl=True,
    )
    assert found["event_timestamp"].to_list() == [at(1), None]
    assert found["created_timestamp"].to_list() == [at(2), None]


@pytest.mark.parametrize(
    ("asked", "known", "feature"),
    [
        (entities([]).drop("carrier"), facts([]), "carrier"),
        (entities([]).with_columns(pl.col("flight").cast(pl.Int32)), facts([]), "flight"),
        (entities([]).with_columns(pl.col("as_of").dt.replace_time_zone(None)), facts([]), "as_of"),
        (entities([("UA", 1, None)]), facts([]), "as_of"),
        (entities([]), facts([]).drop("late"), "late"),
        (entities([]), facts([]).with_columns(pl.col("late").cast(pl.Float64)), "late"),
        (
            entities([]),
            facts([]).with_columns(pl.col("event_timestamp").cast(pl.Datetime("ns", "UTC"))),
            "event_timestamp",
        ),
        (entities([]), facts([]).drop("created_timestamp"), "created_timestamp"),
    ],
)
def test_a_wrong_frame_is_refused_by_column(asked: pl.DataFrame, known: pl.DataFrame, feature: str) -> None:
    with pytest.raises(errors.SchemaMismatch) as caught:
        point_in_time.join_view(asked, view(None), known)
    assert caught.value.feature == feature


def test_a_view_without_rows_given_is_refused() -> None:
    with pytest.raises(errors.NotFound, match="`v` of service `s`"):
        point_in_time.join_service(entities([]), schema.FeatureService(name="s", views=(view(None),)), {})


def test_empty_sides_join() -> None:
    assert point_in_time.join_view(entities([]), view(1), facts([])).shape == (0, 2)
    assert point_in_time.join_view(entities([("UA", 1, at(0))]), view(1), facts([])).rows() == [(None, None)]
