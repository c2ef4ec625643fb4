"""Features that are there twice: the same values under two names, or nearly the same ones for the same keys.

Each is made, kept and looked up for nothing, and a model that has both spreads what it learned over them.

Two features are `same` if their tables have the same values as often, in whatever order: that is known of a column by two sums over
hashes, so that nothing is joined and any number of tables is read once. They are `nearly` the same if the ranks of their values go
together over rows with the same keys: 1, or -1, is a monotone function of the other.
"""

from __future__ import annotations

import io
import itertools
import math
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from mainspring.core import errors

__all__ = ["NEARLY", "Duplicate", "find", "making_seconds", "online_bytes", "stored_bytes"]

#: Of ranks' correlation; below it, two features are told apart by one row in some hundred.
NEARLY: Final = 0.999
#: Rows of each table whose ranks are compared, by the hash of their keys: the same rows of each.
_COMPARED: Final = 50_000
_LEAST: Final = 100


@dataclass(frozen=True)
class Duplicate:
    """Two features, named as `view.field`, and how alike they are: 1 for the same values, else their ranks' correlation."""

    one: str
    other: str
    kind: Literal["same", "nearly"]
    alike: float
    rows: int
    """Rows that both have a value in."""


def find(
    tables: Mapping[str, pl.LazyFrame], keys: Collection[str], *, nearly: float = NEARLY
) -> list[Duplicate]:
    """Pairs of features of these views, most alike first. `keys`: join keys and times, which are no features.

    Shapes:  a table is a row for each key and time. Missing: null and NaN are one value; a feature that is always missing, or
    always the same, is no duplicate of another. Memory: of one table's columns, and of 50,000 rows of each.
    Errors: InvalidRequest if a table has none of the keys.
    """
    sums = {name: _sums(name, frame, keys) for name, frame in tables.items()}
    whole = [(f"{view}.{field}", seen) for view, fields in sums.items() for field, seen in fields.items()]
    found = [
        Duplicate(one, other, "same", 1.0, seen.present)
        for (one, seen), (other, too) in itertools.combinations(whole, 2)
        if seen == too and seen.distinct > 1
    ]
    known = {(d.one, d.other) for d in found}
    sampled = {name: _sample(frame, keys) for name, frame in tables.items()}
    names = list(tables)
    for i, left in enumerate(names):
        for right in names[i:]:
            found += [d for d in _nearly(left, right, sampled, keys, nearly) if (d.one, d.other) not in known]
    return sorted(found, key=lambda d: (d.kind != "same", -abs(d.alike), d.one, d.other))


def stored_bytes(files: Mapping[str, Path], feature: str) -> int:
    """What `view.field` takes on disk, by the view's Parquet file, compressed as it is. Errors: KeyError, ValueError for none of these."""
    view, _, field = feature.partition(".")
    told = pq.ParquetFile(files[view]).metadata
    place = told.schema.names.index(field)
    return sum(told.row_group(i).column(place).total_compressed_size for i in range(told.num_row_groups))


def online_bytes(
    files: Mapping[str, Path], feature: str, keys: Collection[str], times: Collection[str]
) -> int:
    """What `view.field` takes in an online store: its newest value for each key, text by its mean length.

    Errors: KeyError, ColumnNotFoundError for none of these.
    """
    view, _, field = feature.partition(".")
    rows = pl.scan_parquet(files[view])
    schema = rows.collect_schema()
    named = [name for name in schema if name in keys and name not in times]
    distinct = int(rows.select(named).unique().select(pl.len()).collect().item())
    if schema[field].is_numeric() or schema[field].is_temporal() or schema[field] == pl.Boolean:
        width = float(pl.Series([None], dtype=schema[field]).to_physical().to_arrow().type.bit_width) / 8
    else:
        width = float(rows.select(pl.col(field).cast(pl.String).str.len_bytes().mean()).collect().item() or 0)
    return math.ceil(distinct * width)


def making_seconds(files: Mapping[str, Path], feature: str) -> float:
    """CPU seconds in which `view.field` is read and written once more, here: the least of three, as others may be at work."""
    view, _, field = feature.partition(".")
    seconds = []
    for _ in range(3):
        begun = time.process_time()
        pl.read_parquet(files[view], columns=[field]).write_parquet(io.BytesIO())
        seconds.append(time.process_time() - begun)
    return min(seconds)


