"""Trailing aggregates over a stream of facts, each fact placed at the time when it was known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

import polars as pl

from mainspring.core import errors
from mainspring.core.features import frames

__all__ = ["CREATED", "EVENT", "Aggregate", "trailing"]

#: The time columns of every view's rows, as the Feast sources name them.
EVENT: Final = "event_timestamp"
CREATED: Final = "created_timestamp"

_ONE: Final = "__one"
_WHOLE: Final = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.Boolean)


@dataclass(frozen=True)
class Aggregate:
    """`name` is the result's; `column` is a whole number or bool, whose nulls do not count. `rows` counts rows."""

    name: str
    how: Literal["mean", "sum", "rows"]
    column: str = ""


def trailing(
    events: pl.DataFrame,
    *,
    keys: Sequence[str],
    known_at: str,
    window: timedelta,
    aggregates: Sequence[Aggregate],
) -> pl.DataFrame:
    """One row per key and instant at which something became known, over the facts of (instant - window, instant].

    Shapes:  keys, `event_timestamp`, `created_timestamp` (equal: known means knowable), one float32 per aggregate;
             sorted by event time, then keys. Facts of one instant count together, in all of their rows.
    Missing: facts with a null key or time are left out; a mean of nothing is null, a sum of nothing 0.
    Exact:   sums are whole numbers, so results depend neither on row order nor on how the sum is made: an
             incremental stream gives the same bits.
    Errors:  SchemaMismatch for an absent or fractional column; InvalidRequest for a window of 0 or less.
    """
    if window <= timedelta(0):
        raise errors.InvalidRequest(
            f"window is {window}, expected more than 0; give a trailing length", field="window"
        )
    used = sorted({a.column for a in aggregates if a.how != "rows"})
    _check(events, [*keys, *used], known_at, used)
    facts = (
        events.lazy()
        .select(*keys, known_at, *(pl.col(c).cast(pl.Int64) for c in used))
        .drop_nulls([*keys, known_at])
        .sort(*keys, known_at)
    )

    def over_window(value: pl.Expr) -> pl.Expr:
        return value.rolling_sum_by(known_at, window_size=window, closed="right").over(keys)

    sums = {c: over_window(pl.col(c).fill_null(0)) for c in used}
    counts = {c: over_window(pl.col(c).is_not_null().cast(pl.Int64)) for c in used}
    rows = over_window(pl.col(_ONE))
    results = []
    for a in aggregates:
        if a.how == "rows":
            value = rows
        elif a.how == "sum":
            value = sums[a.column]
        else:
            value = pl.when(counts[a.column] > 0).then(sums[a.column] / counts[a.column])
        results.append(value.cast(pl.Float32).alias(a.name))
    return (
        facts.with_columns(pl.lit(1, pl.Int64).alias(_ONE))
        .select(*keys, pl.col(known_at).alias(EVENT), pl.col(known_at).alias(CREATED), *results)
        .unique([*keys, EVENT], keep="any")
        .sort(EVENT, *keys)
        .collect()
    )


def _check(events: pl.DataFrame, columns: Sequence[str], known_at: str, whole: Sequence[str]) -> None:
    schema = events.schema
    frames.check(
        schema,
        {known_at: frames.TIME, **{c: schema.get(c, "any type") for c in columns}},
        what="event stream",
    )
    for name in whole:
        if schema[name] not in _WHOLE:
            raise errors.SchemaMismatch(
                f"column `{name}` of event stream has type {schema[name]}, expected a whole number or bool;"
                " scale and round it, so that its sums are exact",
                feature=name,
                expected="a whole number or bool",
                got=str(schema[name]),
            )
