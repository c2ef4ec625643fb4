"""Makes the baseline of a bundle from rows that it was not fitted to: bins, categories, and how good it was then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mainspring.core import errors
from mainspring.core.contracts.monitoring import SCORE, Baseline, ColumnBaseline
from mainspring.core.models import evaluation
from mainspring.core.monitoring import kpis

__all__ = ["make"]

#: Bins of a feature and of the scores. From the latter the AUC of a window comes, too: half a bin is what it may be off by.
FEATURE_BINS: Final = 50
SCORE_BINS: Final = 200
MAX_CATEGORIES: Final = 50
#: More values than these are not kept to tell new ones from rare ones.
MAX_VOCABULARY: Final = 20_000
#: Values of a slice that are told apart.
MAX_SLICE_VALUES: Final = 50


def make(
    rows: pl.DataFrame,
    *,
    bundle_digest: str,
    score: str,
    label: str,
    features: Sequence[str],
    slices: Sequence[str] = (),
    training_run_id: str = "",
    worth: Mapping[str, pl.Expr] | None = None,
) -> Baseline:
    """The baseline of `rows`.

    Shapes:  a row a prediction; `score` in [0, 1], `label` 0 or 1. `slices` are columns of strings, of `features` or beside them.
             `worth`: by name, what a row is worth (`kpis`).
    Missing: null and NaN of a feature are counted as missing; a null label or score is DataInvalid.
    Errors:  InvalidRequest for a KPI that gives no number; DataInvalid without rows, or with outcomes of one class only; SchemaMismatch for a column that is not there.
    """
    absent = [name for name in (score, label, *features, *slices) if name not in rows.columns]
    if absent:
        raise errors.SchemaMismatch(
            f"the reference has no column `{absent[0]}`; make it of the training's own rows",
            feature=absent[0],
            expected="a column of the training set",
            got=", ".join(rows.columns[:20]),
        )
    if rows[score].null_count() or rows[label].null_count():
        raise errors.DataInvalid(
            "the reference has rows without score or label; leave them out", dataset="reference"
        )
    scores = rows[score].cast(pl.Float64).to_numpy()
    measured = evaluation.evaluate(rows[label].to_numpy(), scores, split="reference")
    columns = [_numerical(SCORE, rows[score], SCORE_BINS)]
    for name in features:
        series = rows[name]
        is_text = series.dtype in (pl.String, pl.Categorical, pl.Null)
        columns.append(_categorical(name, series) if is_text else _numerical(name, series, FEATURE_BINS))
    return Baseline(
        bundle_digest=bundle_digest,
        training_run_id=training_run_id,
        rows=rows.height,
        base_rate=measured.base_rate,
        mean_score=float(scores.mean()),
        auc=measured.auc,
        brier=measured.brier,
        columns=tuple(columns),
        slices={name: _frequent(rows[name], MAX_SLICE_VALUES) for name in slices},
        kpis=kpis.reference(worth or {}, _named(rows, score, label)),
    )


def _named(rows: pl.DataFrame, score: str, label: str) -> pl.DataFrame:
    """As expressions of KPIs call the answer and the outcome."""
    answer, outcome = rows[score].alias(kpis.SCORE), rows[label].cast(pl.Float64).alias(kpis.LABEL)
    return rows.drop(score, label).with_columns(answer, outcome)


def _numerical(name: str, series: pl.Series, bins: int) -> ColumnBaseline:
    values = series.cast(pl.Float32).to_numpy().astype(np.float32)
    present = values[np.isfinite(values)]
    edges = _edges(present, bins)
    counts = np.bincount(np.searchsorted(edges, present, side="left"), minlength=len(edges) + 1)
    wide = present.astype(np.float64)
    return ColumnBaseline(
        name=name,
        kind="numerical",
        rows=len(values),
        missing=int(np.isnan(values).sum()),
        edges=tuple(map(float, edges)),
        counts=tuple(map(int, counts)),
        mean=float(wide.mean()) if len(wide) else None,
        deviation=float(wide.std()) if len(wide) else None,
    )


def _edges(present: NDArray[np.float32], bins: int) -> NDArray[np.float32]:
    """Quantiles, or every value where there are few: then a bin is a value. The first lies just below the smallest."""
    if not len(present):
        return np.empty(0, np.float32)
    values: NDArray[Any] = np.unique(present)
    if len(values) > bins:
        values = np.unique(np.quantile(present, np.arange(bins + 1) / bins, method="closest_observation"))
    return np.concatenate([[np.nextafter(values[0], np.float32(-np.inf))], values]).astype(np.float32)


def _categorical(name: str, series: pl.Series) -> ColumnBaseline:
    present = series.cast(pl.String).drop_nulls()
    found = _counted(present)
    listed, rest = found[:MAX_CATEGORIES], found[MAX_CATEGORIES:]
    is_open = len(found) > MAX_VOCABULARY
    return ColumnBaseline(
        name=name,
        kind="categorical",
        rows=len(series),
        missing=series.null_count(),
        categories=tuple(value for value, _ in listed),
        counts=(*(count for _, count in listed), sum(count for _, count in rest)),
        vocabulary=() if is_open else tuple(value for value, _ in rest),
        is_open=is_open,
    )


def _counted(present: pl.Series) -> list[tuple[str, int]]:
    """Values with their counts, most frequent first, equal ones by name."""
    found = present.alias("value").to_frame().group_by("value").len()
    return [(str(v), int(n)) for v, n in found.sort(["len", "value"], descending=[True, False]).iter_rows()]


def _frequent(series: pl.Series, limit: int) -> tuple[str, ...]:
    return tuple(value for value, _ in _counted(series.cast(pl.String).drop_nulls())[:limit])
