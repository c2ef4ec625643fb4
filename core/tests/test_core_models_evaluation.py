"""Metrics equal scikit-learn's, and gates stop what they should."""

import numpy as np
import pytest
from sklearn import metrics as sk

from mainspring.core import errors, projects
from mainspring.core.contracts import training
from mainspring.core.models import evaluation

GATES = projects.QualityGates(
    min_auc=0.65, leak_alarm_auc=0.9, min_auc_gain_over_baseline=0.01, max_calibration_gap=0.05
)


def metrics(auc: float, calibration_error: float = 0.01) -> training.Metrics:
    return training.Metrics(
        rows=1000,
        base_rate=0.2,
        auc=auc,
        average_precision=0.4,
        brier=0.1,
        log_loss=0.4,
        calibration_error=calibration_error,
    )


@pytest.mark.parametrize("rows", [2, 3, 10, 997])
@pytest.mark.parametrize("levels", [1, 2, 7, 10**9])
def test_metrics_equal_scikit_learn(rows: int, levels: int) -> None:
    rng = np.random.default_rng(rows * 31 + levels % 97)
    y = rng.integers(0, 2, rows)
    y[:2] = 0, 1
    p = rng.integers(0, levels + 1, rows) / levels
    got = evaluation.evaluate(y, p)
    assert got.rows == rows
    assert got.base_rate == pytest.approx(y.mean())
    assert got.auc == pytest.approx(sk.roc_auc_score(y, p), abs=1e-12)
    assert got.average_precision == pytest.approx(sk.average_precision_score(y, p), abs=1e-12)
    assert got.brier == pytest.approx(sk.brier_score_loss(y, p), abs=1e-12)
    assert got.log_loss == pytest.approx(sk.log_loss(y, p), rel=1e-9)
    assert evaluation.auc(y, p) == got.auc


def test_calibration_error_by_hand() -> None:
    # 20 rows, bins of two: the first nine are right on average, the last says 0.9 where 0.5 was observed.
    p = np.repeat([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], 2)
    y = np.zeros(20)
    y[-1] = 1
    expected = np.mean([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.4])
    assert evaluation.evaluate(y, p).calibration_error == pytest.approx(expected)


def test_calibration_error_is_zero_at_the_base_rate_in_any_row_order() -> None:
    y = np.array([1] * 30 + [0] * 70)
    assert evaluation.evaluate(y, np.full(100, 0.3)).calibration_error == pytest.approx(0, abs=1e-12)
    assert evaluation.evaluate(y[::-1], np.full(100, 0.3)).calibration_error == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("y", "p", "failed"),
    [
        ([], [], "rows"),
        ([1, 1], [0.5, 0.6], "one_class"),
        ([0, 0], [0.5, 0.6], "one_class"),
        ([0, 2], [0.5, 0.6], "labels"),
        ([0, np.nan], [0.5, 0.6], "labels"),
        ([0, 1], [0.5], "shapes"),
        ([[0, 1]], [[0.5, 0.5]], "shapes"),
        ([0, 1], [0.5, np.nan], "scores"),
        ([0, 1], [-0.1, 0.5], "scores"),
        ([0, 1], [0.5, 1.1], "scores"),
    ],
)
def test_what_cannot_be_evaluated_says_why(y: list[float], p: list[float], failed: str) -> None:
    with pytest.raises(errors.DataInvalid, match="`valid`") as invalid:
        evaluation.evaluate(y, p, split="valid")
    assert invalid.value.failed == (failed,)


def test_gates_pass_and_say_what_was_compared() -> None:
    record = evaluation.check_gates(metrics(0.75), metrics(0.70), GATES)
    assert record["min_auc"] == {"expected": ">= 0.6500", "got": 0.75}
    assert record["relaxed"] is False


@pytest.mark.parametrize(
    ("candidate", "baseline", "gate"),
    [
        (metrics(0.64), metrics(0.60), "min_auc"),
        (metrics(float("nan")), metrics(0.60), "min_auc"),
        (metrics(0.70), metrics(0.695), "min_auc_gain_over_baseline"),
        (metrics(0.75, 0.06), metrics(0.70), "max_calibration_gap"),
    ],
)
def test_each_gate_stops(candidate: training.Metrics, baseline: training.Metrics, gate: str) -> None:
    with pytest.raises(errors.GateFailed) as failed:
        evaluation.check_gates(candidate, baseline, GATES)
    assert failed.value.gate == gate


@pytest.mark.parametrize(("candidate", "baseline"), [(0.95, 0.7), (0.7, 0.95), (0.9, 0.7)])
def test_too_good_is_a_leak_and_names_the_column(candidate: float, baseline: float) -> None:
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 500)
    noise = rng.normal(size=500)
    dense = np.stack([noise, y + 0.1 * noise, -y + 0.3 * noise], axis=1).astype(np.float32)
    columns = evaluation.column_aucs(dense, ("noise", "arrival", "inverse"), y)
    with pytest.raises(errors.LeakDetected, match="arrival 1.0000") as leak:
        evaluation.check_gates(metrics(candidate), metrics(baseline), GATES, column_aucs=columns)
    assert leak.value.features == ("arrival", "inverse", "noise")


def test_column_aucs_check_the_shape() -> None:
    with pytest.raises(errors.SchemaMismatch):
        evaluation.column_aucs(np.zeros((3, 2), np.float32), ("a",), [0, 1, 0])
