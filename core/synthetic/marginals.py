"""What is kept of one column: shares and smoothed quantiles of at least `CROWD` rows each, never a single row's value.

Each column is a way from (0, 1) to its values and back, in its order. The way back gives rows with the same value places at random
within that value's share, so that places are uniform, which the copula (`copula.py`) needs. Missing values are the copula's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mainspring.core import errors

__all__ = [
    "CROWD",
    "OTHER",
    "Categories",
    "Column",
    "Identifier",
    "Numbers",
    "codes_of",
    "column_of",
    "numbers_of",
]

#: Fewer rows than this tell of somebody: their values are averaged, or told as `OTHER`.
CROWD: Final = 10
OTHER: Final = "other"
_KNOTS: Final = 257
_CATEGORIES: Final = 500

_Floats = NDArray[np.float64]


class Column(Protocol):
    """One column's marginal distribution. Immutable."""

    @property
    def name(self) -> str: ...

    @property
    def missing(self) -> float:
        """Share of the rows without a value; NaN and infinite numbers are none."""
        ...

    def places(self, values: pl.Series, rng: np.random.Generator) -> _Floats | None:
        """Of each row its place in (0, 1), (n,), NaN for a missing one; None for a column that goes with no other."""
        ...

    def values(self, places: _Floats) -> pl.Series:
        """Of each place its value, of the column's own dtype; none is missing."""
        ...


@dataclass(frozen=True)
class Numbers:
    """Numbers, times and lengths of time. `knots` are values at even steps of the present rows, each an average over its crowd."""

    name: str
    dtype: pl.DataType
    missing: float
    knots: _Floats

    def places(self, values: pl.Series, rng: np.random.Generator) -> _Floats:
        raw = numbers_of(values)
        present = ~np.isnan(raw)
        # Ties in an order of their own: equal values are spread over their share.
        order = np.lexsort((rng.random(int(present.sum())), raw[present]))
        ranks = np.empty(len(order))
        ranks[order] = (np.arange(len(order)) + 0.5) / max(len(order), 1)
        return _spread(present, ranks)

    def values(self, places: _Floats) -> pl.Series:
        found = np.interp(places, np.linspace(0, 1, len(self.knots)), self.knots)
        if self.dtype.is_float() or self.dtype.is_decimal():
            return pl.Series(self.name, found).cast(self.dtype)
        return (
            pl.Series(self.name, np.rint(found).astype(np.int64)).cast(_carrier(self.dtype)).cast(self.dtype)
        )


@dataclass(frozen=True)
class Categories:
    """Text and truth values, in an order that says something: by the target's mean, or else by how many have each."""

    name: str
    dtype: pl.DataType
    missing: float
    words: tuple[str | bool, ...]
    ends: _Floats
    """Cumulated shares of the present rows, (k,); the last is 1."""

    def places(self, values: pl.Series, rng: np.random.Generator) -> _Floats:
        at = {word: i for i, word in enumerate(self.words)}
        rest = at.get(OTHER, 0)
        present = values.is_not_null().to_numpy()
        codes = np.array([at.get(v, rest) for v in values.drop_nulls().to_list()], np.int64)
        begins = np.concatenate([[0.0], self.ends[:-1]])
        ranks = begins[codes] + rng.random(len(codes)) * (self.ends - begins)[codes]
        return _spread(present, ranks)

    def values(self, places: _Floats) -> pl.Series:
        codes = np.minimum(np.searchsorted(self.ends, places, side="right"), len(self.words) - 1)
        return pl.Series(self.name, [self.words[code] for code in codes.tolist()]).cast(
            self.dtype, strict=False
        )  # an enumeration has no word for others: they are missing


@dataclass(frozen=True)
class Identifier:
    """Names a person or thing: made anew, so many different ones a row as there were, and related to nothing."""

    name: str
    dtype: pl.DataType
    missing: float
    distinct: float
    """How many different ones there are, of each row."""

    def places(self, values: pl.Series, rng: np.random.Generator) -> None:
        return None

    def values(self, places: _Floats) -> pl.Series:
        number = 1 + np.floor(places * max(1.0, len(places) * self.distinct)).astype(np.int64)
        if self.dtype.is_integer():
            return pl.Series(self.name, number).cast(self.dtype)
        return pl.Series(self.name, [f"{self.name}-{n:08d}" for n in number.tolist()])


