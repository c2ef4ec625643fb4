"""How good a binary classifier is, in NumPy, and whether that is good enough.

Definitions are scikit-learn's where it has one (a test holds them equal): AUC is the Mann-Whitney statistic with
half a point for ties, average precision is the step-wise sum over thresholds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mainspring.core import errors, projects
from mainspring.core.contracts import training

CALIBRATION_BINS: Final = 10
_LOG_FLOOR: Final = float(np.finfo(np.float64).eps)


def evaluate(labels: ArrayLike, scores: ArrayLike, *, split: str = "test") -> training.Metrics:
    """All metrics of one split.

    Shapes: labels (n,) of 0 and 1, scores (n,) probabilities. Missing: none allowed.
    Errors: DataInvalid for no rows, one class only, unequal lengths, another label, or a score outside [0, 1].
    """
    y, p = _checked(labels, scores, split)
    return training.Metrics(
        rows=len(y),
        base_rate=float(y.mean()),
        auc=_auc(y, p),
        average_precision=_average_precision(y, p),
        brier=float(np.mean((p - y) ** 2)),
        log_loss=_log_loss(y, p),
        calibration_error=_calibration_error(y, p),
    )


def auc(labels: ArrayLike, scores: ArrayLike, *, split: str = "valid") -> float:
    """The area under the ROC curve alone; shapes and errors as :func:`evaluate`."""
    return _auc(*_checked(labels, scores, split))


def calibration_error(labels: ArrayLike, scores: ArrayLike) -> float:
    """Alone, of rows that may all have one label; shapes as :func:`evaluate`."""
    return _calibration_error(np.asarray(labels, dtype=np.float64), np.asarray(scores, dtype=np.float64))


def check_gates(
    candidate: training.Metrics,
    baseline: training.Metrics,
    gates: projects.QualityGates,
    *,
    column_aucs: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Hold a candidate's test metrics against the gates; returns what was compared, for the record.

    `column_aucs`: by :func:`column_aucs`, to name the suspects when the AUC is too good to be true.
    Errors: LeakDetected above the alarm, before any gate; GateFailed with the first gate that was missed.
    """
    if candidate.auc >= gates.leak_alarm_auc or baseline.auc >= gates.leak_alarm_auc:
        best = max(candidate.auc, baseline.auc)
        ranked = sorted((column_aucs or {}).items(), key=lambda item: -abs(item[1] - 0.5))
        evidence = f"auc {best:.4f} on {candidate.rows} rows; strongest single columns: " + (
            ", ".join(f"{name} {value:.4f}" for name, value in ranked[:5]) or "not measured"
        )
        raise errors.LeakDetected(
            f"auc {best:.4f} reaches the leak alarm at {gates.leak_alarm_auc:.4f}: {evidence}; find the column that is"
            " known only after the prediction, or raise `leak_alarm_auc` in a reviewed change",
            features=tuple(name for name, _ in ranked[:5]),
            evidence=evidence,
        )
    gain = candidate.auc - baseline.auc
    checks = (
        ("min_auc", candidate.auc >= gates.min_auc, f">= {gates.min_auc:.4f}", candidate.auc),
        (
            "min_auc_gain_over_baseline",
            gain >= gates.min_auc_gain_over_baseline,
            f">= {gates.min_auc_gain_over_baseline:.4f}",
            gain,
        ),
        (
            "max_calibration_gap",
            candidate.calibration_error <= gates.max_calibration_gap,
            f"<= {gates.max_calibration_gap:.4f}",
            candidate.calibration_error,
        ),
    )
    for gate, ok, expected, got in checks:
        if not ok:
            raise errors.GateFailed(
                f"gate `{gate}` expects {expected}, the model reached {got:.4f} on {candidate.rows} rows (baseline auc"
                f" {baseline.auc:.4f}); improve the model or change the gate in a reviewed change",
                gate=gate,
                expected=expected,
                got=f"{got:.4f}",
            )
    return {
        "relaxed": gates.relaxed,
        **{gate: {"expected": expected, "got": got} for gate, _, expected, got in checks},
    }


