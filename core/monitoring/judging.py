"""Holds a window's sums against the baseline: what moved, by how much, and whether that is worth waking somebody.

What the model answers and what came of it tell the truth: the distribution of the scores, the gap between what was predicted and
what happened, the ranking. Inputs move with every season (on a year of flights the index of temperature is 3 to 8 from May to
October, and the model holds), so an input's shift is a notice and never an alarm. What is an alarm by itself is data that is
broken: values missing, infinite, or of a vocabulary that training never saw.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mainspring.core.contracts import monitoring
from mainspring.core.contracts.monitoring import (
    SCORE,
    Baseline,
    ColumnBaseline,
    ColumnFound,
    Finding,
    Limits,
    SliceFound,
)
from mainspring.core.monitoring import sketches

__all__ = ["auc_of_bins", "judged_by", "population_stability", "report"]

#: Groups of equal reference mass that an index is computed over: more make it larger by chance.
PSI_GROUPS: Final = 10
_QUANTILES: Final = (0.1, 0.5, 0.9)
_DAY_US: Final = 86_400_000_000
_NEW_VALUES: Final = 5

_Counts = NDArray[np.int64]


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
    happened = _Outcomes(baseline, outcomes.filter(inside), _day_spread(outcomes, begins, ends))
    scores = found.filter(pl.col("column") == SCORE)
    slices = tuple(
        _slice(baseline, row, happened, limits) for row in scores.sort("slice", "value").iter_rows(named=True)
    )
    whole = next((s for s in slices if not s.column), None)
    rest = [s for s in slices if s.column]
    columns = tuple(_columns(baseline, found, limits))
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
        if loss > limits.max_auc_loss and loss > limits.standard_errors * _auc_error(one):
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


def _slice(baseline: Baseline, row: dict[str, Any], happened: _Outcomes, limits: Limits) -> SliceFound:
    column = baseline.columns[0]
    counts = np.array(row["counts"], np.int64)
    rows, present = int(counts.sum()), int(counts[:-2].sum())
    mean = None if not present else (column.mean or 0.0) + row["sums"][0] / present
    psi = None
    if min(present, baseline.rows) >= limits.min_rows:
        psi = population_stability(np.array(column.counts), counts[:-2])
    found = SliceFound(column=row["slice"], value=row["value"], rows=rows, mean_score=mean, score_psi=psi)
    return found.model_copy(update=happened.of(row["slice"], row["value"]))


class _Outcomes:
    """What is known of what happened, by slice and value."""

    def __init__(self, baseline: Baseline, cells: pl.DataFrame, spread: tuple[float, float]) -> None:
        self._bins = sketches.score_bins(baseline)
        self._total = sketches.added_up(cells, by=("slice", "value", "column"))
        self._cells, self._spread = cells, spread

    def of(self, column: str, value: str) -> dict[str, Any]:
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


def _columns(baseline: Baseline, found: pl.DataFrame, limits: Limits) -> Iterator[ColumnFound]:
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


def _auc_error(found: SliceFound) -> float:
    """Hanley and McNeil, Radiology 143, 1982."""
    assert found.auc is not None and found.base_rate is not None
    a, positive = found.auc, found.base_rate * found.known
    negative = found.known - positive
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    variance = a * (1 - a) + (positive - 1) * (q1 - a * a) + (negative - 1) * (q2 - a * a)
    return float(np.sqrt(max(variance, 0.0) / (positive * negative)))
