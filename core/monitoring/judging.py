"""Holds a window's sums against the baseline: what moved, by how much, and whether that is worth waking somebody.

What the model answers and what came of it tell the truth: the distribution of the scores, the gap between what was predicted and
what happened, the ranking. Inputs move with every season (on a year of flights the index of temperature is 3 to 8 from May to
October, and the model holds), so an input's shift is a notice and never an alarm. What is an alarm by itself is data that is
broken: values missing, infinite, or of a vocabulary that training never saw.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

import polars as pl

from mainspring.core.contracts import monitoring
from mainspring.core.contracts.monitoring import (
    SCORE,
    Baseline,
    ColumnFound,
    Finding,
    Limits,
    SliceFound,
)
from mainspring.core.monitoring import kpis, measuring, sketches

__all__ = ["judged_by", "report"]


def report(
    baseline: Baseline,
    cells: pl.DataFrame,
    outcomes: pl.DataFrame,
    *,
    project: str,
    endpoint: str,
    environment: str = "dev",
    begins: datetime,
    ends: datetime,
    limits: Limits | None = None,
    ill_timed: int = 0,
) -> monitoring.MonitorReport:
    """What the sums of `[begins, ends)` say.

    Shapes:  `cells` and `outcomes` as of `sketches`. For the spread of days `outcomes` may begin before the window.
    Missing: an empty window, or one without labels, is a report that says so in `message`; nothing is judged of it.
    """
    limits = limits or Limits()
    inside = pl.col("hour").is_between(begins, ends, closed="left")
    found = sketches.added_up(cells.filter(inside), by=("slice", "value", "column"))
    happened = measuring.Outcomes(baseline, outcomes, begins, ends)
    scores = found.filter(pl.col("column") == SCORE)
    slices = tuple(
        measuring.of_slice(baseline, row, happened, min_rows=limits.min_rows)
        for row in scores.sort("slice", "value").iter_rows(named=True)
    )
    whole = next((s for s in slices if not s.column), None)
    rest = [s for s in slices if s.column]
    columns = tuple(measuring.columns(baseline, found, limits))
    worth = tuple(kpis.found(baseline, outcomes, begins, ends))
    made = monitoring.MonitorReport(
        project=project,
        endpoint=endpoint,
        environment=environment,
        bundle_digest=baseline.bundle_digest,
        training_run_id=baseline.training_run_id,
        begins=begins,
        ends=ends,
        rows=0 if whole is None else whole.rows,
        known=0 if whole is None else whole.known,
        limits=limits,
        reference_rows=baseline.rows,
        reference_base_rate=baseline.base_rate,
        reference_auc=baseline.auc,
        reference_brier=baseline.brier,
        whole=whole,
        slices=tuple(sorted(rest, key=lambda s: (s.column, -s.rows, s.value))),
        columns=columns,
        kpis=worth,
        ill_timed=ill_timed,
    )
    return judged_by(baseline, made, limits)


def judged_by(baseline: Baseline, made: monitoring.MonitorReport, limits: Limits) -> monitoring.MonitorReport:
    """The report with what these limits find in it."""
    message, findings = _judged(baseline, made, limits)
    return made.model_copy(update={"findings": findings, "message": message, "limits": limits})


def _judged(
    baseline: Baseline, made: monitoring.MonitorReport, limits: Limits
) -> tuple[str, tuple[Finding, ...]]:
    if made.whole is None:
        return "no answers in this window; nothing is judged", ()
    if made.rows < limits.min_rows:
        return f"{made.rows} answers in this window, {limits.min_rows} are needed; nothing is judged", ()
    found = list(_of_scores(made.whole, limits))
    found += _of_quality(made.columns, limits)
    found += _of_inputs(made.columns, limits)
    message = ""
    if made.known < limits.min_rows:
        message = (
            f"{made.known} of {made.rows} answers have an outcome, {limits.min_rows} are needed: calibration and ranking"
            " are judged later"
        )
    else:
        for one in (made.whole, *made.slices):
            if one.known >= limits.min_rows:
                found += _of_outcomes(baseline, one, limits)
        found += _of_target(baseline, made.whole, limits)
        found += kpis.findings(made.kpis, limits)
    return message, tuple(sorted(found, key=lambda f: (f.severity != "alarm", f.kind, f.subject)))


def _of_scores(whole: SliceFound, limits: Limits) -> Iterator[Finding]:
    if whole.score_psi is not None and whole.score_psi > limits.max_score_psi:
        yield Finding(
            kind="scores",
            severity="alarm",
            value=whole.score_psi,
            limit=limits.max_score_psi,
            message=f"scores: population stability index {whole.score_psi:.2f} against the accepted model's",
        )


def _of_outcomes(baseline: Baseline, one: SliceFound, limits: Limits) -> Iterator[Finding]:
    """Of a slice it is a notice: of dozens of slices some are far off by chance, and all answers tell if most are."""
    subject = f"{one.column}={_told(one.value)}" if one.column else ""
    severity: monitoring.Severity = "notice" if one.column else "alarm"
    gap, error = one.calibration_gap, one.gap_error
    if (
        gap is not None
        and error is not None
        and abs(gap) > limits.max_calibration_gap
        and abs(gap) > limits.standard_errors * error
    ):
        yield Finding(
            kind="calibration",
            severity=severity,
            subject=subject,
            value=gap,
            limit=limits.max_calibration_gap,
            message=f"calibration: {one.known_mean_score:.3f} was predicted and {one.base_rate:.3f} happened"
            f" ({one.known} outcomes, standard error {error:.3f})",
        )
    if one.auc is not None and one.base_rate is not None:
        loss = baseline.auc - one.auc
        if loss > limits.max_auc_loss and loss > limits.standard_errors * measuring.auc_error(one):
            yield Finding(
                kind="ranking",
                severity=severity,
                subject=subject,
                value=one.auc,
                limit=baseline.auc - limits.max_auc_loss,
                message=f"ranking: AUC {one.auc:.3f}, {baseline.auc:.3f} when the model was accepted",
            )


def _of_target(baseline: Baseline, whole: SliceFound, limits: Limits) -> Iterator[Finding]:
    """What happens changed; whether the model followed is the calibration's to say."""
    if whole.base_rate is None or whole.gap_error is None:
        return
    moved = whole.base_rate - baseline.base_rate
    if abs(moved) > max(limits.max_calibration_gap, limits.standard_errors * whole.gap_error):
        yield Finding(
            kind="target",
            severity="notice",
            value=whole.base_rate,
            limit=limits.max_calibration_gap,
            message=f"target: {whole.base_rate:.3f} happened, {baseline.base_rate:.3f} when the model was accepted",
        )


