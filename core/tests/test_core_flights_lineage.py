"""What the reference project says its columns are made of is what moves them: proven by moving one column at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from core_flights_world import days

from mainspring.core.features import frames
from mainspring.core.reference.flight_delay import dataset, request_time, source, views

SMALL = days(4, 8)
BEFORE = views.compute(SMALL)
SOURCES = views.sources()


def text(column: str) -> pl.Expr:
    # Another value for all, and one that merges what was apart: shares and counts by key move then.
    return pl.when(pl.int_range(pl.len()) % 3 == 0).then(pl.lit("ZZ")).otherwise(pl.col(column)).alias(column)


def moved(column: str) -> pl.Expr:
    return (
        pl.when(pl.int_range(pl.len()) % 3 == 0)
        .then(pl.col(column) + 7)
        .otherwise(pl.col(column))
        .alias(column)
    )


def later(column: str) -> pl.Expr:
    return (pl.col(column) + timedelta(hours=1, minutes=7)).alias(column)


CHANGES: dict[str, Callable[[str], pl.Expr]] = {
    **dict.fromkeys(("flights.carrier", "flights.tailnum", "flights.origin", "flights.dest", "weather.origin", "planes.tailnum"), text),
    **dict.fromkeys(("flights.flight", "flights.arr_delay", "flights.distance", "flights.air_time"), moved),
    # Thirty minutes more for a third of them: early ones become late ones.
    "flights.dep_delay": lambda c: pl.when(pl.int_range(pl.len()) % 3 == 0).then(pl.col(c) + 30).otherwise(pl.col(c)).alias(c),
    **{f"weather.{f}": moved for f in views.WEATHER_FIELDS},
    **{f"planes.{f}": moved for f in views.PLANE_FIELDS},
    **dict.fromkeys(("flights.scheduled_departure", "flights.scheduled_arrival", "weather.time_hour"), later),
}  # fmt: skip


def rows(computed: dict[str, pl.DataFrame], view: str, field: str) -> pl.DataFrame:
    """A field's rows as a set: with their keys and times, in one order."""
    fields = {f.partition(".")[2] for f in SOURCES if f.startswith(f"{view}.")}
    named = [c for c in computed[view].columns if c not in fields]
    return computed[view].select(*named, field).sort(*named, field)


@pytest.mark.parametrize("column", sorted(CHANGES))
def test_a_lake_column_moves_what_names_it_and_nothing_else(column: str) -> None:
    table, _, name = column.partition(".")
    frame = getattr(SMALL, table).with_columns(CHANGES[column](name))
    changed: source.Tables = replace(SMALL, **{table: frame})
    after = views.compute(changed)
    moved_fields = {f for f in SOURCES if not rows(BEFORE, *_split(f)).equals(rows(after, *_split(f)))}
    assert moved_fields == {field for field, of in SOURCES.items() if column in of}


def test_every_field_of_every_view_is_told() -> None:
    keys = {"carrier", "flight", "tailnum", "origin", "dest", "event_timestamp", "created_timestamp"}
    assert set(SOURCES) == {f"{v}.{f}" for v, rows in BEFORE.items() for f in rows.columns if f not in keys}
    assert {c for of in SOURCES.values() for c in of} <= set(CHANGES)


def test_a_request_time_feature_is_moved_by_what_it_names_alone() -> None:
    asked = dataset.requests(SMALL.flights).head(400)
    columns = frames.to_numpy(asked, request_time.REQUEST_COLUMNS)
    n, rng = asked.height, np.random.default_rng(1)
    stored = {c for of in request_time.DERIVED_FROM.values() for c in of} - set(columns)
    columns |= {
        c: rng.uniform(1, 300, n).astype(np.float32) for c in sorted(stored - {"tail_last__arr_known_us"})
    }
    columns["tail_last__arr_known_us"] = columns["scheduled_departure_us"] - rng.uniform(1e9, 1e10, n)
    before = request_time.derive(columns)
    for name, values in columns.items():
        step = (400 * 86_400 + 6_180) * 1_000_000 if name.endswith("_us") else 31
        after = request_time.derive({**columns, name: (values + step).astype(values.dtype)})
        moved_names = {c for c in before if not np.array_equal(before[c], after[c], equal_nan=True)}
        # Fog is a threshold of a difference; any other declared source must move its feature.
        told = {c for c, of in request_time.DERIVED_FROM.items() if name in of}
        assert moved_names <= told and told - moved_names <= {"fog"}, name
    assert set(request_time.DERIVED_FROM) == {c.name for c in request_time.DERIVED}


def _split(field: str) -> tuple[str, str]:
    view, _, name = field.partition(".")
    return view, name
