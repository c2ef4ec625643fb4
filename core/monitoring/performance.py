"""How a model does on what it is asked, once the outcomes are known: window by window, and whether that is an alarm.

Inputs drift with every season and tell little about a model (see `drift`); these tell the truth and come late: the gap
between what was predicted and what happened, the ranking (AUC), and the distribution of the scores. All of it is in the hourly
sums (`sketches`), so nobody has to see an answer again, and windows may be older than the log.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

import polars as pl

from mainspring.core.contracts import monitoring
from mainspring.core.contracts.monitoring import SCORE, Baseline
from mainspring.core.contracts.performance import Limits, PerformanceReport, WindowPerformance
from mainspring.core.monitoring import measuring, sketches

__all__ = ["measure"]

_WHOLE: Final = pl.col("slice") == ""


def measure(
    baseline: Baseline,
    cells: pl.DataFrame,
    outcomes: pl.DataFrame,
    *,
    ends: datetime,
    window: timedelta,
    windows: int,
    limits: Limits | None = None,
) -> PerformanceReport:
    """What the sums say of a model that did as in `baseline` when it was accepted.

    Shapes:  `cells` with the scores of all answers, and `outcomes`, as of `sketches`; other rows of either are not looked at.
    Windows: `windows` of them, `window` long, counted back from `ends`; an hour is in the window that it begins in.
    Missing: a window without answers is left out; one without known outcomes has none of what comes of them.
    """
    limits = limits or Limits()
    scores = cells.filter(_WHOLE, pl.col("column") == SCORE)
    happened = outcomes.filter(_WHOLE, pl.col("column") == sketches.OUTCOMES)
    found = []
    for i in reversed(range(windows)):
        begins, until = ends - (i + 1) * window, ends - i * window
        inside = scores.filter(pl.col("hour").is_between(begins, until, closed="left"))
        if not inside.is_empty():
            # How much days differ is one number: all windows tell it.
            known = measuring.Outcomes(baseline, happened, begins, until, until=ends)
            found.append(_measured(baseline, inside, known, begins, until, limits))
    return PerformanceReport(
        reference_rows=baseline.rows, reference_auc=baseline.auc, limits=limits, windows=tuple(found)
    )


def _measured(
    baseline: Baseline,
    scores: pl.DataFrame,
    happened: measuring.Outcomes,
    begins: datetime,
    ends: datetime,
    limits: Limits,
) -> WindowPerformance:
    (row,) = sketches.added_up(scores, by=("slice", "value", "column")).iter_rows(named=True)
    whole = measuring.of_slice(baseline, row, happened, min_rows=limits.min_rows)
    found = WindowPerformance(
        begins=begins,
        ends=ends,
        rows=whole.rows,
        known=whole.known,
        mean_score=whole.known_mean_score,
        base_rate=whole.base_rate,
        gap_error=whole.gap_error,
        auc=whole.auc,
        score_psi=whole.score_psi,
    )
    if whole.known < limits.min_rows:
        return found
    return found.model_copy(update={"alarms": tuple(_alarms(whole, baseline.auc, limits))})


def _alarms(found: monitoring.SliceFound, reference_auc: float, limits: Limits) -> Iterator[str]:
    gap, error = found.calibration_gap, found.gap_error
    if (
        gap is not None
        and error is not None
        and abs(gap) > limits.max_calibration_gap
        and abs(gap) > limits.standard_errors * error
    ):
        yield (
            f"calibration: {found.known_mean_score:.3f} was predicted and {found.base_rate:.3f} happened"
            f" ({found.known} outcomes, {abs(gap) / error if error else float('inf'):.1f} standard errors)"
        )
    if found.auc is not None and found.base_rate is not None:
        loss = reference_auc - found.auc
        if loss > limits.max_auc_loss and loss > limits.standard_errors * measuring.auc_error(found):
            yield f"ranking: AUC {found.auc:.3f}, {reference_auc:.3f} when the model was accepted"
    if found.score_psi is not None and found.score_psi > limits.max_score_psi:
        yield f"scores: population stability index {found.score_psi:.2f} against the accepted model's"
