"""The population stability index: what moves it, what does not, against the formula on plain counts."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from mainspring.core.quality import expectations as expect
from mainspring.core.quality import measures
from mainspring.core.quality.report import Profile, QualityReport

RNG = np.random.default_rng(20131231)


def evaluate(rows: pl.DataFrame, accepted: QualityReport | None = None, **claim: float) -> QualityReport:
    made = expect.Suite(
        dataset="d", expectations=(expect.Distribution.model_validate({"column": "x"} | claim),)
    )
    return measures.evaluate(made, rows, accepted=accepted)


def psi(before: pl.Series, now: pl.Series) -> float:
    report = evaluate(now.to_frame("x"), evaluate(before.to_frame("x")))
    return float(report.checks[0].observed.removeprefix("PSI "))


NORMAL = pl.Series(RNG.normal(size=5000))


@pytest.mark.parametrize(
    ("before", "now", "low", "high"),
    [
        (NORMAL, pl.Series(RNG.normal(size=3000)), 0.0, 0.02),
        (NORMAL, NORMAL.shuffle(seed=1), 0.0, 1e-9),
        (NORMAL, pl.Series(RNG.normal(0.5, size=3000)), 0.2, 0.35),  # half a deviation is a quarter of a unit
        (NORMAL, pl.Series(RNG.normal(size=3000) * 2), 0.25, 10),
        (NORMAL, pl.Series([None] * 3000, dtype=pl.Float64), 5, 99),
        (NORMAL, pl.Series(np.where(RNG.random(5000) < 0.2, np.nan, RNG.normal(size=5000))), 0.25, 5),
        (pl.Series([5.0] * 900), pl.Series([3.0] * 900), 5, 99),  # a constant that is another one
        (pl.Series([5.0] * 900), pl.Series([7.0] * 900), 5, 99),
        (pl.Series([5] * 900), pl.Series([5] * 700), 0, 1e-3),
        (pl.Series([0.0] * 800 + [1.0] * 200), pl.Series([0.0] * 200 + [1.0] * 800), 1, 9),
        (pl.Series(["a"] * 500 + ["b"] * 500), pl.Series(["b"] * 500 + ["a"] * 500), 0, 1e-9),
        (pl.Series(["a"] * 500 + ["b"] * 500), pl.Series(["a"] * 900 + ["b"] * 100), 0.8, 1.0),
        (pl.Series(["a"] * 1000), pl.Series(["z"] * 1000), 5, 99),  # a value never seen before
        (pl.Series([True, False] * 300), pl.Series([True] * 600), 1, 99),
    ],
)
def test_psi_is_small_for_the_same_and_large_for_another_population(
    before: pl.Series, now: pl.Series, low: float, high: float
) -> None:
    assert low <= psi(before, now) <= high


def test_bins_are_deciles_and_ties_have_their_own() -> None:
    (found,) = evaluate(pl.DataFrame({"x": [0.0] * 60 + [float(i) for i in range(1, 41)]})).profiles
    assert found.edges is not None and found.edges[1] == 0.0 and found.edges[0] == math.nextafter(0.0, -1)
    assert found.counts[:2] == (0, 60) and sum(found.counts) == found.rows == 100


def test_psi_is_the_formula_over_counts_half_a_row_added() -> None:
    before = evaluate(pl.DataFrame({"x": ["a"] * 300 + ["b"] * 100}))
    report = evaluate(pl.DataFrame({"x": ["a"] * 200 + ["b"] * 200}), before)
    # Two values; nothing is missing or other on either side, so those two bins do not count.
    pairs = ((300.5 / 401, 200.5 / 401), (100.5 / 401, 200.5 / 401))
    expected = sum((q - p) * math.log(q / p) for p, q in pairs)
    assert float(report.checks[0].observed.removeprefix("PSI ")) == pytest.approx(expected, rel=1e-3)
    assert report.failed and report.checks[0].expected == "PSI at most 0.25"


def test_the_most_frequent_values_are_named_in_one_order() -> None:
    rows = pl.DataFrame({"x": [f"v{i:02}" for i in range(30)] + ["v29"]})
    for shuffled in (rows, rows.sample(fraction=1, shuffle=True, seed=3)):
        (found,) = evaluate(shuffled).profiles
        assert found.values == ("v29", *(f"v{i:02}" for i in range(19)))
        assert found.counts == (2, *([1] * 19), 10)


def test_a_small_batch_is_not_compared_and_the_bound_is_the_callers() -> None:
    before = evaluate(NORMAL.to_frame("x"))
    few = pl.DataFrame({"x": [99.0] * 199})
    assert evaluate(few, before).checks[0].observed == "199 rows, too few to compare"
    assert evaluate(few, before, min_rows=199).failed
    assert not evaluate(few, before, min_rows=199, at_most=1e6).failed
    assert evaluate(few).checks[0].observed == "no accepted batch to compare with"


def test_a_column_that_became_text_is_not_compared_but_fails() -> None:
    before = evaluate(NORMAL.to_frame("x"))
    report = evaluate(pl.DataFrame({"x": ["1.0"] * 1000}), before)
    assert report.failed and "was numbers" in report.failed[0].observed


def test_noise_of_equal_populations_stays_below_the_bounds() -> None:
    """The claim that the thresholds stand on: 200 rows of the same population hardly ever reach 0.25."""
    before = evaluate(pl.DataFrame({"x": RNG.normal(size=20_000)}))
    found = [
        float(
            evaluate(pl.DataFrame({"x": RNG.normal(size=200)}), before)
            .checks[0]
            .observed.removeprefix("PSI ")
        )
        for _ in range(100)
    ]
    assert 0.02 < float(np.mean(found)) < 0.08 and max(found) < expect.PSI_FATAL


def test_a_profile_adds_up() -> None:
    assert Profile(column="x", counts=(1, 2), missing=3).rows == 6
