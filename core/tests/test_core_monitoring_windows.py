"""Hourly sums of the prediction log: each row once, whatever dies in the middle; and what a window's sums say of a model."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import core_monitoring_world as world
import numpy as np
import polars as pl
import pytest
from core_monitoring_world import DAY, T0

from mainspring.core import durable, errors
from mainspring.core.contracts import monitoring
from mainspring.core.contracts.monitoring import SCORE
from mainspring.core.models import evaluation
from mainspring.core.monitoring import baselines, judging, measuring, sketches, windows


def report(
    store: windows.WindowStore, *, begins: Any = T0, days: int = 7, **limits: Any
) -> monitoring.MonitorReport:
    ends = begins + days * DAY
    return judging.report(
        store.baseline(),
        store.cells(begins, ends),
        store.outcome_cells(T0, ends),
        project="flights",
        endpoint=world.ENDPOINT,
        begins=begins,
        ends=ends,
        limits=monitoring.Limits(**limits),
        ill_timed=store.ill_timed,
    )


def sketched(rows: pl.DataFrame, baseline: monitoring.Baseline, *sizes: int) -> pl.DataFrame:
    """The cells of `rows`, added in parts of these sizes, each taken by itself."""
    frames, start = [], 0
    sketcher = sketches.Sketcher(baseline)
    for size in (*sizes, rows.height):
        part = rows.slice(start, size)
        start += size
        if part.height:
            sketcher.add(part["as_of"].dt.epoch("us").to_numpy(), part.rename({"score": SCORE}))
        frames.append(sketcher.take())
    return sketches.added_up(pl.concat(frames), by=("hour", "slice", "value", "column"))


def test_sums_of_parts_are_the_sums_of_the_whole() -> None:
    baseline, rows = world.baseline(), world.rows(3000)
    key = ["hour", "slice", "value", "column"]
    whole, parts = (sketched(rows, baseline, *sizes).sort(key) for sizes in ((), (1, 700, 0, 1500)))
    assert whole["counts"].to_list() == parts["counts"].to_list()
    assert np.allclose(sketches.matrix(whole.filter(pl.col("column") == SCORE)["sums"]),
                       sketches.matrix(parts.filter(pl.col("column") == SCORE)["sums"]))  # fmt: skip
    assert sum(world.counts(whole, "distance")) == sum(world.counts(whole, SCORE, value="AA")) * 3 == 3000


def test_what_is_counted_is_what_numpy_counts() -> None:
    baseline, rows = world.baseline(), world.rows(2000)
    cells = sketched(rows, baseline)
    column = baseline.column("distance")
    assert column is not None
    inner = np.histogram(
        rows["distance"].to_numpy().astype(np.float64), bins=[-np.inf, *column.edges, np.inf]
    )[0]
    # NumPy's bins are closed below and ours above: no value of the live rows lies on an edge.
    assert world.counts(cells, "distance") == [*inner, 0, 0]


def test_missing_infinite_and_new_values_have_their_own_places() -> None:
    rows = world.rows(600).with_columns(
        distance=pl.when(pl.col("key") < 60).then(None).when(pl.col("key") < 90).then(float("inf"))
        .when(pl.col("key") < 100).then(float("nan")).otherwise("distance").cast(pl.Float32),
        carrier=pl.when(pl.col("key") < 150).then(pl.lit("ZZ")).when(pl.col("key") < 160).then(None).otherwise("carrier"),
    )  # fmt: skip
    cells = sketched(rows, world.baseline(), 80, 80)
    assert world.counts(cells, "distance")[-2:] == [70, 30]
    assert world.counts(cells, "carrier")[-2:] == [10, 150]
    total = sketches.added_up(cells, by=("slice", "column"))
    (fresh,) = total.filter(pl.col("column") == "carrier", pl.col("slice") == "")["fresh"].to_list()
    assert fresh == '{"ZZ": 150}'


def test_a_column_that_the_log_has_not_is_missing_in_every_row() -> None:
    cells = sketched(world.rows(300).drop("distance", "carrier"), world.baseline())
    assert world.counts(cells, "distance")[-2] == 300 and world.counts(cells, "carrier")[-2] == 300
    assert sum(world.counts(cells, SCORE, value=sketches.OTHER)) == 300


def test_of_many_new_values_the_frequent_ones_are_remembered() -> None:
    names = ["often"] * 200 + [f"new-{i}" for i in range(400)]
    rows = world.rows(600).with_columns(carrier=pl.Series(names))
    cells = sketched(rows, world.baseline(), 250, 100)
    (fresh,) = (
        sketches.added_up(cells, by=("slice", "column"))
        .filter(pl.col("column") == "carrier", pl.col("slice") == "")["fresh"]
        .to_list()
    )
    assert fresh.startswith('{"often": ')


def test_the_log_is_counted_once_however_often_it_is_looked_at(tmp_path: Path) -> None:
    store = world.store(tmp_path / "windows")
    world.write(tmp_path / "log", world.rows(200))
    first = store.ingest(world.log_of(tmp_path / "log"))
    assert (first.files, first.rows, first.damaged) == (1, 200, ())
    assert store.ingest(world.log_of(tmp_path / "log")).rows == 0
    world.write(tmp_path / "log", world.rows(100, seed=2, begins=T0 + DAY).with_columns(pl.col("key") + 1000))
    assert store.ingest(world.log_of(tmp_path / "log")).rows == 100
    assert sum(world.counts(store.cells(T0, T0 + 30 * DAY), SCORE)) == 300
    assert store.newest() is not None


def test_a_look_that_dies_in_the_middle_counts_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = world.store(tmp_path / "windows")
    for seed in range(3):
        world.write(tmp_path / "log", world.rows(50, seed=seed).with_columns(pl.col("key") + 100 * seed))
    monkeypatch.setattr(windows, "FILES_A_SEGMENT", 1)
    place, placed = durable.place_file, []

    def dies(path: Path, write: Any) -> None:
        if placed:
            raise OSError("the machine was switched off")
        place(path, write)
        placed.append(path)

    with monkeypatch.context() as patched:
        patched.setattr(durable, "place_file", dies)
        with pytest.raises(OSError, match="switched off"):
            store.ingest(world.log_of(tmp_path / "log"))
    assert sum(world.counts(store.cells(T0, T0 + 30 * DAY), SCORE)) == 50
    assert store.ingest(world.log_of(tmp_path / "log")).files == 2
    assert sum(world.counts(store.cells(T0, T0 + 30 * DAY), SCORE)) == 150


def test_many_segments_become_one_and_a_crash_between_leaves_no_row_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "FILES_A_SEGMENT", 1)
    monkeypatch.setattr(windows, "COMPACT_AT", 4)
    store = world.store(tmp_path / "windows")
    for seed in range(4):
        world.write(tmp_path / "log", world.rows(30, seed=seed).with_columns(pl.col("key") + 100 * seed))
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", lambda *_, **__: None)  # the old ones stay
        store.ingest(world.log_of(tmp_path / "log"))
    assert len(list((tmp_path / "windows").rglob("segments/*.parquet"))) == 5
    assert sum(world.counts(store.cells(T0, T0 + 30 * DAY), SCORE)) == 120
    assert store.ingest(world.log_of(tmp_path / "log")).rows == 0


def test_a_damaged_file_is_told_and_holds_nobody_up(tmp_path: Path) -> None:
    store, log = world.store(tmp_path / "windows"), world.log_of(tmp_path / "log")
    world.write(tmp_path / "log", world.rows(40))
    (log / f"{10**16:020d}-1-000001.parquet").write_bytes(b"PAR1 and no more")
    found = store.ingest(log)
    assert (found.files, found.rows) == (1, 40) and found.damaged == (f"{10**16:020d}-1-000001.parquet",)


def test_only_the_stable_bundles_answers_count_and_each_question_once(tmp_path: Path) -> None:
    store, asked = world.store(tmp_path / "windows"), world.rows(60)
    world.write(tmp_path / "log", asked, later=timedelta(hours=3))
    world.write(tmp_path / "log", asked, later=timedelta(hours=9))  # a deployment's probes, round and round
    world.write(tmp_path / "log", asked, role="canary")
    found = store.ingest(world.log_of(tmp_path / "log"))
    assert (found.rows, found.repeated) == (60, 60)


def test_answers_of_a_clock_that_jumped_ahead_are_left_out_and_told(tmp_path: Path) -> None:
    store = world.store(tmp_path / "windows")
    world.write(tmp_path / "log", world.rows(300))
    world.write(tmp_path / "log", world.rows(20, begins=T0.replace(year=2999)))
    found = store.ingest(world.log_of(tmp_path / "log"))
    assert (found.rows, found.ill_timed) == (300, 20) == (300, store.ill_timed)
    assert report(store).ill_timed == 20


def test_one_counts_at_a_time(tmp_path: Path) -> None:
    import os

    store = world.store(tmp_path / "windows")
    (segments,) = {p.parent for p in (tmp_path / "windows").rglob("baseline.json")}
    held = durable.hold_folder(segments / "segments")
    try:
        with pytest.raises(errors.Overloaded, match="another process counts"):
            store.ingest(world.log_of(tmp_path / "log"))
    finally:
        os.close(held)
    assert store.ingest(world.log_of(tmp_path / "log")).files == 0


def test_a_baseline_stays_and_a_broken_one_is_told(tmp_path: Path) -> None:
    store = world.store(tmp_path / "windows")
    store.put_baseline(world.baseline())
    with pytest.raises(errors.Conflict, match="another baseline"):
        store.put_baseline(world.baseline(rows=7))
    next((tmp_path / "windows").rglob("baseline.json")).write_text("{}")
    with pytest.raises(errors.CorruptArtifact, match="no baseline"):
        store.baseline()
    with pytest.raises(errors.NotFound, match="run a drift check"):
        windows.WindowStore(tmp_path / "elsewhere").ingest(tmp_path)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (pl.lit(None, pl.Int8).alias("late"), errors.DataInvalid),
        (pl.lit(1, pl.Int8).alias("late"), errors.DataInvalid),
        (pl.lit(2.0, pl.Float32).alias("score"), errors.DataInvalid),
    ],
)
def test_a_reference_that_cannot_be_one_is_refused(change: pl.Expr, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        baselines.make(
            world.rows(300).with_columns(change),
            bundle_digest=world.BUNDLE,
            score="score",
            label="late",
            features=(),
        )
    with pytest.raises(errors.SchemaMismatch, match="no column `nowhere`"):
        baselines.make(
            world.rows(300), bundle_digest=world.BUNDLE, score="score", label="late", features=("nowhere",)
        )


class Answered:
    """A log, its sums and its outcomes."""

    def __init__(self, folder: Path, asked: pl.DataFrame, happened: pl.DataFrame | None = None) -> None:
        self.folder, self.store = folder, world.store(folder / "windows")
        world.write(folder / "log", asked)
        self.store.ingest(world.log_of(folder / "log"))
        world.join(folder / "log", self.store, asked if happened is None else happened)

    def report(self, **limits: Any) -> monitoring.MonitorReport:
        return report(self.store, **limits)


def test_a_model_that_holds_has_no_findings_and_the_sums_say_what_the_rows_say(tmp_path: Path) -> None:
    asked = world.rows(2000)
    found = Answered(tmp_path, asked).report()
    assert found.findings == () and found.message == "" and (found.rows, found.known) == (2000, 2000)
    whole, scores = found.whole, asked["score"].to_numpy().astype(np.float64)
    truth = evaluation.evaluate(asked["late"].to_numpy(), scores)
    assert whole is not None and whole.auc is not None and whole.brier is not None
    assert abs(whole.auc - truth.auc) < 0.003  # half a bin of 200
    assert abs(whole.brier - truth.brier) < 1e-9
    assert whole.base_rate == truth.base_rate and abs((whole.mean_score or 0) - scores.mean()) < 1e-6
    by_value = {s.value: s.rows for s in found.slices}
    assert by_value == {"AA": 667, "BB": 667, "CC": 666}
    (distance,) = (c for c in found.columns if c.name == "distance")
    assert (
        abs(distance.quantiles["0.5"] - 500) < 15
        and abs((distance.mean or 0) - asked["distance"].mean()) < 0.01
    )
    assert abs((distance.deviation or 0) - 100) < 5


def test_what_happens_otherwise_than_predicted_is_an_alarm(tmp_path: Path) -> None:
    found = Answered(tmp_path, world.rows(2000, shift=0.2)).report()
    assert {f.kind for f in found.alarms} == {"calibration"}
    assert {(f.kind, f.subject) for f in found.findings if f.severity == "notice"} >= {
        ("target", ""),
        ("calibration", "carrier=AA"),
    }


def test_scores_that_moved_are_an_alarm_without_any_label(tmp_path: Path) -> None:
    asked = world.rows(2000)
    moved = asked.with_columns((pl.col("score") * 0.3).cast(pl.Float32))
    found = Answered(tmp_path, moved, asked.head(0)).report()
    assert [f.kind for f in found.alarms] == ["scores"] and found.known == 0
    assert "0 of 2000 answers have an outcome" in found.message


def test_an_input_that_moved_informs_and_never_alarms(tmp_path: Path) -> None:
    found = Answered(tmp_path, world.rows(2000).with_columns(pl.col("distance") + 400)).report()
    assert found.alarms == () and [(f.kind, f.subject) for f in found.findings] == [("inputs", "distance")]
    (distance,) = (c for c in found.columns if c.name == "distance")
    assert distance.psi is not None and distance.psi > 1 and distance.outside > 0.5


@pytest.mark.parametrize(
    ("change", "subject", "words"),
    [
        (pl.lit(None, pl.Float32).alias("distance"), "distance", "missing share 0.000 became 1.000"),
        (pl.lit(float("inf"), pl.Float32).alias("distance"), "distance", "are infinite"),
        (pl.lit("ZZ").alias("carrier"), "carrier", "never seen in training, such as `ZZ`"),
    ],
)
def test_broken_data_is_an_alarm(tmp_path: Path, change: pl.Expr, subject: str, words: str) -> None:
    found = Answered(tmp_path, world.rows(400).with_columns(change)).report()
    assert [(f.kind, f.subject) for f in found.alarms] == [("quality", subject)] and words in found.alarms[
        0
    ].message


def test_a_constant_that_stays_is_nothing_and_one_that_changes_is_told(tmp_path: Path) -> None:
    column = world.baseline().column("fixed")
    assert column is not None and column.is_constant
    (tmp_path / "same").mkdir()
    same = Answered(tmp_path / "same", world.rows(400)).report()
    assert [c.psi for c in same.columns if c.name == "fixed"] == [0.0]
    other = Answered(tmp_path, world.rows(400).with_columns(pl.lit(4.0, pl.Float32).alias("fixed"))).report()
    assert [(f.kind, f.subject) for f in other.findings] == [("inputs", "fixed")]


def test_empty_and_thin_windows_judge_nobody(tmp_path: Path) -> None:
    made = Answered(tmp_path, world.rows(150, shift=0.5))
    assert report(made.store, begins=T0 + 90 * DAY).message == "no answers in this window; nothing is judged"
    thin = made.report()
    assert thin.findings == () and "150 answers in this window, 200 are needed" in thin.message
    assert made.report(min_rows=100).alarms != ()


def test_outcomes_come_late_and_a_day_is_asked_until_it_is_settled(tmp_path: Path) -> None:
    asked = world.rows(700)
    made = Answered(tmp_path, asked, asked.head(0))
    early = T0 + 2 * DAY
    fresh = world.store(tmp_path / "again")
    fresh.ingest(world.log_of(tmp_path / "log"))
    assert world.join(tmp_path / "log", fresh, asked.head(100), now=early) == 30
    assert report(fresh).known == 100 and not fresh.is_settled(T0.date())
    assert world.join(tmp_path / "log", fresh, asked) == 30
    assert report(fresh).known == 700 and fresh.is_settled(T0.date())
    assert world.join(tmp_path / "log", fresh, asked.head(0)) == 0  # nothing can come any more
    assert made.report().known == 0


def test_a_day_that_the_log_has_no_more_keeps_what_was_known_of_it(tmp_path: Path) -> None:
    asked = world.rows(700)
    store = world.store(tmp_path / "windows")
    world.write(tmp_path / "log", asked)
    store.ingest(world.log_of(tmp_path / "log"))
    world.join(tmp_path / "log", store, asked, now=T0 + 2 * DAY)
    for path in world.log_of(tmp_path / "log").glob("*.parquet"):
        path.unlink()
    world.write(tmp_path / "log", world.rows(10, begins=T0 + 20 * DAY))
    world.join(tmp_path / "log", store, asked, now=T0 + 2 * DAY)
    assert report(store).known == 700


def test_of_a_day_that_the_log_has_in_part_nothing_that_was_known_is_lost(tmp_path: Path) -> None:
    """A log that holds less than a day, which ten million answers fill."""
    answered = world.rows(480, days=1)
    early, late = answered.slice(0, 250), answered.slice(250)
    store = world.store(tmp_path / "windows")
    world.write(tmp_path / "log", early)
    store.ingest(world.log_of(tmp_path / "log"))
    world.join(tmp_path / "log", store, answered, now=T0 + DAY / 2)
    before = store.outcome_cells(T0, T0 + DAY)
    for file in world.log_of(tmp_path / "log").glob("*.parquet"):
        file.unlink()
    world.write(tmp_path / "log", late)
    store.ingest(world.log_of(tmp_path / "log"))
    for now in (T0 + DAY, T0 + 30 * DAY):
        world.join(tmp_path / "log", store, answered, now=now)
        found = store.outcome_cells(T0, T0 + DAY)
        whole = found.filter(pl.col("slice") == "")
        # The hour in which the log was cut has what was known of more of it.
        assert sum(world.counts(whole, sketches.OUTCOMES)) == 480 - 10
        shared = before.filter(pl.col("hour") < T0 + timedelta(hours=12)).sort("hour", "slice", "value")
        again = found.filter(pl.col("hour") < T0 + timedelta(hours=12)).sort("hour", "slice", "value")
        assert again.equals(shared)
    assert store.is_settled(T0.date())


def test_an_index_of_equal_shares_is_nothing_and_one_row_in_a_new_bin_is_no_infinity() -> None:
    reference = np.array([0, 100, 100, 100, 0])
    assert measuring.population_stability(reference, reference * 3) == 0
    assert 0 < measuring.population_stability(reference, np.array([0, 0, 0, 0, 300])) < 20
    assert measuring.auc_of_bins(np.array([5, 0]), np.array([0, 5])) == 1.0
    assert measuring.auc_of_bins(np.array([5, 0]), np.array([0, 0])) is None
