"""Trailing aggregates over a stream of facts, each fact placed at the time when it was known.

The batch side. `core/features/streams/` computes the same definitions event by event, to the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

import polars as pl

from mainspring.core import errors
from mainspring.core.features import frames

__all__ = ["CREATED", "EVENT", "Aggregate", "How", "check_hop", "trailing"]

#: The time columns of every view's rows, as the Feast sources name them.
EVENT: Final = "event_timestamp"
CREATED: Final = "created_timestamp"

_ONE: Final = "__one"
_AT: Final = "__at"
_WHOLE: Final = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.Boolean)
_REAL: Final = (pl.Float32, pl.Float64)
#: These add up, so they take whole numbers only: a sum of floats depends on the order of its terms.
_SUMMED: Final = ("mean", "sum")

How = Literal["mean", "sum", "rows", "count", "min", "max", "last"]


@dataclass(frozen=True)
class Aggregate:
    """`name` is the result's; nulls of `column` do not count, NaN is null. `rows` counts rows, `count` values.

    `mean` and `sum` take a whole number or bool, the others of `column` floats too. `last` is the value of the newest
    fact that has one; of several of one instant, the largest.
    """

    name: str
    how: How
    column: str = ""


def trailing(
    events: pl.DataFrame,
    *,
    keys: Sequence[str],
    known_at: str,
    window: timedelta,
    aggregates: Sequence[Aggregate],
    hop: timedelta | None = None,
) -> pl.DataFrame:
    """One row per key and instant at which something became known, over the facts of (instant - window, instant].

    `hop`: each fact counts from the next multiple of it on (since 1970), so that a window is a whole number of tiles.
    Shapes:  keys, `event_timestamp`, `created_timestamp` (equal: known means knowable), one float32 per aggregate;
             sorted by event time, then keys. Facts of one instant count together, in all of their rows.
    Missing: facts with a null key or time are left out; a sum or count of nothing is 0, all else of nothing null.
    Exact:   sums are whole numbers, so results depend neither on row order nor on how the sum is made: an
             incremental stream gives the same bits. -0.0 counts as 0.0.
    Errors:  SchemaMismatch for an absent column, or a fractional one that is summed; InvalidRequest for a window of 0
             or less, or one that is no multiple of `hop`.
    """
    if window <= timedelta(0):
        raise errors.InvalidRequest(
            f"window is {window}, expected more than 0; give a trailing length", field="window"
        )
    if hop is not None:
        check_hop(window, hop)
    used = sorted({a.column for a in aggregates if a.how != "rows"})
    _check(events, keys, known_at, aggregates)
    at = pl.col(known_at) if hop is None else _rounded_up(known_at, hop)
    facts = (
        events.lazy()
        .select(*keys, known_at, *(_value(c, events.schema[c]) for c in used))
        .drop_nulls([*keys, known_at])
        .with_columns(at.alias(_AT), pl.lit(1, pl.Int64).alias(_ONE))
        .sort(*keys, _AT)
    )
    return (
        facts.select(
            *keys,
            pl.col(_AT).alias(EVENT),
            pl.col(_AT).alias(CREATED),
            *(_over_window(a, keys, known_at, window).cast(pl.Float32).alias(a.name) for a in aggregates),
        )
        .unique([*keys, EVENT], keep="any")
        .sort(EVENT, *keys)
        .collect()
    )


def check_hop(window: timedelta, hop: timedelta) -> None:
    """InvalidRequest unless `window` is a whole number of hops."""
    if hop <= timedelta(0) or window % hop:
        raise errors.InvalidRequest(
            f"window {window} is no multiple of the hop {hop}; give a hop above 0 that divides it",
            field="hop",
        )


def _rounded_up(known_at: str, hop: timedelta) -> pl.Expr:
    width = hop // timedelta(microseconds=1)
    since = pl.col(known_at).dt.epoch("us")
    return (-((-since) // width) * width).cast(frames.TIME)


def _value(column: str, dtype: pl.DataType) -> pl.Expr:
    if dtype not in _REAL:
        # What is only counted may be of any type; for it any number that is there will do.
        whole = pl.col(column) if dtype in _WHOLE else pl.when(pl.col(column).is_not_null()).then(1)
        return whole.cast(pl.Int64).alias(column)
    real = pl.col(column).cast(pl.Float64).fill_nan(None)
    return pl.when(real == 0).then(0.0).otherwise(real).alias(column)


def _over_window(a: Aggregate, keys: Sequence[str], known_at: str, window: timedelta) -> pl.Expr:
    def summed(value: pl.Expr) -> pl.Expr:
        return value.rolling_sum_by(_AT, window_size=window, closed="right").over(keys)

    value = pl.col(a.column or _ONE)
    count = summed(value.is_not_null().cast(pl.Int64))
    match a.how:
        case "rows" | "count":
            return count
        case "sum":
            return summed(value.fill_null(0))
        case "mean":
            return pl.when(count > 0).then(summed(value.fill_null(0)) / count)
        case "min":
            return value.rolling_min_by(_AT, window_size=window, closed="right").over(keys)
        case "max":
            return value.rolling_max_by(_AT, window_size=window, closed="right").over(keys)
        case "last":
            newest = value.sort_by(known_at, a.column).drop_nulls().last().over([*keys, _AT])
            seen_at = pl.when(newest.is_not_null()).then(pl.col(_AT)).forward_fill().over(keys)
            return pl.when(seen_at > pl.col(_AT) - window).then(newest.forward_fill().over(keys))


def _check(events: pl.DataFrame, keys: Sequence[str], known_at: str, aggregates: Sequence[Aggregate]) -> None:
    schema = events.schema
    used = [a.column for a in aggregates if a.how != "rows"]
    frames.check(
        schema,
        {known_at: frames.TIME, **{c: schema.get(c, "any type") for c in (*keys, *used)}},
        what="event stream",
    )
    for a in aggregates:
        if a.how in ("rows", "count") or schema[a.column] in _WHOLE:
            continue
        if a.how not in _SUMMED and schema[a.column] in _REAL:
            continue
        expected = "a whole number or bool" if a.how in _SUMMED else "a number or bool"
        raise errors.SchemaMismatch(
            f"column `{a.column}` of event stream has type {schema[a.column]}, expected {expected} for `{a.how}`;"
            " scale and round it, so that its sums are exact",
            feature=a.column,
            expected=expected,
            got=str(schema[a.column]),
        )