def column_of(values: pl.Series, *, is_identifier: bool, target: pl.Series | None = None) -> Column:
    """The marginal of a column. `target`: a number of each row, by whose mean categories are put in order.

    Errors: InvalidRequest for a type that is neither a number, a time, a truth value nor text.
    """
    dtype, missing = values.dtype, values.null_count() / max(values.len(), 1)
    if is_identifier and (dtype.is_integer() or dtype == pl.String):
        return Identifier(values.name, dtype, missing, values.n_unique() / max(values.len(), 1))
    if dtype == pl.Boolean or dtype == pl.String or dtype in (pl.Categorical, pl.Enum):
        return _categories(values, missing, target)
    if dtype.is_numeric() or dtype.is_temporal():
        raw = numbers_of(values)
        present = np.sort(raw[~np.isnan(raw)])
        return Numbers(values.name, dtype, 1 - len(present) / max(len(raw), 1), _knots(present))
    raise errors.InvalidRequest(
        f"column `{values.name}` is {dtype}, and of those no synthetic values are made; leave it out", field=values.name
    )  # fmt: skip


def _categories(values: pl.Series, missing: float, target: pl.Series | None) -> Categories:
    is_bool = values.dtype == pl.Boolean
    present = values.is_not_null()
    found = values.filter(present)
    found = found if is_bool else found.cast(pl.String)
    codes, counts = codes_of(found)
    totals = np.zeros(len(codes)) if target is None else target.filter(present).fill_null(0.0).to_numpy()
    means = np.bincount(codes, totals, len(counts)) / np.maximum(counts, 1)
    by_word = dict(
        zip(found.unique().sort().to_list(), zip(counts.tolist(), means.tolist(), strict=True), strict=True)
    )
    # A truth value that few have would be told by its absence as well: both stay.
    often = sorted(
        (w for w in by_word if is_bool or by_word[w][0] >= CROWD), key=lambda w: (-by_word[w][0], w)
    )
    kept = {word: by_word[word] for word in often[:_CATEGORIES]}
    if rest := int(counts.sum()) - sum(n for n, _ in kept.values()):
        kept[OTHER] = (rest + kept.get(OTHER, (0, 0.0))[0], kept.get(OTHER, (0, 0.0))[1])
    words = sorted(kept, key=lambda w: (kept[w][1], -kept[w][0], w))
    if not words:
        return Categories(values.name, values.dtype, missing, (False if is_bool else OTHER,), np.ones(1))
    shares = np.array([kept[w][0] for w in words], np.float64)
    return Categories(values.name, values.dtype, missing, tuple(words), np.cumsum(shares) / shares.sum())


def codes_of(present: pl.Series) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of values without a missing one: each as its place among the different ones, in their order, and how many there are of each.

    Sums over these come out the same each time, which those of a parallel grouping do not.
    """
    ranked = present.cast(pl.Int8) if present.dtype == pl.Boolean else present
    codes = ranked.rank("dense").to_numpy().astype(np.int64) - 1
    return codes, np.bincount(codes)


def _knots(present: _Floats) -> _Floats:
    """Averages over crowds around even steps; of a column that is all missing a single 0, which nobody gets."""
    n = len(present)
    if n == 0:
        return np.zeros(1)
    count = max(2, min(_KNOTS, n // CROWD))
    middle = np.rint(np.linspace(0, n - 1, count)).astype(np.int64)
    low = np.clip(middle - CROWD // 2, 0, max(n - CROWD, 0))
    high = np.minimum(low + CROWD, n)
    least = float(present[0])
    sums = np.concatenate([[0.0], np.cumsum(present - least)])
    knots: _Floats = least + (sums[high] - sums[low]) / (high - low)
    # Where all of a crowd have one value it is that value, and no sum's rounding of it.
    return np.where(present[low] == present[high - 1], present[low], knots)


def numbers_of(values: pl.Series) -> _Floats:
    """As numbers, missing ones NaN; NaN and infinite ones count as missing."""
    raw = values.to_physical() if values.dtype.is_temporal() else values
    found = raw.cast(pl.Float64).to_numpy().astype(np.float64)
    return np.where(np.isfinite(found), found, np.nan)


def _carrier(dtype: pl.DataType) -> type[pl.DataType] | pl.DataType:
    """What whole numbers become before they are `dtype`: a date is 32 bits of days."""
    if dtype == pl.Date:
        return pl.Int32
    return pl.Int64 if dtype.is_temporal() else dtype


def _spread(present: NDArray[np.bool_], ranks: _Floats) -> _Floats:
    places = np.full(len(present), np.nan)
    places[present] = ranks
    return places
