"""The matching behind every point-in-time join: for each question the newest row of its key, by one sorted search.

Rows of one key and all their times become one number, key code times span plus time, so that the join is a sort of
the rows that can matter and a binary search for each question: nothing is multiplied out, and no row of the question
moves. At 1 M rows x 100 k questions it takes 0.7 of the time of Polars' `join_asof`, which sorts all columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

__all__ = ["Times", "gather", "key_type", "match"]

_ROW: Final = "__row"
_CODE: Final = "__code"
_EVENT: Final = "__event"
_CREATED: Final = "__created"
_EARLIEST: Final = np.iinfo(np.int64).min
_US: Final = timedelta(microseconds=1)
#: Key codes times span stay below this.
_PLACES = 2**62


@dataclass(frozen=True)
class Times:
    """The time columns of a join, all UTC microseconds: `as_of` of the questions, `event` and `created` of the rows."""

    as_of: str
    event: str
    created: str | None
    ttl: timedelta | None = None
    known_only: bool = False
    """Rows whose created time lies after the question's are passed over, and the next older one answers."""


def key_type(dtype: pl.DataType) -> pl.DataType:
    """The type in which keys of both sides meet: whole numbers as Int64, texts as String, others as they are."""
    if dtype.is_integer():
        return pl.Int64()
    return pl.String() if isinstance(dtype, (pl.String, pl.Categorical, pl.Enum)) else dtype


def match(
    asked: pl.DataFrame, rows: pl.LazyFrame, *, keys: Sequence[str], times: Times, columns: Sequence[str]
) -> pl.DataFrame:
    """`columns` of the newest row with event time at or before each question's time, null where none is alive.

    Shapes:  one result row per row of `asked`, in its order. Without keys every row may answer every question.
    Ties:    of one event time the latest created time wins (null is earliest), then the later row of `rows`.
    TTL:     a newest row older than `ttl` is null and is not replaced by another; exactly `ttl` is alive.
    Missing: null keys and null times meet nobody. `asked` has no null in `as_of` (the caller's to check).
    Memory:  the rows of the asked keys within the asked times, streamed out of `rows`; a scan pushes both down.
    """
    codes, distinct = _codes(asked, keys)
    as_of = asked[times.as_of].to_physical().to_numpy()
    right = _candidates(rows, distinct, keys, as_of, times, columns)
    if not right.height or not len(as_of):
        return right.select(columns).clear(len(as_of))
    return gather(right, _search(right, codes, as_of, times), columns)


def gather(rows: pl.DataFrame, positions: NDArray[np.int64], columns: Sequence[str]) -> pl.DataFrame:
    """`columns` of the rows at `positions`, null where that is below 0."""
    if not rows.height:
        return rows.select(columns).clear(len(positions))
    # Any row first and the nulls after: half the time of a gather by an index with nulls.
    found = rows.select(columns)[pl.Series(np.maximum(positions, 0), dtype=pl.UInt32)]
    return found.select(pl.when(pl.Series(positions >= 0)).then(pl.all()))


def _codes(asked: pl.DataFrame, keys: Sequence[str]) -> tuple[NDArray[np.int64], pl.DataFrame]:
    """The number of each question's key, -1 for a key with a null, and the keys by number."""
    if not keys:
        return np.zeros(asked.height, np.int64), pl.DataFrame()
    distinct = asked.lazy().select(keys).drop_nulls().unique().with_row_index(_CODE).collect()
    coded = asked.select(keys).join(distinct, on=list(keys), how="left", maintain_order="left")
    return coded[_CODE].cast(pl.Int64).fill_null(-1).to_numpy(), distinct