@dataclass(frozen=True)
class _Sums:
    """Of a column's values as they are, whatever their order."""

    rows: int
    present: int
    distinct: int
    total: int
    mixed: int


def _sums(view: str, frame: pl.LazyFrame, keys: Collection[str]) -> dict[str, _Sums]:
    schema = frame.collect_schema()
    if not set(schema) & set(keys):
        raise errors.InvalidRequest(
            f"`{view}` has none of the keys {', '.join(sorted(keys))}; it has {', '.join(schema)}",
            field="keys",
        )
    found = {}
    for name, dtype in schema.items():
        if name in keys or dtype.is_nested():
            continue
        # One column at a time: a table may be larger than memory, a column is not.
        values = _cleaned(frame.select(name).collect().to_series())
        hashes, again = (values.drop_nulls().hash(seed).to_numpy() for seed in (1, 2))
        with np.errstate(over="ignore"):
            found[name] = _Sums(
                values.len(),
                len(hashes),
                len(np.unique(hashes)),
                int(hashes.sum()),
                int((again * again).sum()),
            )
    return found


def _cleaned(values: pl.Series) -> pl.Series:
    """Numbers as one type and NaN as missing, so that 5 and 5.0 are the same."""
    if values.dtype.is_numeric():
        return values.cast(pl.Float64).fill_nan(None)
    return values


def _sample(frame: pl.LazyFrame, keys: Collection[str]) -> pl.DataFrame:
    """The rows whose keys' hashes are lowest: of two tables with the same keys those are the same rows."""
    schema = frame.collect_schema()
    mine = [name for name in sorted(keys) if name in schema]
    kept = [
        *mine,
        *(
            n
            for n, d in schema.items()
            if n not in keys and (d.is_numeric() or d.is_temporal() or d == pl.Boolean)
        ),
    ]
    place = pl.struct(pl.col(n).cast(pl.String) for n in mine).hash(3)
    return (
        frame.select(kept)
        .with_columns(place.alias("_place"))
        .sort("_place")
        .head(_COMPARED)
        .drop("_place")
        .collect()
    )


def _nearly(
    left: str, right: str, sampled: Mapping[str, pl.DataFrame], keys: Collection[str], nearly: float
) -> list[Duplicate]:
    one, other = sampled[left], sampled[right]
    mine, theirs = ([n for n in frame.columns if n in keys] for frame in (one, other))
    if left == right:
        pairs = list(itertools.combinations([n for n in one.columns if n not in keys], 2))
        both = one.rename({n: f"l {n}" for n in one.columns}).with_columns(
            one[n].alias(f"r {n}") for n in one.columns
        )
    elif set(mine) == set(theirs):
        fields = [[n for n in frame.columns if n not in keys] for frame in (one, other)]
        pairs = list(itertools.product(fields[0], fields[1]))
        both = (
            one.rename({n: f"l {n}" for n in fields[0]})
            .unique(mine, keep="any")
            .join(other.rename({n: f"r {n}" for n in fields[1]}).unique(mine, keep="any"), on=mine)
        )
    else:
        return []
    return [found for pair in pairs if (found := _pair(left, right, pair, both, nearly)) is not None]


def _pair(left: str, right: str, pair: Sequence[str], both: pl.DataFrame, nearly: float) -> Duplicate | None:
    values = both.select(
        _cleaned(both[f"{side} {name}"].to_physical().cast(pl.Float64)).alias(side)
        for side, name in zip("lr", pair, strict=True)
    ).drop_nulls()
    if values.height < _LEAST:
        return None
    ranks = [values[side].rank("average").to_numpy() for side in "lr"]
    if any(np.ptp(of) == 0 for of in ranks):
        return None
    alike = float(np.corrcoef(ranks[0], ranks[1])[0, 1])
    if abs(alike) < nearly:
        return None
    return Duplicate(f"{left}.{pair[0]}", f"{right}.{pair[1]}", "nearly", round(alike, 6), values.height)
