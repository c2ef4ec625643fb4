"""How a model does on what it is asked, once outcomes are known: what counts as an alarm, and what was measured."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mainspring.core.contracts import base

__all__ = ["Limits", "PerformanceReport", "WindowPerformance"]


class Limits(base.Message):
    """What counts as an alarm. A gap or a loss of AUC must be large and beyond chance."""

    min_rows: Annotated[int, Field(ge=50)] = 200
    """Of known outcome in a window; with fewer it is not judged."""
    max_calibration_gap: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Between the mean score and the share of positives."""
    max_auc_loss: Annotated[float, Field(gt=0, lt=1)] = 0.05
    max_score_psi: Annotated[float, Field(gt=0)] = 0.25
    standard_errors: Annotated[float, Field(gt=0)] = 3.0
    """How far beyond chance."""


class WindowPerformance(base.Message):
    """One window, [begins, ends)."""

    begins: base.UtcTime
    ends: base.UtcTime
    rows: int
    known: int
    """Rows whose outcome is known; all but `rows` and `score_psi` are of these."""
    mean_score: float | None = None
    base_rate: float | None = None
    gap_error: float | None = None
    """Standard error of `base_rate - mean_score`; a day is taken as one observation where that makes it larger."""
    auc: float | None = None
    """None: outcomes of one class only."""
    score_psi: float | None = None
    """Against the reference's scores; None: too few rows."""
    alarms: tuple[str, ...] = ()

    @property
    def calibration_gap(self) -> float | None:
        """Share of positives less mean score: above 0, more happens than was predicted."""
        return None if self.base_rate is None or self.mean_score is None else self.base_rate - self.mean_score


class PerformanceReport(base.Message):
    """Every window that has rows, by time."""

    reference_rows: int
    reference_auc: float
    limits: Limits
    windows: tuple[WindowPerformance, ...]

    @property
    def alarms(self) -> tuple[str, ...]:
        """Of the newest window that could be judged; older ones are over."""
        judged = [w for w in self.windows if w.known >= self.limits.min_rows]
        return judged[-1].alarms if judged else ()
