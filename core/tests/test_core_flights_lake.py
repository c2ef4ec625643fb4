"""The lake is the source again, complete or absent; its checks pass on the real data and fail on what must not pass."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from core_flights_world import days, tables, write_csv, write_lake

from mainspring.core import errors, projects
from mainspring.core.quality import quarantine
from mainspring.core.reference.flight_delay import checks, lake, project, source

PROJECT = project.FlightDelay()


@pytest.fixture(scope="module")
def small(flights_root: Path) -> project.FlightDelay:
    """The project over ten days of the real files."""
    return project.FlightDelay(flights_root / "csv")


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, projects.IngestReport]:
    """The whole year's lake."""
    folder = tmp_path_factory.mktemp("full") / "lake"
    return folder, PROJECT.ingest(folder)


def test_the_lake_holds_what_the_source_has(full: tuple[Path, projects.IngestReport]) -> None:
    folder, report = full
    opened = lake.read(lake.open_lake(folder))
    for name in source.TABLES:
        assert getattr(opened, name).equals(getattr(tables(), name)), name
    assert report.rows == sum(getattr(tables(), n).height for n in source.TABLES)
    assert len(list((folder / "flights").glob("month=*"))) == 13  # the last local evening is January in UTC
    assert projects.IngestReport.model_validate_json(report.model_dump_json()) == report
    again = PROJECT.ingest(folder)
    assert again.reused and again.digest == report.digest and again.tables == report.tables


def test_the_same_source_gives_the_same_digest_elsewhere_and_another_fraction_another(
    tmp_path: Path, small: project.FlightDelay
) -> None:
    a, b = (small.ingest(tmp_path / name, sample_fraction=0.1) for name in "ab")
    assert a.digest == b.digest and not b.reused
    other = small.ingest(tmp_path / "a", sample_fraction=0.2)
    assert other.digest != a.digest and not other.reused and other.sample_fraction == 0.2
    flights = {name: lake.read(lake.open_lake(tmp_path / name)).flights for name in "ab"}
    assert 1.8 < flights["a"].height / flights["b"].height < 2.2


def test_a_copy_of_the_files_is_the_same_lake_and_a_changed_file_another(tmp_path: Path) -> None:
    (tmp_path / "csv").mkdir()
    csv = write_csv(tmp_path / "csv", days=((11, 1),))
    first = project.FlightDelay(csv).ingest(tmp_path / "lake")
    copy = shutil.copytree(csv, tmp_path / "elsewhere")
    assert project.FlightDelay(copy).ingest(tmp_path / "other").digest == first.digest
    assert str(tmp_path) not in first.model_dump_json()
    planes = (copy / "planes.csv").read_bytes().splitlines(keepends=True)
    (copy / "planes.csv").write_bytes(b"".join(planes[:-1]))
    second = project.FlightDelay(copy).ingest(tmp_path / "lake")
    assert not second.reused and second.digest != first.digest
    assert [t.name for t, u in zip(first.tables, second.tables, strict=True) if t != u] == ["planes"]


def test_a_refused_source_leaves_the_lake_that_was_there(tmp_path: Path, small: project.FlightDelay) -> None:
    small.ingest(tmp_path / "lake", sample_fraction=0.1)
    with pytest.raises(errors.InvalidRequest):
        small.ingest(tmp_path / "lake", sample_fraction=7)
    with pytest.raises(errors.MissingTool):
        project.FlightDelay(tmp_path / "nothing").ingest(tmp_path / "lake", sample_fraction=0.1)
    assert [p.name for p in tmp_path.iterdir()] == ["lake"]
    assert small.ingest(tmp_path / "lake", sample_fraction=0.1).reused