def column_aucs(dense: NDArray[np.float32], names: tuple[str, ...], labels: ArrayLike) -> dict[str, float]:
    """The AUC of each column on its own: evidence of which one knows the label. dense (n, d); NaN counts as 0."""
    y = np.asarray(labels, dtype=np.float64)
    if dense.ndim != 2 or dense.shape != (len(y), len(names)):
        raise errors.SchemaMismatch(
            f"dense block has shape {dense.shape}, expected ({len(y)}, {len(names)}); pass the plan's output and its"
            " column names",
            expected=f"({len(y)}, {len(names)})",
            got=str(dense.shape),
        )
    _check_labels(y, "columns")
    return {name: _auc(y, np.nan_to_num(dense[:, i].astype(np.float64))) for i, name in enumerate(names)}


def _checked(
    labels: ArrayLike, scores: ArrayLike, split: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    y, p = np.asarray(labels, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if y.ndim != 1 or y.shape != p.shape:
        raise _invalid(
            split, "shapes", f"labels have shape {y.shape}, scores {p.shape}; pass one score a label"
        )
    _check_labels(y, split)
    # Written so that NaN fails it.
    if not bool(np.all((p >= 0) & (p <= 1))):
        bad = int(np.sum(~((p >= 0) & (p <= 1))))
        raise _invalid(
            split, "scores", f"{bad} of {len(p)} scores are not in [0, 1]; pass probabilities, not logits"
        )
    return y, p


def _check_labels(y: NDArray[np.float64], split: str) -> None:
    if len(y) == 0:
        raise _invalid(
            split, "rows", "there are no rows; check the split's dates or raise the sample fraction"
        )
    if not bool(np.all((y == 0) | (y == 1))):
        raise _invalid(split, "labels", "a label is neither 0 nor 1; check the label column")
    if y.min() == y.max():
        raise _invalid(
            split,
            "one_class",
            f"all {len(y)} labels are {int(y[0])}, auc is undefined; raise the sample fraction",
        )


def _invalid(split: str, check: str, why: str) -> errors.DataInvalid:
    return errors.DataInvalid(f"split `{split}` cannot be evaluated: {why}", dataset=split, failed=(check,))


def _auc(y: NDArray[np.float64], p: NDArray[np.float64]) -> float:
    _, group, counts = np.unique(p, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    mid_rank = ends - (counts - 1) / 2  # the mean of the 1-based ranks that tied scores share
    positives = float(y.sum())
    negatives = len(y) - positives
    rank_sum = float(np.sum(mid_rank[group][y == 1]))
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def _average_precision(y: NDArray[np.float64], p: NDArray[np.float64]) -> float:
    order = np.argsort(-p, kind="stable")
    sorted_p, hits = p[order], np.cumsum(y[order])
    last_of_tie = np.append(np.flatnonzero(np.diff(sorted_p)), len(p) - 1)
    precision = hits[last_of_tie] / (last_of_tie + 1)
    recall = hits[last_of_tie] / hits[-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def _log_loss(y: NDArray[np.float64], p: NDArray[np.float64]) -> float:
    q = np.clip(p, _LOG_FLOOR, 1 - _LOG_FLOOR)
    return float(-np.mean(np.where(y == 1, np.log(q), np.log1p(-q))))


def _calibration_error(y: NDArray[np.float64], p: NDArray[np.float64]) -> float:
    """Mean over rows of |mean score - observed rate| of their bin; rows sorted by score, bins of equal count."""
    order = np.argsort(p, kind="stable")
    # Tied scores in different bins would make the answer depend on row order: each takes its tie's mean label.
    _, group, counts = np.unique(p[order], return_inverse=True, return_counts=True)
    rate = (np.bincount(group, weights=y[order]) / counts)[group]
    total = 0.0
    for bin_scores, bin_rates in zip(
        np.array_split(p[order], CALIBRATION_BINS), np.array_split(rate, CALIBRATION_BINS), strict=True
    ):
        if len(bin_scores):
            total += abs(float(bin_scores.mean() - bin_rates.mean())) * len(bin_scores)
    return total / len(y)
