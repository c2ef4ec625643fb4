"""Training rows: who is asked, when, with which label, in which split, and joined to what was known then."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from core_flights_world import days, service, tables, write_csv

from mainspring.core import errors, projects
from mainspring.core.features import frames
from mainspring.core.reference.flight_delay import dataset, project, request_time, views


def asked_whole() -> pl.DataFrame:
    return dataset.requests(tables().flights)


def test_every_flight_is_asked_about_two_hours_ahead_and_once() -> None:
    asked = asked_whole()
    assert asked.height == 336_776 == asked.n_unique(dataset.IDENTITY)
    ahead = asked["scheduled_departure_us"] - asked["as_of"].dt.timestamp("us")
    assert ahead.unique().to_list() == [7_200_000_000]


def test_the_label_is_more_than_fifteen_minutes_and_absent_where_nothing_arrived() -> None:
    asked = asked_whole()
    delay = tables().flights["arr_delay"]
    assert asked["late"].null_count() == 9_430 == delay.null_count()
    assert asked.filter(delay == 15)["late"].unique().to_list() == [0]
    assert asked.filter(delay == 16)["late"].unique().to_list() == [1]
    assert asked["late"].mean() == pytest.approx(0.23715, abs=1e-5)


def test_splits_are_months_on_new_yorks_clock() -> None:
    asked = asked_whole()
    counts = dict(asked.drop_nulls("late").group_by("split").len().iter_rows())
    assert counts == {"train": 217_727, "valid": 27_010, "test": 82_609}
    local = pl.from_epoch("scheduled_departure_us", time_unit="us").dt.replace_time_zone("UTC").dt.convert_time_zone("America/New_York")  # fmt: skip
    by_split = asked.group_by("split").agg(first=local.dt.month().min(), last=local.dt.month().max())
    assert {s: (a, b) for s, a, b in by_split.iter_rows()} == {
        "train": (1, 8),
        "valid": (9, 9),
        "test": (10, 12),
    }
    evening = asked.filter(local.dt.date() == datetime(2013, 8, 31).date()).filter(local.dt.hour() >= 20)
    assert evening.height > 10 and set(evening["split"]) == {"train"}  # September in UTC


def test_a_bank_counts_the_schedule_of_its_hour_cancelled_flights_too() -> None:
    flights = days(8, 9).flights  # a storm: a third of these were called off
    asked = dataset.requests(flights)
    hour = (pl.col("origin"), pl.col("scheduled_departure").dt.truncate("1h"))
    counted = flights.with_columns(bank_departures=pl.len().over(hour).cast(pl.Float32))["bank_departures"]
    assert asked["bank_departures"].equals(counted) and flights["dep_delay"].null_count() > 500
    none_cancelled = dataset.requests(flights.drop_nulls("dep_delay"))
    assert none_cancelled["bank_departures"].sum() < asked["bank_departures"].sum()


def test_assembling_keeps_rows_and_order_and_adds_every_declared_column() -> None:
    asked = dataset.requests(days(7, 8).flights).sample(fraction=1.0, shuffle=True, seed=3)
    twice = pl.concat([asked, asked.head(5)])
    rows = dataset.assemble(twice, service(), views.compute(days(4, 8)))
    assert rows.select(twice.columns).equals(twice)
    assert rows.columns == [
        *twice.columns,
        *(c.name for c in service().columns),
        *(c.name for c in request_time.DERIVED),
    ]
    assert not any(
        rows[c.name].is_nan().any() for c in request_time.DERIVED if c.dtype == "float32"
    )  # nulls instead
    assert rows.tail(5).equals(rows.head(5))


def test_each_joined_row_is_the_newest_known_and_alive_by_plain_python() -> None:
    history = views.compute(days(4, 9))
    asked = dataset.requests(days(8, 9).flights).sample(n=60, seed=5)
    joined = dataset.assemble(asked, service(), history)
    found = expired = 0
    for view in service().views:
        keys = [k.name for k in view.keys]
        by_key: dict[tuple[object, ...], list[dict[str, object]]] = {}
        for row in history[view.name].iter_rows(named=True):
            by_key.setdefault(tuple(row[k] for k in keys), []).append(row)
        ttl = None if view.ttl_seconds is None else timedelta(seconds=view.ttl_seconds)
        for row in joined.iter_rows(named=True):
            past = [
                r for r in by_key.get(tuple(row[k] for k in keys), []) if r["event_timestamp"] <= row["as_of"]
            ]
            newest = max(past, key=lambda r: r["event_timestamp"], default=None)
            if newest is not None and ttl is not None and row["as_of"] - newest["event_timestamp"] > ttl:
                newest, expired = None, expired + 1
            found += newest is not None
            for field in view.fields:
                assert row[f"{view.name}__{field.name}"] == (None if newest is None else newest[field.name])
    assert found > 500 and expired > 5


@pytest.fixture
def made(flights_root: Path) -> tuple[project.FlightDelay, Path]:
    """The project over ten days of real flights, and its folders."""
    return project.FlightDelay(flights_root / "csv"), flights_root


def test_features_are_one_file_a_view_and_reused(made: tuple[project.FlightDelay, Path]) -> None:
    mine, root = made
    again = mine.build_features(root / "lake", root / "features")
    assert again.reused and again.service == service()
    assert {v.view.name for v in again.views} == {
        v.name for v in service().views
    } and again.registry.is_file()
    for view in again.views:
        assert pl.read_parquet(view.path).height == view.rows > 0
    assert projects.FeatureReport.model_validate_json(again.model_dump_json()) == again


def test_a_training_set_holds_labelled_rows_of_every_split(
    tmp_path: Path, made: tuple[project.FlightDelay, Path]
) -> None:
    mine, root = made
    report = mine.training_set(root / "features", tmp_path / "training")
    rows = pl.read_parquet(report.path)
    assert rows["late"].null_count() == 0 and set(report.rows) == {"train", "valid", "test"}
    for split, n in report.rows.items():
        late = rows.filter(pl.col("split") == split)["late"]
        assert len(late) == n > 1000 and report.base_rate[split] == pytest.approx(late.mean())
    assert {c.name: rows.schema[c.name] for c in report.columns} == {
        c.name: frames.POLARS_TYPES[c.dtype] for c in report.columns
    }
    ny = ZoneInfo("America/New_York")
    assert {t.astimezone(ny).month for t in rows["as_of"].to_list()} == {3, 9, 11}
    again = mine.training_set(root / "features", tmp_path / "training")
    assert again.digest == mine.training_set(root / "features", root / "training").digest
    assert again.reused and again.model_copy(update={"reused": False}) == report
    assert projects.TrainingSetReport.model_validate_json(report.model_dump_json()) == report


def test_the_plan_fits_on_it_and_gives_finite_numbers(made: tuple[project.FlightDelay, Path]) -> None:
    mine, root = made
    rows = pl.read_parquet(mine.training_set(root / "features", root / "training").path)
    fitted = mine.declare_plan().fit(rows.filter(pl.col("split") == "train"))
    given = fitted.compile().run(frames.to_numpy(rows, fitted.inputs))
    assert given.dense.shape[0] == rows.height and np.isfinite(given.dense).all()
    spread = given.dense[(rows["split"] == "train").to_numpy()].std(axis=0)
    assert (spread > 0).mean() > 0.9  # hardly a column is constant, even on ten days
    assert {e.column for e in mine.model_spec().embeddings} == set(fitted.compile().id_names)


def test_the_same_lake_gives_the_same_features_elsewhere_and_what_is_wrong_stops_the_join(
    tmp_path: Path, made: tuple[project.FlightDelay, Path]
) -> None:
    mine, root = made
    first = mine.build_features(root / "lake", tmp_path / "features")
    assert not first.reused and first.digest == mine.build_features(root / "lake", root / "features").digest
    path = first.views[0].path
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(errors.CorruptArtifact) as caught:
        mine.training_set(tmp_path / "features", tmp_path / "training")
    assert caught.value.artifact == str(path) and not (tmp_path / "training").exists()
    # Mended, of another lake, whose two days have no flight in the months of the other splits.
    (tmp_path / "csv").mkdir()
    other = project.FlightDelay(write_csv(tmp_path / "csv", days=((2, 8), (2, 9))))
    other.ingest(tmp_path / "lake")
    second = other.build_features(tmp_path / "lake", tmp_path / "features")
    assert not second.reused and second.digest != first.digest and second.lake_digest != first.lake_digest
    with pytest.raises(errors.DataInvalid, match="not both outcomes") as invalid:
        other.training_set(tmp_path / "features", tmp_path / "training")
    assert invalid.value.failed == ("valid",) and not (tmp_path / "training").exists()