def _candidates(
    rows: pl.LazyFrame,
    distinct: pl.DataFrame,
    keys: Sequence[str],
    as_of: NDArray[np.int64],
    times: Times,
    columns: Sequence[str],
) -> pl.DataFrame:
    """The rows that could answer, with their key's number and their times as integers."""
    event = pl.col(times.event)
    wanted = rows.with_row_index(_ROW).filter(event.is_not_null())
    if len(as_of):
        last, first = int(as_of.max()), int(as_of.min())
        wanted = wanted.filter(event <= _time(last))
        if times.ttl is not None:
            wanted = wanted.filter(event >= _time(first - times.ttl // _US))
    else:
        wanted = wanted.filter(False)
    created = pl.lit(_EARLIEST) if times.created is None else pl.col(times.created).to_physical()
    wanted = wanted.select(
        *keys,
        _ROW,
        event.to_physical().alias(_EVENT),
        created.fill_null(_EARLIEST).cast(pl.Int64).alias(_CREATED),
        *columns,
    )
    if keys:
        wanted = wanted.join(distinct.lazy(), on=list(keys), how="inner")
    else:
        wanted = wanted.with_columns(pl.lit(0, pl.UInt32).alias(_CODE))
    return wanted.select(_CODE, _ROW, _EVENT, _CREATED, *columns).collect(engine="streaming")


def _time(us: int) -> pl.Expr:
    return pl.lit(us, pl.Int64).cast(pl.Datetime("us", "UTC"))


def _search(
    right: pl.DataFrame, codes: NDArray[np.int64], as_of: NDArray[np.int64], times: Times
) -> NDArray[np.int64]:
    """For each question its row's position in `right`, or -1."""
    event = right[_EVENT].to_numpy()
    code = right[_CODE].to_numpy().astype(np.int64)
    rank, asked_rank, span = _ranks(event, as_of, int(max(code.max(), codes.max(initial=0))) + 1)
    place = code * span + rank
    order = _sort(right, place)
    place = place[order]
    wanted = codes * span + asked_rank
    # In sorted order each search starts where the last one ended: 5 times faster than as they come.
    by_place = np.argsort(wanted)
    positions = np.empty(len(wanted), np.int64)
    positions[by_place] = np.searchsorted(place, wanted[by_place], side="right") - 1
    floor = codes * span

    def is_match(at: NDArray[np.int64], which: NDArray[np.intp] | slice) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = (at >= 0) & (codes[which] >= 0) & (place[at] >= floor[which])
        return found

    matched = is_match(positions, slice(None))
    if times.known_only:
        created = right[_CREATED].to_numpy()[order]
        late = np.nonzero(matched & (created[positions] > as_of))[0]
        while len(late):
            positions[late] -= 1
            matched[late] = is_match(positions[late], late)
            late = late[matched[late] & (created[positions[late]] > as_of[late])]
    result = np.where(matched, order[positions], -1)
    if times.ttl is not None:
        result[matched & (as_of - event[result] > times.ttl // _US)] = -1
    return result


def _ranks(
    event: NDArray[np.int64], as_of: NDArray[np.int64], n_codes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Times as numbers from 0 up, those of the questions from -1 (before every row), and how many there are."""
    first, last = int(event.min()), int(event.max())
    span = last - first + 1
    if span * n_codes < _PLACES:
        return event - first, np.clip(as_of, first - 1, last) - first, span
    # Too long a time for too many keys: number the times that occur.
    distinct, rank = np.unique(event, return_inverse=True)
    return rank, np.searchsorted(distinct, as_of, side="right") - 1, len(distinct)


def _sort(right: pl.DataFrame, place: NDArray[np.int64]) -> NDArray[np.intp]:
    """Positions by place, created time and row; the last of a place is the one that answers."""
    row = right[_ROW].to_numpy()
    created = right[_CREATED].to_numpy()
    order = np.argsort(place)  # not stable, and several times faster: equal places are put in order below
    sorted_place = place[order]
    same = sorted_place[1:] == sorted_place[:-1]
    if same.any():
        tied = np.zeros(len(order), np.bool_)
        tied[1:] |= same
        tied[:-1] |= same
        at = order[tied]
        order[tied] = at[np.lexsort((row[at], created[at], place[at]))]
    return order