def _of_quality(columns: Sequence[ColumnFound], limits: Limits) -> Iterator[Finding]:
    for one in columns:
        if one.rows < limits.min_rows:
            continue
        change = one.missing - one.missing_reference
        checks = (
            (
                abs(change) > limits.max_missing_change,
                one.missing,
                limits.max_missing_change,
                f"missing share {one.missing_reference:.3f} became {one.missing:.3f}",
            ),
            (
                one.infinite > limits.max_infinite_share,
                one.infinite,
                limits.max_infinite_share,
                f"{one.infinite:.4f} of the values are infinite",
            ),
            (
                one.unseen is not None and one.unseen > limits.max_unseen_share,
                one.unseen or 0.0,
                limits.max_unseen_share,
                f"{one.unseen or 0:.3f} of the values were never seen in training, such as"
                f" {', '.join(f'`{v}`' for v in one.new_values)}",
            ),
        )
        for is_broken, value, limit, message in checks:
            if is_broken:
                yield Finding(
                    kind="quality",
                    severity="alarm",
                    subject=one.name or "score",
                    value=value,
                    limit=limit,
                    message=f"`{one.name or 'score'}`: {message}",
                )


def _of_inputs(columns: Sequence[ColumnFound], limits: Limits) -> Iterator[Finding]:
    for one in columns:
        if one.name != SCORE and one.psi is not None and one.psi > limits.notice_input_psi:
            yield Finding(
                kind="inputs",
                severity="notice",
                subject=one.name,
                value=one.psi,
                limit=limits.notice_input_psi,
                message=f"`{one.name}` moved: population stability index {one.psi:.2f}; seasons do that, too",
            )


def _told(value: str) -> str:
    return "any other" if value == sketches.OTHER else value
