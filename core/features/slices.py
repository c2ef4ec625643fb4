"""Time slices of a source: consecutive ranges of event time, each with a bounded number of rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import polars as pl

from mainspring.core import errors
from mainspring.core.features import frames, lake

__all__ = ["Slice", "from_us", "plan", "timed", "to_us", "within"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_US: Final = timedelta(microseconds=1)
#: Ranges counted in one pass over the times.
_BUCKETS: Final = 1024


@dataclass(frozen=True)
class Slice:
    """The `rows` rows with event time within [first_us, last_us]."""

    first_us: int
    last_us: int
    rows: int


def to_us(time: datetime) -> int:
    """UTC microseconds since 1970; a naive time is UTC."""
    return ((time if time.tzinfo else time.replace(tzinfo=UTC)) - _EPOCH) // _US


def from_us(us: int) -> datetime:
    """The time of UTC microseconds."""
    return _EPOCH + us * _US


def timed(source: lake.Rows, *times: str | None) -> pl.LazyFrame:
    """The source's rows, the named columns as UTC microseconds. Errors: SchemaMismatch, what scanning raises."""
    rows = source.scan()
    return rows.with_columns(lake.as_time(rows, time, what=f"`{source.uri}`") for time in times if time)


def within(rows: pl.LazyFrame, time: str, first_us: int | None, last_us: int) -> pl.LazyFrame:
    """The rows with `time` within [first_us, last_us]; None is from ever. A null time is not."""
    rows = rows.filter(pl.col(time) <= _time(last_us))
    return rows if first_us is None else rows.filter(pl.col(time) >= _time(first_us))


def plan(source: lake.Rows, time: str, *, first_us: int | None, last_us: int, slice_rows: int) -> list[Slice]:
    """The slices of [first_us, last_us] in order of time: none empty, none above `slice_rows` but of one instant.

    Memory: counts only; the times are read once, and once more for each range in which rows crowd.
    Errors: InvalidRequest unless `slice_rows` is positive; what reading the source raises.
    """
    if slice_rows < 1:
        raise errors.InvalidRequest(
            f"slices of {slice_rows} rows, expected at least 1; give `slice_rows`", field="slice_rows"
        )
    with source.named():
        rows = within(timed(source, time), time, first_us, last_us).select(pl.col(time).to_physical())
        first, last, n = rows.select(
            pl.first().min().alias("first"), pl.first().max().alias("last"), pl.len().alias("n")
        ).collect(engine="streaming").row(0)  # fmt: skip
        return list(_divided(rows, Slice(first, last, n), slice_rows)) if n else []


def _divided(times: pl.LazyFrame, whole: Slice, slice_rows: int) -> Iterator[Slice]:
    if whole.rows <= slice_rows or whole.first_us == whole.last_us:
        yield whole
        return
    width = -(-(whole.last_us - whole.first_us + 1) // _BUCKETS)
    counted = (
        times.filter(pl.first().is_between(whole.first_us, whole.last_us))
        .group_by(((pl.first() - whole.first_us) // width).alias("bucket"))
        .agg(pl.len().alias("n"))
        .sort("bucket")
        .collect(engine="streaming")
    )
    held: Slice | None = None
    for bucket, n in counted.iter_rows():
        first = whole.first_us + bucket * width
        found = Slice(first, min(first + width - 1, whole.last_us), n)
        if held is not None and held.rows + n <= slice_rows:
            held = Slice(held.first_us, found.last_us, held.rows + n)
            continue
        if held is not None:
            yield from _divided(times, held, slice_rows)
        held = found
    if held is not None:
        yield from _divided(times, held, slice_rows)


def _time(us: int) -> pl.Expr:
    return pl.lit(us, pl.Int64).cast(frames.TIME)
