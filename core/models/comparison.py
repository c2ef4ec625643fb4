"""A challenger and the champion on the same rows: by how much one ranks better, and how sure that is.

The confidence interval is DeLong's for correlated AUCs (DeLong, DeLong and Clarke-Pearson, Biometrics 44, 1988), by mid-ranks
(Sun and Xu, IEEE Signal Processing Letters 21, 2014): it needs no seed, and time of a sort.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mainspring.core import errors, projects
from mainspring.core.contracts import evaluation as contracts
from mainspring.core.models import evaluation

__all__ = ["check", "compare"]

GATE: Final = "min_champion_gain"
#: Two-sided 95 % of a normal distribution.
_Z: Final = 1.959963984540054


def compare(labels: ArrayLike, challenger: ArrayLike, champion: ArrayLike) -> contracts.ChampionComparison:
    """What the champion does and what the challenger gains; who the champion is, the caller fills in.

    Shapes: labels (n,) of 0 and 1, scores (n,) probabilities. Errors: those of `evaluation.evaluate`.
    """
    ours = evaluation.evaluate(labels, challenger, split="test")
    theirs = evaluation.evaluate(labels, champion, split="test by the champion")
    gain = ours.auc - theirs.auc
    error = _standard_error(np.asarray(labels), np.asarray(challenger), np.asarray(champion))
    return contracts.ChampionComparison(
        rows=ours.rows,
        auc=theirs.auc,
        calibration_error=theirs.calibration_error,
        auc_gain=gain,
        auc_gain_low=None if error is None else gain - _Z * error,
        auc_gain_high=None if error is None else gain + _Z * error,
        calibration_gain=theirs.calibration_error - ours.calibration_error,
    )


def check(found: contracts.ChampionComparison, gates: projects.QualityGates) -> dict[str, Any]:
    """Hold the gain against `min_champion_gain`; what was compared, for the record, empty without such a gate or a champion.

    Errors: GateFailed with both AUCs and the interval.
    """
    limit = gates.min_champion_gain
    if limit is None or found.auc_gain is None or found.auc is None:
        return {}
    if not found.auc_gain >= limit:
        sure = (
            f" (95 % confidence {found.auc_gain_low:+.4f} to {found.auc_gain_high:+.4f})"
            if found.auc_gain_low is not None and found.auc_gain_high is not None
            else ""
        )
        raise errors.GateFailed(
            f"gate `{GATE}` expects >= {limit:.4f}, the model has auc {found.auc + found.auc_gain:.4f} where the champion"
            f" `{found.bundle_digest}` has {found.auc:.4f} on the same {found.rows} rows: {found.auc_gain:+.4f}{sure};"
            " improve the model, or change the gate in a reviewed change",
            gate=GATE,
            expected=f">= {limit:.4f}",
            got=f"{found.auc_gain:.4f}",
        )
    return {GATE: {"expected": f">= {limit:.4f}", "got": found.auc_gain}}


def _standard_error(
    labels: NDArray[Any], first: NDArray[np.float64], second: NDArray[np.float64]
) -> float | None:
    """Of the difference of both AUCs. None with fewer than two rows of a label: their spread is not known."""
    positive = labels == 1
    if min(int(positive.sum()), int((~positive).sum())) < 2:
        return None
    places = [_placements(scores[positive], scores[~positive]) for scores in (first, second)]
    of_positives, of_negatives = (a - b for a, b in zip(*places, strict=True))
    variance = np.var(of_positives, ddof=1) / len(of_positives) + np.var(of_negatives, ddof=1) / len(
        of_negatives
    )
    return float(np.sqrt(variance))


def _placements(
    positives: NDArray[np.float64], negatives: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For each positive the share of negatives below it, for each negative that of positives above it; a tie is a half."""
    together = _mid_ranks(np.concatenate([positives, negatives]))
    m, n = len(positives), len(negatives)
    below = (together[:m] - _mid_ranks(positives)) / n
    above = 1 - (together[m:] - _mid_ranks(negatives)) / m
    return below, above


def _mid_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """From 1; tied values share the mean of theirs."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2)[group]
    return ranks
