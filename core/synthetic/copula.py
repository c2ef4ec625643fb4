"""A Gaussian copula: each column as it is by itself (`marginals.py`), and how two go together as one number.

Own code of some dozen lines over NumPy, since the libraries for it are under a licence that our wheel may not have (`copulas`,
BUSL) or train networks. What it keeps is ranks' correlation; a shape that no rank shows, such as a ring, is lost.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mainspring.core import errors
from mainspring.core.synthetic import marginals
from mainspring.core.synthetic.marginals import Column

__all__ = ["CHUNK_ROWS", "LEAST_ROWS", "Synthesiser", "fit"]

#: Made at a time: memory does not grow with how many are asked for.
CHUNK_ROWS: Final = 65_536
#: With fewer, crowds are all there is.
LEAST_ROWS: Final = 20 * marginals.CROWD
_LEAST_EIGENVALUE: Final = 1e-6
#: A value that nearly all have tells nearly nothing: nothing is made of so little.
_LEAST_TOLD: Final = 0.1
_MOST: Final = 0.995

_GRID: Final = np.linspace(-8.0, 8.0, 8001)
_SHARES: Final = np.array([NormalDist().cdf(z) for z in _GRID.tolist()])

_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Synthesiser:
    """Immutable, thread-safe. It has shares, smoothed quantiles and correlations, and no row."""

    columns: tuple[Column, ...]
    root: _Floats
    """Of the correlations of what goes together, (c, c), lower triangular: places of columns, and then whether some have a value."""
    placed: tuple[int, ...]
    """Columns whose places are the first of those."""
    gapped: tuple[int, ...]
    """Columns whose having a value is the rest of them."""

    def rows(self, count: int, seed: int) -> Iterator[pl.DataFrame]:
        """`count` rows, at most `CHUNK_ROWS` at a time; the same seed gives the same rows."""
        rng = np.random.default_rng(seed)
        for begins in range(0, count, CHUNK_ROWS):
            n = min(CHUNK_ROWS, count - begins)
            drawn = _share_of(rng.standard_normal((n, len(self.root))) @ self.root.T).T
            at = dict(zip(self.placed, drawn, strict=False))
            has = dict(zip(self.gapped, drawn[len(self.placed) :], strict=True))
            yield pl.DataFrame(
                [
                    _with_gaps(column.values(at[i] if i in at else rng.random(n)), has.get(i), column.missing)
                    for i, column in enumerate(self.columns)
                ]
            )


def fit(rows: pl.DataFrame, *, identifiers: Collection[str] = (), target: str = "", seed: int) -> Synthesiser:
    """What is kept of `rows`. `identifiers` are made anew; `target`, a number or truth value, puts categories in order.

    Errors: InvalidRequest for fewer than `LEAST_ROWS` rows, a column of another type, or a target that is no column.
    """
    if rows.height < LEAST_ROWS:
        raise errors.InvalidRequest(
            f"{rows.height} rows are too few to hide anybody among; {LEAST_ROWS} are needed", field="rows"
        )
    for name in (*identifiers, *([target] if target else ())):
        if name not in rows.columns:
            raise errors.InvalidRequest(
                f"there is no column `{name}`; there are {', '.join(rows.columns)}", field=name
            )
    rng = np.random.default_rng(seed)
    ordered = _number(rows[target]) if target else None
    columns = tuple(
        marginals.column_of(rows[name], is_identifier=name in identifiers, target=ordered)
        for name in rows.columns
    )
    places = {i: found for i, c in enumerate(columns) if (found := c.places(rows[c.name], rng)) is not None}
    gaps = {i: _presence(found, rng) for i, found in places.items() if 0 < columns[i].missing < 1}
    scores = np.array([_score_of(found) for found in (*places.values(), *gaps.values())])
    groups = [rows[columns[i].name] for i in places] + [rows[columns[i].name].is_null() for i in gaps]
    told = np.array([_told(of, by) for of, by in zip(scores, groups, strict=True)])
    return Synthesiser(columns, _root(scores, told), tuple(places), tuple(gaps))


def _number(values: pl.Series) -> pl.Series:
    if values.dtype.is_numeric() or values.dtype == pl.Boolean:
        return values.cast(pl.Float64)
    raise errors.InvalidRequest(
        f"target `{values.name}` is {values.dtype}, and no number or truth value; name another", field=values.name
    )  # fmt: skip


def _presence(places: _Floats, rng: np.random.Generator) -> _Floats:
    """Places of having a value: those without one below, at random within."""
    gone = np.isnan(places)
    drawn, missing = rng.random(len(places)), gone.mean()
    return np.asarray(np.where(gone, drawn * missing, missing + drawn * (1 - missing)), np.float64)


def _with_gaps(made: pl.Series, has: _Floats | None, missing: float) -> pl.Series:
    if missing >= 1:
        return pl.Series(made.name, [None] * made.len(), dtype=made.dtype)
    if has is None:
        return made
    frame = pl.DataFrame({"value": made, "is_there": has >= missing})
    return frame.select(pl.when("is_there").then("value").alias(made.name)).to_series()


def _told(scores: _Floats, by: pl.Series) -> float:
    """How much of its score a value tells, as variance: 1 of a number that nobody else has, 0.64 of a fair coin."""
    is_there = ~np.isnan(scores)
    codes, counts = marginals.codes_of(by.filter(pl.Series(is_there)))
    sums = np.bincount(codes, scores[is_there], len(counts))
    whole = float((sums**2 / np.maximum(counts, 1)).sum()) / max(int(is_there.sum()), 1)
    return min(max(whole, _LEAST_TOLD), 1.0)


def _root(scores: _Floats, told: _Floats) -> _Floats:
    """The Cholesky root of the scores' correlations, (c, n) to (c, c), each over the rows that have both.

    Places within a value's share are at random and go with nothing: the correlation behind them is larger by what they do not tell
    (exact for one such column beside one that tells all). What is then no correlation matrix is made the nearest that its
    eigenvalues allow.
    """
    if len(scores) == 0:
        return np.zeros((0, 0))
    there = ~np.isnan(scores)
    filled = np.where(there, scores, 0.0)
    squares = (filled**2) @ there.T
    found = (filled @ filled.T) / np.maximum(np.sqrt(squares * squares.T), 1e-12)
    found = np.clip(found / np.outer(told, told), -_MOST, _MOST)
    np.fill_diagonal(found, 1.0)
    values, vectors = np.linalg.eigh(found)
    mended = (vectors * np.maximum(values, _LEAST_EIGENVALUE)) @ vectors.T
    scale = np.sqrt(np.diag(mended))
    return np.asarray(np.linalg.cholesky(mended / np.outer(scale, scale)), np.float64)


def _share_of(scores: _Floats) -> _Floats:
    """The normal distribution, to 1e-7."""
    return np.asarray(np.interp(scores, _GRID, _SHARES), np.float64)


def _score_of(places: _Floats) -> _Floats:
    """Its inverse, to 1e-4 between the places of a million rows."""
    return np.asarray(np.interp(places, _SHARES, _GRID), np.float64)
