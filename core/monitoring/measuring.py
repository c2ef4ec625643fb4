"""Numbers of a window's sums beside the baseline's: of each slice and column, and nothing about whether they are good.

Shapes: sums as of `sketches`. A window without rows or labels gives None where a number would be made up.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mainspring.core.contracts.monitoring import Baseline, ColumnBaseline, ColumnFound, Limits, SliceFound
from mainspring.core.monitoring import sketches

__all__ = [
    "PSI_GROUPS",
    "Outcomes",
    "auc_error",
    "auc_of_bins",
    "columns",
    "of_slice",
    "population_stability",
]

#: Groups of equal reference mass that an index is computed over: more make it larger by chance.
PSI_GROUPS: Final = 10
_QUANTILES: Final = (0.1, 0.5, 0.9)
_DAY_US: Final = 86_400_000_000
_NEW_VALUES: Final = 5

_Counts = NDArray[np.int64]


def of_slice(baseline: Baseline, row: dict[str, Any], happened: Outcomes, *, min_rows: int) -> SliceFound:
    """One row of the sums of scores, and what came of it. With fewer than `min_rows` on a side there is no index."""
    column = baseline.columns[0]
    counts = np.array(row["counts"], np.int64)
    rows, present = int(counts.sum()), int(counts[:-2].sum())
    mean = None if not present else (column.mean or 0.0) + row["sums"][0] / present
    psi = None
    if min(present, baseline.rows) >= min_rows:
        psi = population_stability(np.array(column.counts), counts[:-2])
    found = SliceFound(column=row["slice"], value=row["value"], rows=rows, mean_score=mean, score_psi=psi)
    return found.model_copy(update=happened.of(row["slice"], row["value"]))


class Outcomes:
    """What is known of what happened, by slice and value."""

    def __init__(
        self,
        baseline: Baseline,
        outcomes: pl.DataFrame,
        begins: datetime,
        ends: datetime,
        *,
        until: datetime | None = None,
    ) -> None:
        """`outcomes` as of `sketches`; windows back from `until` (None: `ends`) tell how much one day is like another."""
        outcomes = outcomes.filter(pl.col("column") == sketches.OUTCOMES)
        cells = outcomes.filter(pl.col("hour").is_between(begins, ends, closed="left"))
        self._bins = sketches.score_bins(baseline)
        self._total = sketches.added_up(cells, by=("slice", "value", "column"))
        until = until or ends
        self._cells, self._spread = cells, _day_spread(outcomes, until - (ends - begins), until)

    def of(self, column: str, value: str) -> dict[str, Any]:
        """Fields of `SliceFound`; none where nothing is known."""
        chosen = (pl.col("slice") == column) & (pl.col("value") == value)
        rows = self._total.filter(chosen)
        if rows.is_empty():
            return {}
        counts = np.array(rows["counts"][0].to_list(), np.int64)
        negative, positive = counts[: self._bins], counts[self._bins :]
        n = int(counts.sum())
        gap, squares, variance, scores = rows["sums"][0].to_list()
        days = _by_day(self._cells.filter(chosen))
        by_day = self._spread[gap > 0] * float((days[:, 1] ** 2).sum())
        error = float(np.sqrt(max(variance, by_day))) / n if n else 0.0
        return (
            {
                "known": n,
                "known_mean_score": scores / n,
                "base_rate": float(positive.sum()) / n,
                "gap_error": error,
                "auc": auc_of_bins(negative, positive),
                "brier": squares / n,
            }
            if n
            else {}
        )


def _by_day(cells: pl.DataFrame) -> NDArray[np.float64]:
    """By day, the sum of label less score, and how many."""
    if cells.is_empty():
        return np.zeros((0, 2))
    day = cells["hour"].dt.epoch("us").to_numpy() // _DAY_US
    gaps = cells["sums"].list.get(0).to_numpy()
    n = cells["counts"].list.sum().to_numpy().astype(np.float64)
    _, group = np.unique(day, return_inverse=True)
    return np.stack([np.bincount(group, gaps), np.bincount(group, n)], axis=1)


def _day_spread(outcomes: pl.DataFrame, begins: datetime, ends: datetime) -> tuple[float, float]:
    """Variance of a whole day's mean gap about its window's, below it and above it, pooled over windows of this length.

    Outcomes of a day go together (weather, an outage), and one window has few days to tell it by: so windows back from this
    one's end are pooled, by the ratio estimator over clusters (Cochran, Sampling Techniques, 1977, section 9.6). Each side has
    its own, because days are skewed: a storm makes a day much worse and nothing makes one much better, so the same gap says
    more when it is below. 0 where no window has two days.
    """
    whole = outcomes.filter(pl.col("slice") == "")
    rests, sizes = [np.zeros(0)], [np.zeros(0)]
    length, until = ends - begins, ends
    while not (part := whole.filter(pl.col("hour") < until)).is_empty():
        days = _by_day(part.filter(pl.col("hour") >= until - length))
        until -= length
        if len(days) < 2 or not days[:, 1].sum():
            continue
        gap, n = days[:, 0], days[:, 1]
        rests.append((gap - gap.sum() / n.sum() * n) * np.sqrt(len(days) / (len(days) - 1)))
        sizes.append(n)
    rest, size = np.concatenate(rests), np.concatenate(sizes)

    def side(chosen: NDArray[np.bool_]) -> float:
        weights = float((size[chosen] ** 2).sum())
        return float((rest[chosen] ** 2).sum()) / weights if weights else 0.0

    return side(rest < 0), side(rest > 0)


def columns(baseline: Baseline, found: pl.DataFrame, limits: Limits) -> Iterator[ColumnFound]:
    """Of all answers together, each column that the baseline and the sums have."""
    whole = {row["column"]: row for row in found.filter(pl.col("slice") == "").iter_rows(named=True)}
    for column in baseline.columns:
        if row := whole.get(column.name):
            yield _column(column, row, limits)


def _column(column: ColumnBaseline, row: dict[str, Any], limits: Limits) -> ColumnFound:
    counts = np.array(row["counts"], np.int64)
    values, missing, odd = counts[:-2], int(counts[-2]), int(counts[-1])
    rows, present = int(counts.sum()), int(values.sum())
    is_text = column.kind == "categorical"
    found: dict[str, Any] = {
        "name": column.name,
        "kind": column.kind,
        "rows": rows,
        "missing_reference": column.missing_share,
        "missing": missing / rows if rows else 0.0,
    }
    compared, reference = values, np.array(column.counts)
    if is_text:
        seen = present + odd
        found["unseen"] = None if column.is_open or not seen else odd / seen
        found["new_values"] = tuple(json.loads(row["fresh"]))[:_NEW_VALUES] if row["fresh"] else ()
        compared, reference = np.append(values, odd), np.append(reference, 0)
    else:
        found["infinite"] = odd / rows if rows else 0.0
        found["mean_reference"] = column.mean
        if present:
            s1, s2 = row["sums"][0] / present, row["sums"][1] / present
            found["mean"] = (column.mean or 0.0) + s1
            found["deviation"] = float(np.sqrt(max(s2 - s1 * s1, 0.0)))
            found["outside"] = float(values[0] + values[-1]) / present
            found["quantiles"] = _quantiles(column, values)
    if min(int(compared.sum()), int(reference.sum())) >= limits.min_rows:
        found["psi"] = population_stability(reference, compared)
    return ColumnFound.model_validate(found)


def _quantiles(column: ColumnBaseline, values: _Counts) -> dict[str, float]:
    """The upper edge of the bin that it falls into; beyond the last edge nobody knows, and the edge is told."""
    if not column.edges:
        return {}
    share = np.cumsum(values) / values.sum()
    edges = np.array([*column.edges, column.edges[-1]])
    return {f"{q:g}": float(edges[min(int(np.searchsorted(share, q)), len(edges) - 1)]) for q in _QUANTILES}


def population_stability(reference: _Counts, current: _Counts) -> float:
    """The population stability index over at most `PSI_GROUPS` groups of neighbouring bins.

    A share of none counts as half a row: without it one row in a new bin would make the index infinite.
    """
    groups = _groups(reference)
    before = np.bincount(groups, reference).astype(np.float64)
    after = np.bincount(groups, current, minlength=len(before)).astype(np.float64)
    kept = (before > 0) | (after > 0)
    p = np.maximum(before[kept], 0.5) / before.sum()
    q = np.maximum(after[kept], 0.5) / after.sum()
    return float(((q - p) * np.log(q / p)).sum())


def _groups(reference: _Counts) -> NDArray[np.int64]:
    """Of each bin, its group: neighbours together until they have a group's share; a bin with more is one by itself."""
    share = reference / reference.sum()
    # By the middle of its mass: a bin lies in the group where most of it is.
    middle = np.cumsum(share) - share / 2
    groups = np.minimum((middle * PSI_GROUPS).astype(np.int64), PSI_GROUPS - 1)
    # The empty bins at both ends (below and above all that was seen) belong to their neighbours.
    return np.unique(groups, return_inverse=True)[1].astype(np.int64)


def auc_of_bins(negative: _Counts, positive: _Counts) -> float | None:
    """The area under the ROC curve of scores known by bin, half a point for two in one bin; None for one class alone."""
    n, p = int(negative.sum()), int(positive.sum())
    if not n or not p:
        return None
    below = np.cumsum(negative) - negative
    return float((positive * (below + negative / 2)).sum() / (n * p))


def auc_error(found: SliceFound) -> float:
    """Standard error of its AUC, where it has one (Hanley and McNeil, Radiology 143, 1982)."""
    assert found.auc is not None and found.base_rate is not None
    a, positive = found.auc, found.base_rate * found.known
    negative = found.known - positive
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    variance = a * (1 - a) + (positive - 1) * (q1 - a * a) + (negative - 1) * (q2 - a * a)
    return float(np.sqrt(max(variance, 0.0) / (positive * negative)))
