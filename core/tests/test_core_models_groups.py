"""Slices add up and are those of scikit-learn; fairness is fairlearn's by hand; a gap that is too wide names its groups."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from mainspring.core import errors, projects
from mainspring.core.contracts import evaluation as contracts
from mainspring.core.models import groups

GATES = projects.QualityGates(
    min_auc=0.5, leak_alarm_auc=0.99, min_auc_gain_over_baseline=-1, max_calibration_gap=1
)
#: Of four rows each: `a` gets yes yes no no, `b` no no no yes.
TABLE = pl.DataFrame({"who": ["a"] * 4 + ["b"] * 4})
LABELS = np.array([1, 0, 1, 0, 1, 0, 1, 0])
SCORES = np.array([0.9, 0.8, 0.2, 0.1, 0.3, 0.2, 0.1, 0.6])


def asked(**values: object) -> projects.Evaluation:
    return projects.Evaluation.model_validate({"min_rows": 2, **values})


def test_fairness_by_hand() -> None:
    (found,) = groups.fairness(TABLE, LABELS, SCORES, asked(fairness=("who",)))
    a, b = found.groups
    assert (a.value, a.rows, a.positives) == ("a", 4, 2)
    assert (a.selection_rate, a.true_positive_rate, a.false_positive_rate) == (0.5, 0.5, 0.5)
    assert (b.selection_rate, b.true_positive_rate, b.false_positive_rate) == (0.25, 0.0, 0.5)
    assert found.demographic_parity_difference == 0.25
    assert found.demographic_parity_ratio == 0.5
    assert found.equalized_odds_difference == 0.5
    assert groups.fairness_gap(found) == 0.5
    (strict,) = groups.fairness(TABLE, LABELS, SCORES, asked(fairness=("who",), threshold=0.95))
    assert (strict.demographic_parity_difference, strict.demographic_parity_ratio) == (0.0, None)


def test_too_few_rows_are_told_and_never_a_number() -> None:
    (one, two) = groups.slices(TABLE, LABELS, SCORES, asked(slices=("who",), min_rows=5))
    for found in (one, two):
        assert (found.rows, found.note) == (4, "too few rows: 4 of 5")
        assert {found.base_rate, found.mean_score, found.auc, found.calibration_error} == {None}
    (fair,) = groups.fairness(TABLE, LABELS, SCORES, asked(fairness=("who",), min_rows=5))
    assert fair.note == "fewer than two groups have 5 rows" and groups.fairness_gap(fair) is None
    # Four rows of a group are enough for its selection rate, and two of each label are not for the other rates.
    (half,) = groups.fairness(TABLE, LABELS, SCORES, asked(fairness=("who",), min_rows=3))
    assert half.note == "fewer than two groups have 3 rows of each label"
    assert (half.demographic_parity_difference, half.equalized_odds_difference) == (0.25, None)
    assert {g.true_positive_rate for g in half.groups} == {None}


def test_a_slice_of_one_class_has_no_auc() -> None:
    (found,) = groups.slices(
        pl.DataFrame({"k": [True] * 3}), np.ones(3), np.full(3, 0.5), asked(slices=("k",))
    )
    assert (found.value, found.auc, found.base_rate) == ("true", None, 1.0)
    assert found.calibration_error == pytest.approx(0.5)
    assert found.note == "all labels are 1: no auc"


@given(
    values=st.lists(st.sampled_from(["a", "b", "c", "d", "e", None]), min_size=1, max_size=60),
    max_values=st.integers(1, 6),
    seed=st.integers(0, 99),
)
def test_slices_add_up(values: list[str | None], max_values: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, scores = rng.integers(0, 2, len(values)), rng.integers(0, 5, len(values)) / 4
    rows = pl.DataFrame({"k": pl.Series(values, dtype=pl.String)})
    found = groups.slices(rows, labels, scores, asked(slices=("k",), max_values=max_values))
    assert sum(one.rows for one in found) == len(values)
    told = [one for one in found if one.base_rate is not None and one.mean_score is not None]
    alone = [one for one in found if one.base_rate is None]
    assert all(one.rows < 2 for one in alone)
    if not alone:
        assert sum(one.rows * (one.base_rate or 0) for one in told) == pytest.approx(labels.sum())
        assert sum(one.rows * (one.mean_score or 0) for one in told) == pytest.approx(scores.sum())
    named = [one for one in found if one.value not in (contracts.OTHER, contracts.MISSING)]
    assert len(named) <= max_values
    assert [one.rows for one in named] == sorted((one.rows for one in named), reverse=True)
    for one in named:
        inside = np.array([value == one.value for value in values])
        assert one.rows == inside.sum()
        if one.auc is not None:
            assert one.auc == pytest.approx(sk.roc_auc_score(labels[inside], scores[inside]))


def test_the_rest_is_told_and_compared_with_nobody() -> None:
    rows = pl.concat([TABLE, pl.DataFrame({"who": ["c", "c"]})])
    (found,) = groups.fairness(
        rows, np.append(LABELS, [0, 1]), np.append(SCORES, [0.9, 0.9]), asked(fairness=("who",), max_values=2)
    )
    assert [g.value for g in found.groups] == ["a", "b", contracts.OTHER]
    assert found.groups[2].selection_rate == 1.0
    assert found.demographic_parity_difference == 0.25


def test_the_gate_names_column_groups_and_numbers() -> None:
    found = groups.fairness(TABLE, LABELS, SCORES, asked(fairness=("who",)))
    assert groups.check_fairness(found, GATES) == {}
    passed = groups.check_fairness(found, GATES.model_copy(update={"max_fairness_gap": 0.5}))
    assert passed == {"max_fairness_gap": {"expected": "<= 0.5000", "got": 0.5}}
    with pytest.raises(errors.GateFailed) as failed:
        groups.check_fairness(found, GATES.model_copy(update={"max_fairness_gap": 0.3}))
    assert (failed.value.gate, failed.value.got) == ("max_fairness_gap", "0.5000")
    assert (
        "groups of `who` are 0.5000 apart: true positive rate 0.5000 of `a`, 0.0000 of `b`"
        in failed.value.message
    )
    unknown = groups.fairness(TABLE, LABELS, SCORES, asked(fairness=("who",), min_rows=5))
    assert groups.check_fairness(unknown, GATES.model_copy(update={"max_fairness_gap": 0.3})) == {}


@pytest.mark.parametrize(
    ("column", "got"), [("gone", "no such column"), ("share", "Float64"), ("at", "Date")]
)
def test_a_column_that_tells_nobody_apart_is_refused(column: str, got: str) -> None:
    schema = {"share": pl.Float64(), "at": pl.Date(), "who": pl.String(), "n": pl.Int16(), "is": pl.Boolean()}
    groups.check_columns(asked(slices=("who", "n"), fairness=("is",)), schema)
    for where in ("slices", "fairness"):
        with pytest.raises(errors.SchemaMismatch, match=f"`{column}`.*{got}") as refused:
            groups.check_columns(asked(**{where: (column,)}), schema)
        assert refused.value.feature == column