def test_a_folder_of_somebody_else_is_not_a_place_for_a_lake(
    tmp_path: Path, small: project.FlightDelay
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("precious")
    with pytest.raises(errors.Conflict):
        small.ingest(tmp_path / "home")
    assert [p.name for p in (tmp_path / "home").iterdir()] == ["thesis.txt"]


def test_the_real_data_passes_and_tells_its_known_gaps(full: tuple[Path, projects.IngestReport]) -> None:
    report = PROJECT.validate(full[0])
    assert not report.failed and not report.warnings and len(report.checks) > 30
    seen = {c.name: c.observed for c in report.checks}
    assert seen["flights: there are rows"] == "336776"
    assert "(52606 of 336776 rows" in seen["flights: tailnum is in planes"]
    assert "(1573 of 336776 rows" in seen["flights: (origin, time_hour) is in weather"]
    assert float(seen["flights: arrived late"].split()[0]) == pytest.approx(0.23715, abs=1e-6)
    assert seen["weather: longest gap of an airport, hours"] == "6"
    assert projects.ValidationReport.model_validate_json(report.model_dump_json()) == report


def test_a_truncated_file_is_found_before_anything_reads_it(
    tmp_path: Path, small: project.FlightDelay
) -> None:
    small.ingest(tmp_path / "lake", sample_fraction=0.1)
    path = next((tmp_path / "lake" / "flights").rglob("*.parquet"))
    path.write_bytes(path.read_bytes()[:-100])
    for use in (
        lambda: small.validate(tmp_path / "lake"),
        lambda: small.build_features(tmp_path / "lake", tmp_path / "features"),
        lambda: small.leak_check(tmp_path / "lake"),
    ):
        with pytest.raises(errors.CorruptArtifact) as caught:
            use()
        assert caught.value.artifact == str(path)
    assert not (tmp_path / "features").exists()
    assert not small.ingest(tmp_path / "lake", sample_fraction=0.1).reused  # mended
    small.validate(tmp_path / "lake")


def test_a_step_before_its_input_says_what_to_run(tmp_path: Path) -> None:
    for use in (
        lambda: PROJECT.validate(tmp_path / "lake"),
        lambda: PROJECT.build_features(tmp_path / "lake", tmp_path / "features"),
        lambda: PROJECT.training_set(tmp_path / "features", tmp_path / "out"),
        lambda: PROJECT.replay(tmp_path / "features", n=3),
    ):
        with pytest.raises(errors.NotFound, match="run the step that makes it"):
            use()
    assert not list(tmp_path.iterdir())


def _flights(change: Callable[[pl.DataFrame], pl.DataFrame]) -> Callable[[], source.Tables]:
    def make() -> source.Tables:
        small = days(4, 6)
        return replace(small, flights=change(small.flights))

    return make


def _first(name: str, value: pl.Expr) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return lambda f: f.with_columns(
        pl.when(pl.int_range(pl.len()) == 0).then(value).otherwise(pl.col(name)).alias(name)
    )


@pytest.mark.parametrize(
    ("make", "failed"),
    [
        (_flights(lambda f: pl.concat([f, f.head(1)])), "flights: (time_hour, carrier, flight) is unique"),
        (_flights(lambda f: f.clear()), "flights: there are rows"),
        (
            _flights(_first("scheduled_arrival", pl.col("scheduled_departure") - timedelta(hours=1))),
            "flights: times run forward, 20 to 900 minutes from departure to arrival",
        ),
        (_flights(_first("origin", pl.lit("BOS"))), "flights: origin is EWR, JFK or LGA"),
        (_flights(_first("carrier", pl.lit("ZZ"))), "flights: carrier is in airlines"),
        (_flights(_first("dest", pl.lit(None, pl.String))), "flights: (carrier, flight, origin, dest, time_hour, scheduled_departure, scheduled_arrival, distance) not null"),
        (_flights(_first("arr_delay", pl.lit(99_999, pl.Int32))), "flights: arr_delay within [-180, 2880]"),
        (_flights(_first("dep_delay", pl.lit(None, pl.Int32))), "flights: what arrived had departed"),
        (_flights(_first("time_hour", pl.col("time_hour") + timedelta(hours=5))), "flights: departure lies in its time_hour"),
        (_flights(lambda f: f.drop("tailnum")), "flights: columns and types"),
        (_flights(lambda f: f.with_columns(pl.col("distance").cast(pl.Float64))), "flights: columns and types"),
        (lambda: replace(days(4, 6), weather=pl.concat([tables().weather, tables().weather.head(1)])), "weather: (origin, time_hour) is unique"),
        (lambda: replace(days(4, 6), planes=tables().planes.with_columns(pl.col("year") + 1000)), "planes: year within [1900, 2013]"),
    ],
)  # fmt: skip
def test_a_batch_that_is_wrong_is_refused_by_the_check_that_sees_it(
    tmp_path: Path, make: Callable[[], source.Tables], failed: str
) -> None:
    with pytest.raises(errors.DataInvalid) as caught:
        checks.run(write_lake(tmp_path / "lake", make()))
    assert failed in caught.value.failed
    assert f"`{caught.value.failed[0]}`" in caught.value.message


def test_a_warning_does_not_stop_the_run(tmp_path: Path) -> None:
    few_planes = replace(days(4, 6), planes=tables().planes.head(10))
    report = checks.run(write_lake(tmp_path / "lake", few_planes))
    assert [c.name for c in report.warnings] == ["flights: tailnum is in planes"]


def test_a_bad_source_is_held_beside_the_lake_that_goes_on_serving(tmp_path: Path) -> None:
    (tmp_path / "csv").mkdir()
    csv = write_csv(tmp_path / "csv", days=((11, 1),))
    mine = project.FlightDelay(csv)
    first = mine.ingest(tmp_path / "lake")
    good = (csv / "planes.csv").read_bytes()
    (csv / "planes.csv").write_bytes(good + good.splitlines(keepends=True)[1])
    with pytest.raises(errors.DataInvalid) as caught:
        mine.ingest(tmp_path / "lake")
    assert caught.value.failed == ("planes: tailnum is unique",)
    assert lake.open_lake(tmp_path / "lake").digest == first.digest
    held = quarantine.Quarantine.beside(tmp_path / "lake").read(caught.value.quarantined)
    assert held.instead_of == first.digest and held.detail["rows"]["planes"] == first.tables[2].rows + 1
    (csv / "planes.csv").write_bytes(good)
    again = mine.ingest(tmp_path / "lake")
    assert again.reused and again.digest == first.digest
