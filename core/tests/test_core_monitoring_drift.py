"""Drift is found where it is, and not where it is not."""

from typing import Any

import numpy as np
import pytest

from mainspring.core import errors
from mainspring.core.monitoring import drift, evidently_adapter

N = 600


def report(reference: Any, current: Any, **options: Any) -> drift.ColumnDrift:
    full = evidently_adapter.drift_report({"x": np.asarray(reference)}, {"x": np.asarray(current)}, **options)
    (column,) = full.columns
    return column


def strings(*values: str | None, rows: int = N) -> np.ndarray:
    return np.array([values[i % len(values)] for i in range(rows)], dtype=object)


def test_same_distribution_is_calm_and_a_shift_is_not() -> None:
    rng = np.random.default_rng(1)
    reference = {"a": rng.normal(size=N), "b": rng.exponential(size=N), "c": rng.choice(["x", "y", "z"], N)}
    same = {"a": rng.normal(size=N), "b": rng.exponential(size=N), "c": rng.choice(["x", "y", "z"], N)}
    moved = {**same, "a": rng.normal(size=N) + 1, "c": rng.choice(["x", "y", "z"], N, p=[0.8, 0.1, 0.1])}
    calm = evidently_adapter.drift_report(reference, same)
    assert calm.drifted == () and calm.drifted_share == 0 and not calm.is_drifted
    found = evidently_adapter.drift_report(reference, moved)
    assert [c.name for c in found.columns] == ["a", "b", "c"]
    assert [c.name for c in found.drifted] == ["a", "c"]
    assert found.drifted_share == pytest.approx(2 / 3)
    assert found.is_drifted
    assert drift.DriftReport.model_validate_json(found.model_dump_json()) == found


def test_psi_of_categories_by_hand() -> None:
    column = report(strings("a", "b"), strings("a", "a", "a", "b"))
    assert column.psi == pytest.approx(0.25 * np.log(1.5) + 0.25 * np.log(2))
    assert column.kind == "categorical"


@pytest.mark.parametrize("values", [np.zeros(N), np.full(N, 7), strings("a")])
def test_constant_column_is_calm(values: np.ndarray) -> None:
    column = report(values, values)
    assert column.psi == 0
    assert not column.is_drifted


def test_constant_that_changed_has_drifted() -> None:
    assert report(np.zeros(N), np.ones(N)).is_drifted
    assert report(strings("a"), strings("b")).is_drifted
    assert report(np.zeros(N), np.random.default_rng(1).normal(size=N)).is_drifted


@pytest.mark.parametrize("empty", [np.full(N, np.nan), np.full(N, np.inf)])
def test_empty_numbers(empty: np.ndarray) -> None:
    both = report(empty, empty)
    assert both.psi is None and not both.is_drifted and both.missing_current == 1
    lost = report(np.arange(N), empty)
    assert lost.is_drifted and "no values in current" in lost.reason
    gained = report(empty, np.arange(N), missing_threshold=2)
    assert gained.is_drifted and gained.reason == "no values in reference"


def test_empty_strings_columns() -> None:
    assert not report(strings(None), strings(None)).is_drifted
    assert report(strings("a"), strings(None)).is_drifted


def test_missing_share_counts_and_missing_values_do_not() -> None:
    values = np.random.default_rng(2).normal(size=N)
    holes = values.copy()
    holes[::2] = np.nan
    column = report(values, holes)
    assert column.missing_current == 0.5
    assert column.psi is not None and column.psi < 0.2
    assert column.is_drifted and column.reason == "missing share 0.000 became 0.500"
    assert not report(holes, holes).is_drifted
    assert report(strings("a", "b"), strings("a", None, "b", None)).psi == pytest.approx(0)


@pytest.mark.parametrize(
    ("reference", "current"),
    [
        ({"x": np.zeros(N)}, {"y": np.zeros(N)}),
        ({"x": np.zeros(N)}, {"x": np.zeros(N), "y": np.zeros(N)}),
        ({"x": np.zeros(N)}, {"x": strings("a")}),
        ({"x": np.zeros((N, 2))}, {"x": np.zeros((N, 2))}),
        ({"x": np.zeros(N), "y": np.zeros(N - 1)}, {"x": np.zeros(N), "y": np.zeros(N)}),
        ({}, {}),
    ],
)
def test_other_columns_are_refused(reference: dict[str, Any], current: dict[str, Any]) -> None:
    with pytest.raises(errors.SchemaMismatch):
        evidently_adapter.drift_report(reference, current)


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(errors.DataInvalid, match="current has 199 rows") as invalid:
        evidently_adapter.drift_report({"x": np.zeros(N)}, {"x": np.zeros(199)})
    assert invalid.value.dataset == "current"
