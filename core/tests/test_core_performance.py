"""Live performance: alarms where a model fails, silence where chance explains it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from mainspring.core.contracts import performance as contract
from mainspring.core.contracts.monitoring import SCORE
from mainspring.core.models import evaluation
from mainspring.core.monitoring import baselines, performance, sketches

BEGIN = datetime(2013, 4, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
WEEK = timedelta(days=7)


def predictions(
    days: int, per_day: int, *, happens: float = 1.0, seed: int = 0, day_spread: float = 0.0
) -> pl.DataFrame:
    """Scores of a useful model; outcomes happen `happens` times as often as it says, days going up and down together."""
    random = np.random.default_rng(seed)
    n = days * per_day
    p = random.beta(2, 6, n)
    day = np.repeat(random.normal(1, day_spread, days), per_day) if day_spread else 1.0
    y = (random.random(n) < np.clip(p * happens * day, 0, 1)).astype(np.int8)
    at = [BEGIN + timedelta(days=float(d)) for d in np.repeat(np.arange(days), per_day) + random.random(n)]
    return pl.DataFrame({"at": at, "score": p.astype(np.float32), "label": y}).with_columns(
        pl.col("at").dt.cast_time_unit("us")
    )


REFERENCE = baselines.make(
    predictions(30, 300, seed=99),
    bundle_digest="sha256:" + "a" * 64,
    score="score",
    label="label",
    features=(),
)


def measure(asked: pl.DataFrame, *, windows: int = 52, **limits: float) -> contract.PerformanceReport:
    """By the hourly sums of `asked`, of which a null label is an outcome not known yet."""
    sketcher, known = sketches.Sketcher(REFERENCE), asked.drop_nulls("label")
    sketcher.add(asked["at"].dt.epoch("us").to_numpy(), asked.rename({"score": SCORE}))
    happened = sketches.outcomes(
        REFERENCE,
        known["at"].dt.epoch("us").to_numpy(),
        known["score"].to_numpy(),
        known["label"].to_numpy(),
        known,
    )
    last: datetime = asked["at"].max()  # type: ignore[assignment]
    return performance.measure(
        REFERENCE,
        sketcher.take(),
        happened,
        ends=last.replace(minute=0, second=0, microsecond=0) + HOUR,
        window=WEEK,
        windows=windows,
        limits=contract.Limits.model_validate(limits),
    )


def test_a_model_that_holds_raises_no_alarm_in_a_year() -> None:
    report = measure(predictions(364, 120))
    assert len(report.windows) == 52 and sum(w.rows for w in report.windows) == 364 * 120
    assert [w.alarms for w in report.windows if w.alarms] == []


def test_days_that_go_together_are_no_alarm() -> None:
    """With rows taken as independent, 0.05 would be passed, and beyond chance, in some of these weeks."""
    report = measure(predictions(364, 400, day_spread=0.35))
    wide = [w for w in report.windows if w.calibration_gap and abs(w.calibration_gap) > 0.05]
    rows = [np.sqrt(w.mean_score * (1 - w.mean_score) / w.known) for w in wide if w.mean_score]
    assert any(
        abs(w.calibration_gap or 0) > 3 * alone for w, alone in zip(wide, rows, strict=True)
    )  # the trap is there
    assert sum(bool(w.alarms) for w in report.windows) <= 1


@pytest.mark.parametrize(("happens", "word"), [(0.55, "calibration: 0.2"), (1.5, "calibration: 0.2")])
def test_outcomes_that_halve_or_surge_are_found_in_the_first_week(happens: float, word: str) -> None:
    before, after = predictions(56, 200), predictions(7, 200, happens=happens, seed=1)
    asked = pl.concat([before, after.with_columns(pl.col("at") + timedelta(days=56))])
    report = measure(asked)
    assert report.windows[-1].alarms[0].startswith(word) and report.alarms == report.windows[-1].alarms
    assert not any(w.alarms for w in report.windows[:-1])


def test_a_ranking_that_is_lost_is_named() -> None:
    asked = predictions(7, 300)
    shuffled = asked.with_columns(pl.col("label").shuffle(seed=3))
    (found,) = measure(shuffled).windows
    assert found.alarms[0].startswith("ranking: AUC 0.") and found.auc is not None and found.auc < 0.55


def test_scores_that_move_are_seen_before_any_outcome() -> None:
    asked = predictions(7, 300).with_columns(
        (pl.col("score") * 0.4).alias("score"), pl.lit(None, pl.Int8).alias("label")
    )
    (found,) = measure(asked).windows
    assert found.score_psi is not None and found.score_psi > 0.25
    assert (found.known, found.base_rate, found.alarms) == (0, None, ())  # and is judged with outcomes only


def test_too_few_outcomes_are_not_judged_and_the_newest_judged_window_speaks() -> None:
    good, bad = predictions(7, 100), predictions(7, 20, happens=3, seed=2)
    asked = pl.concat([good, bad.with_columns(pl.col("at") + WEEK)])
    report = measure(asked)
    assert 140 <= report.windows[-1].known < 150 and report.windows[-1].alarms == ()
    assert report.alarms == ()
    assert measure(asked, min_rows=100).alarms != ()


def test_windows_count_back_and_keep_every_row() -> None:
    asked = predictions(10, 50)
    report = measure(asked)
    assert report.windows[-1].ends - report.windows[-1].begins == WEEK
    assert [w.rows for w in report.windows][-1] > 300 and sum(w.rows for w in report.windows) == 500
    (newest,) = measure(asked, windows=1).windows
    assert newest == report.windows[-1]
    assert measure(asked, windows=0).windows == ()


def test_the_sums_of_a_week_say_what_its_rows_say() -> None:
    """The sums know a score to a bin of two hundred."""
    asked = predictions(7, 400, day_spread=0.2, seed=4)
    (found,) = measure(asked).windows
    y, p = asked["label"].to_numpy().astype(np.float64), asked["score"].to_numpy().astype(np.float64)
    assert (found.rows, found.known) == (2800, 2800)
    assert found.base_rate == pytest.approx(y.mean()) and found.mean_score == pytest.approx(p.mean())
    assert found.auc == pytest.approx(evaluation.auc(y, p, split="live"), abs=0.003)


def test_slices_and_other_columns_of_the_sums_change_nothing() -> None:
    asked = predictions(7, 100).with_columns(carrier=pl.lit("AA"))
    made = baselines.make(
        asked.with_columns(distance=pl.lit(1.0)),
        bundle_digest=REFERENCE.bundle_digest,
        score="score",
        label="label",
        features=("distance",),
        slices=("carrier",),
    )
    at, scores, labels = asked["at"].dt.epoch("us").to_numpy(), asked["score"], asked["label"]
    sketcher = sketches.Sketcher(made)
    sketcher.add(at, asked.rename({"score": SCORE}))
    happened = sketches.outcomes(made, at, scores.to_numpy(), labels.to_numpy(), asked)
    ends = BEGIN + WEEK
    (found,) = performance.measure(made, sketcher.take(), happened, ends=ends, window=WEEK, windows=1).windows
    assert (found.rows, found.known) == (700, 700) and found.base_rate == pytest.approx(labels.mean())
