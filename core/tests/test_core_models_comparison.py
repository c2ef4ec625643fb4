"""The interval is DeLong's by its definition, pair by pair; a challenger that is worse is told with both numbers."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from mainspring.core import errors, projects
from mainspring.core.models import comparison

GATES = projects.QualityGates(
    min_auc=0.5, leak_alarm_auc=0.99, min_auc_gain_over_baseline=-1, max_calibration_gap=1
)


def by_pairs(y: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """DeLong's standard error from the definition: the kernel of every pair of a positive and a negative."""
    kernels = []
    for p in (a, b):
        x, z = p[y == 1][:, None], p[y == 0][None, :]
        kernels.append((x > z) + 0.5 * (x == z))
    of_positives, of_negatives = ([k.mean(axis=axis) for k in kernels] for axis in (1, 0))
    s10, s01 = np.cov(of_positives), np.cov(of_negatives)
    variance = s10 / (y == 1).sum() + s01 / (y == 0).sum()
    return float(np.sqrt(variance[0, 0] + variance[1, 1] - 2 * variance[0, 1]))


@pytest.mark.parametrize("rows", [6, 50, 400])
@pytest.mark.parametrize("levels", [3, 10**6])
def test_the_interval_is_delongs(rows: int, levels: int) -> None:
    rng = np.random.default_rng(rows + levels % 7)
    y = rng.integers(0, 2, rows)
    y[:4] = 0, 1, 0, 1
    a, b = (np.round(np.clip(rng.normal(y * 0.2 + 0.4, 0.2), 0, 1) * levels) / levels for _ in range(2))
    found = comparison.compare(y, a, b)
    assert (found.rows, found.auc) == (rows, pytest.approx(sk.roc_auc_score(y, b)))
    assert found.auc_gain == pytest.approx(sk.roc_auc_score(y, a) - sk.roc_auc_score(y, b))
    assert found.auc_gain_low is not None and found.auc_gain_high is not None and found.auc_gain is not None
    half = 1.959964 * by_pairs(y, a, b)
    assert found.auc_gain_high - found.auc_gain == pytest.approx(half, rel=1e-6, abs=1e-12)
    assert found.auc_gain - found.auc_gain_low == pytest.approx(half, rel=1e-6, abs=1e-12)


def test_the_interval_covers_what_it_says() -> None:
    """Two equally good noisy models: of 400 comparisons some 20 do not have 0 in their interval."""
    rng, missed = np.random.default_rng(3), 0
    for _ in range(400):
        y = rng.integers(0, 2, 200)
        shared = rng.normal(y * 1.0, 1.0)
        a, b = (1 / (1 + np.exp(-(shared + rng.normal(0, 1, 200)))) for _ in range(2))
        found = comparison.compare(y, a, b)
        assert found.auc_gain_low is not None and found.auc_gain_high is not None
        missed += not found.auc_gain_low <= 0 <= found.auc_gain_high
    assert 8 <= missed <= 36


def test_the_same_scores_gain_nothing_for_sure() -> None:
    y, p = np.array([0, 1, 0, 1, 1]), np.array([0.1, 0.4, 0.5, 0.8, 0.9])
    found = comparison.compare(y, p, p)
    assert (found.auc_gain, found.auc_gain_low, found.auc_gain_high, found.calibration_gain) == (0, 0, 0, 0)
    alone = comparison.compare([0, 1, 1], [0.1, 0.4, 0.5], [0.2, 0.1, 0.5])
    assert alone.auc_gain == 0.5 and alone.auc_gain_low is None


def test_the_gate_lets_pass_what_it_says() -> None:
    y = np.array([0, 0, 1, 1, 0, 1])
    good, bad = np.array([0.1, 0.2, 0.8, 0.9, 0.3, 0.7]), np.array([0.1, 0.8, 0.7, 0.9, 0.3, 0.2])
    worse = comparison.compare(y, bad, good).model_copy(update={"bundle_digest": "sha256:4"})
    assert worse.auc_gain == pytest.approx(-1 / 3)
    assert comparison.check(worse, GATES) == {}
    assert (
        comparison.check(worse, GATES.model_copy(update={"min_champion_gain": -0.4}))["min_champion_gain"][
            "got"
        ]
        < 0
    )
    with pytest.raises(errors.GateFailed) as failed:
        comparison.check(worse, GATES.model_copy(update={"min_champion_gain": 0.0}))
    assert (failed.value.gate, failed.value.got) == ("min_champion_gain", "-0.3333")
    assert "auc 0.6667 where the champion `sha256:4` has 1.0000 on the same 6 rows" in failed.value.message
    nobody = worse.model_copy(update={"auc_gain": None, "auc": None})
    assert comparison.check(nobody, GATES.model_copy(update={"min_champion_gain": 0.0})) == {}
