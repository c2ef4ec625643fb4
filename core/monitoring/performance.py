"""How a model does on what it is asked, once the outcomes are known: window by window, and whether that is an alarm.

Inputs drift with every season and tell little about a model (see `drift`); these tell the truth and come late: the gap
between what was predicted and what happened, the ranking (AUC), and the distribution of the scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mainspring.core import errors
from mainspring.core.contracts.performance import Limits, PerformanceReport, WindowPerformance
from mainspring.core.models import evaluation
from mainspring.core.monitoring import evidently_adapter

__all__ = ["AT", "LABEL", "SCORE", "measure"]

#: Columns: when it was asked (UTC microseconds), what was answered (0 to 1), what came of it (0, 1, null: not known yet).
AT: Final = "at"
SCORE: Final = "score"
LABEL: Final = "label"


def measure(
    asked: pl.DataFrame, reference: pl.DataFrame, *, window: timedelta, limits: Limits | None = None
) -> PerformanceReport:
    """What `asked` says of a model that did as in `reference` when it was accepted.

    Shapes:  `asked` has `at`, `score` and `label`, a row a prediction, in any order; `reference` has `score` and `label`.
    Windows: `window` long, counted back from the last prediction, so that the newest is a whole one.
    Missing: a null label is an outcome not known yet. A null score or time, or NaN, is DataInvalid.
    Errors:  DataInvalid for a reference of one class or without rows, and for scores outside [0, 1].
    """
    limits = limits or Limits()
    for name in (AT, SCORE):
        if asked[name].null_count():
            raise errors.DataInvalid(
                f"{asked[name].null_count()} of {asked.height} predictions have no `{name}`; log it with each",
                dataset="predictions",
            )
    if not asked[SCORE].is_between(0, 1).all():  # NaN is not
        raise errors.DataInvalid(
            "a score lies outside [0, 1]; log probabilities, and not logits or NaN", dataset="predictions"
        )
    accepted = reference.drop_nulls([SCORE, LABEL])
    reference_scores = accepted[SCORE].to_numpy().astype(np.float64)
    good = evaluation.auc(accepted[LABEL].to_numpy(), reference_scores, split="reference")
    parts = list(_windows(asked.sort(AT), window))
    spread = _day_spread([rows for *_, rows in parts])
    windows = tuple(
        _measured(begins, ends, rows, reference_scores, good, spread, limits) for begins, ends, rows in parts
    )
    return PerformanceReport(
        reference_rows=accepted.height, reference_auc=good, limits=limits, windows=windows
    )


def _windows(asked: pl.DataFrame, window: timedelta) -> Iterator[tuple[datetime, datetime, pl.DataFrame]]:
    if not asked.height:
        return
    end = asked[AT][-1] + timedelta(microseconds=1)
    number = (end - asked[AT][0]) // window
    for i in range(number, -1, -1):
        begins, ends = end - (i + 1) * window, end - i * window
        rows = asked.filter(pl.col(AT).is_between(begins, ends, closed="left"))
        if rows.height:
            yield begins, ends, rows


def _measured(
    begins: datetime,
    ends: datetime,
    rows: pl.DataFrame,
    reference_scores: NDArray[np.float64],
    reference_auc: float,
    spread: float,
    limits: Limits,
) -> WindowPerformance:
    known = rows.drop_nulls(LABEL)
    found = WindowPerformance(begins=begins, ends=ends, rows=rows.height, known=known.height)
    if min(rows.height, len(reference_scores)) >= evidently_adapter.MIN_ROWS:
        drifted = evidently_adapter.drift_report(
            {SCORE: reference_scores}, {SCORE: rows[SCORE].to_numpy().astype(np.float64)}
        )
        found = found.model_copy(update={"score_psi": drifted.columns[0].psi})
    if known.height:
        y, p = known[LABEL].to_numpy().astype(np.float64), known[SCORE].to_numpy().astype(np.float64)
        error = _gap_error(known, spread)
        update = {"mean_score": float(p.mean()), "base_rate": float(y.mean()), "gap_error": error}
        if 0 < y.mean() < 1:
            update["auc"] = evaluation.auc(y, p, split="live")
        found = found.model_copy(update=update)
    if known.height < limits.min_rows:
        return found
    return found.model_copy(update={"alarms": tuple(_alarms(found, reference_auc, limits))})


def _alarms(found: WindowPerformance, reference_auc: float, limits: Limits) -> Iterator[str]:
    gap, error = found.calibration_gap, found.gap_error
    if (
        gap is not None
        and error is not None
        and abs(gap) > limits.max_calibration_gap
        and abs(gap) > limits.standard_errors * error
    ):
        yield (
            f"calibration: {found.mean_score:.3f} was predicted and {found.base_rate:.3f} happened"
            f" ({found.known} outcomes, {abs(gap) / error if error else float('inf'):.1f} standard errors)"
        )
    if found.auc is not None and found.base_rate is not None:
        loss = reference_auc - found.auc
        if loss > limits.max_auc_loss and loss > limits.standard_errors * _auc_error(found):
            yield f"ranking: AUC {found.auc:.3f}, {reference_auc:.3f} when the model was accepted"
    if found.score_psi is not None and found.score_psi > limits.max_score_psi:
        yield f"scores: population stability index {found.score_psi:.2f} against the accepted model's"


def _days(known: pl.DataFrame) -> pl.DataFrame:
    """By day, `sum` of label less score, and `n`."""
    rest = pl.col(LABEL).cast(pl.Float64) - pl.col(SCORE).cast(pl.Float64)
    day = pl.col(AT).dt.truncate("1d")
    return (
        known.drop_nulls(LABEL).group_by(day).agg(rest.sum().alias("sum"), pl.len().cast(pl.Int64).alias("n"))
    )


def _day_spread(windows: Sequence[pl.DataFrame]) -> float:
    """Variance of a whole day's mean gap about its window's, pooled over all windows: one has few days to tell it by.

    The ratio estimator over clusters (Cochran, Sampling Techniques, 1977, section 9.6). 0 where no window has two days.
    """
    squares = weights = 0.0
    for rows in windows:
        days = _days(rows)
        if days.height < 2:
            continue
        gap, n = days["sum"].to_numpy(), days["n"].to_numpy()
        rest = gap - gap.sum() / n.sum() * n
        squares += float(rest @ rest) * days.height / (days.height - 1)
        weights += float(n @ n)
    return squares / weights if weights else 0.0


def _gap_error(known: pl.DataFrame, spread: float) -> float:
    """Of the mean of `label - score`. Outcomes of a day go together (weather, an outage): where days differ by more than
    chance among rows explains, days are what is counted.
    """
    p = known[SCORE].cast(pl.Float64)
    by_row = float((p * (1 - p)).sum())
    by_day = spread * float(_days(known)["n"].pow(2).sum())
    return float(np.sqrt(max(by_row, by_day)) / known.height)


def _auc_error(found: WindowPerformance) -> float:
    """Hanley and McNeil, Radiology 143, 1982."""
    assert found.auc is not None and found.base_rate is not None
    a, positive = found.auc, found.base_rate * found.known
    negative = found.known - positive
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    variance = a * (1 - a) + (positive - 1) * (q1 - a * a) + (negative - 1) * (q2 - a * a)
    return float(np.sqrt(max(variance, 0.0) / (positive * negative)))
