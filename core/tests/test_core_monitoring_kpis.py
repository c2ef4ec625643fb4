"""What a project says that its answers are worth: summed by the hour, held against its own limits, and bad expressions named."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import core_monitoring_world as world
import numpy as np
import polars as pl
import pydantic
import pytest
from core_monitoring_world import DAY, T0

from mainspring.core import errors
from mainspring.core.contracts import monitoring
from mainspring.core.monitoring import judging, kpis, outcomes, predictions, sketches, windows

SCORE, LABEL = pl.col("score"), pl.col("label")
#: Missed miles, and nothing to say of short ways.
MILES = {"miles": pl.when(pl.col("distance") > 450).then(LABEL * pl.col("distance"))}
LOSS = {"loss": 5.0 * ((SCORE < 0.5) & (LABEL > 0.5)).cast(pl.Float64)}


def baseline(worth: dict[str, pl.Expr]) -> monitoring.Baseline:
    rows = world.rows(5000, seed=9).rename({"late": "label"})
    return world.baseline(kpis=kpis.reference(worth, rows))


def known(folder: Path, answered: pl.DataFrame, worth: dict[str, pl.Expr]) -> windows.WindowStore:
    """The sums of a log whose outcomes are all known."""
    store = world.store(folder / "windows", baseline(worth))
    world.write(folder / "log", answered)
    store.ingest(world.log_of(folder / "log"))
    due = answered.select("key", "late", due=pl.col("as_of") + timedelta(hours=1)).lazy()
    labels = outcomes.Labels(due, keys=("key",), at="due", label="late", horizon=world.HORIZON)
    scanned = predictions.scan(folder / "log", endpoint=world.ENDPOINT)
    outcomes.update(store, scanned, labels, since=T0, until=T0 + 7 * DAY, now=T0 + 60 * DAY, kpis=worth)
    return store


def report(store: windows.WindowStore, **limits: Any) -> monitoring.MonitorReport:
    ends = T0 + 7 * DAY
    return judging.report(
        store.baseline(),
        store.cells(T0, ends),
        store.outcome_cells(T0, ends),
        project="flights",
        endpoint=world.ENDPOINT,
        begins=T0,
        ends=ends,
        limits=monitoring.Limits.model_validate(limits),
    )


def test_a_report_has_what_the_rows_say(tmp_path: Path) -> None:
    answered = world.rows(2000)
    found = report(known(tmp_path, answered, MILES | LOSS))
    assert [one.name for one in found.kpis] == ["loss", "miles"]
    loss, miles = found.kpis
    far = answered.filter(pl.col("distance") > 450)
    assert miles.rows == far.height < 2000
    assert miles.total == pytest.approx(float((far["late"] * far["distance"]).sum()))
    assert loss.mean == pytest.approx(5 * answered.filter(SCORE < 0.5)["late"].sum() / 2000)
    assert loss.mean_reference is not None and loss.mean == pytest.approx(loss.mean_reference, abs=0.2)
    assert found.findings == () and found.known == 2000


def test_all_else_that_is_said_of_outcomes_stays_as_it_is(tmp_path: Path) -> None:
    answered = world.rows(2000, shift=0.05)
    with_kpis = report(known(tmp_path / "a", answered, MILES | LOSS))
    without = report(known(tmp_path / "b", answered, {}))
    assert without.kpis == () and with_kpis.model_copy(update={"kpis": ()}) == without


def test_beyond_the_projects_limit_and_beyond_chance_is_an_alarm(tmp_path: Path) -> None:
    store = known(tmp_path, world.rows(3000, shift=0.2), LOSS)
    (one,) = report(store).kpis
    (finding,) = [f for f in report(store, kpis={"loss": {"high": one.mean / 2}}).alarms if f.kind == "kpi"]
    assert (finding.subject, finding.value, finding.limit) == ("loss", one.mean, one.mean / 2)
    assert "at most" in finding.message and "`loss`" in finding.message
    (low,) = [f for f in report(store, kpis={"loss": {"low": one.mean * 2}}).alarms if f.kind == "kpi"]
    assert "at least" in low.message
    for held in ({"high": one.mean - one.error}, {"low": one.mean + one.error}, {"high": one.mean * 2}):
        assert not [f for f in report(store, kpis={"loss": held}).findings if f.kind == "kpi"]
    few = report(store, min_rows=5000, kpis={"loss": {"high": 0}})
    assert few.findings == ()


def test_days_that_go_together_make_it_less_certain(tmp_path: Path) -> None:
    """The same numbers, once by chance among all days and once of two bad ones."""
    at = (T0 + np.arange(7 * 24) * timedelta(hours=1)).tolist()
    us = np.repeat([round(t.timestamp() * 1e6) for t in at], 10)
    values = (np.arange(len(us)) < 2 * 240).astype(float)
    mixed = np.random.default_rng(3).permutation(values)
    frame = pl.DataFrame({"score": 0.5, "label": values})
    worth = {"it": LABEL}
    errors_of = [
        next(kpis.found(world.baseline(), kpis.cells(worth, us, frame.with_columns(label=pl.Series(v))), T0, T0 + 7 * DAY)).error
        for v in (values, mixed)
    ]  # fmt: skip
    assert errors_of[0] > 5 * errors_of[1] > 0


def test_numbers_that_are_none_are_left_out_and_hours_add_up() -> None:
    at = np.array([round(T0.timestamp() * 1e6)] * 4, np.int64)
    rows = pl.DataFrame(
        {"score": [0.1, 0.2, 0.3, 0.4], "label": [1.0, 0.0, 1.0, 1.0], "x": [1.0, None, float("nan"), 4.0]}
    )
    made = kpis.cells(
        {"it": pl.col("x"), "none": pl.col("x").filter(False).mean() + pl.col("x") * 0}, at, rows
    )
    assert made.filter(pl.col("column") == "\0kpi:it")["counts"].to_list() == [[2]]
    twice = sketches.added_up(pl.concat([made, made]), by=("hour", "slice", "value", "column"))
    (it,) = kpis.found(world.baseline(), twice, T0, T0 + DAY)
    assert (it.name, it.rows, it.total, it.mean_reference) == ("it", 4, 10.0, None)
    assert kpis.cells({"it": pl.col("x")}, at[:0], rows.head(0)).is_empty()


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        (pl.col("weather"), "asks for `weather`, which is not logged"),
        (LABEL.sum(), "gives 1 numbers for 300 answers"),
        (pl.lit("much") + LABEL.cast(pl.String), "gives no number"),
    ],
    ids=["absent", "aggregate", "text"],
)
def test_an_expression_that_cannot_be_one_is_named(tmp_path: Path, expression: pl.Expr, words: str) -> None:
    answered = world.rows(300)
    store = world.store(tmp_path / "windows")
    world.write(tmp_path / "log", answered)
    store.ingest(world.log_of(tmp_path / "log"))
    due = answered.select("key", "late", due=pl.col("as_of")).lazy()
    labels = outcomes.Labels(due, keys=("key",), at="due", label="late", horizon=world.HORIZON)
    scanned = predictions.scan(tmp_path / "log", endpoint=world.ENDPOINT)
    with pytest.raises(errors.InvalidRequest, match=words):
        outcomes.update(
            store, scanned, labels, since=T0, until=T0 + 7 * DAY, now=T0 + 9 * DAY, kpis={"it": expression}
        )
    assert store.outcome_cells(T0, T0 + 7 * DAY).is_empty()


@pytest.mark.parametrize("limit", [{}, {"low": 2, "high": 1}])
def test_a_limit_that_holds_nothing_is_none(limit: dict[str, float]) -> None:
    with pytest.raises(pydantic.ValidationError, match=r"give it one|which is less"):
        monitoring.Limits.model_validate({"kpis": {"loss": limit}})
