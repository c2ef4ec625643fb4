"""The source is read whole, its clocks become UTC, and what is not the source is refused by name."""

from __future__ import annotations

import shutil
import zipfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from core_flights_world import tables, write_csv, write_flights

from mainspring.core import errors
from mainspring.core.reference.flight_delay import source


def flight(carrier: str, number: int, day: datetime) -> dict[str, object]:
    found = tables().flights.filter(
        (pl.col("carrier") == carrier)
        & (pl.col("flight") == number)
        & (pl.col("time_hour").dt.date() == day.date())
    )
    return found.row(0, named=True)


def test_every_row_is_there() -> None:
    t = tables()
    assert [t.flights.height, t.weather.height, t.planes.height, t.airports.height, t.airlines.height] == [
        336_776, 26_115, 3_322, 1_458, 16
    ]  # fmt: skip
    assert t.flights.n_unique(["time_hour", "carrier", "flight"]) == 336_776
    assert t.flights["arr_delay"].null_count() == 9_430 and t.flights["tailnum"].null_count() == 2_512


def test_departure_is_the_utc_hour_plus_the_minute_on_both_sides_of_daylight_saving() -> None:
    assert flight("UA", 1545, datetime(2013, 1, 1))["scheduled_departure"] == datetime(
        2013, 1, 1, 10, 15, tzinfo=UTC
    )
    hour, day = pl.col("scheduled_departure").dt.hour(), pl.col("scheduled_departure").dt.date()
    by_day = (
        tables()
        .flights.select(day=day, hour=hour)
        .filter(pl.col("hour") > 6)
        .group_by("day")
        .agg(pl.min("hour"))
    )
    first = {day.isoformat(): hour for day, hour in by_day.iter_rows()}
    # The first flights leave at five in the morning on New York's clock, in winter and in summer.
    assert [first[f"2013-{d}"] for d in ("03-09", "03-11", "11-02", "11-04")] == [10, 9, 9, 10]


def test_arrival_is_the_destinations_clock() -> None:
    honolulu = flight("UA", 15, datetime(2013, 1, 1))  # 13:00 in New York, 18:30 in Honolulu by the schedule
    zones = {"IAH": "America/Chicago", "BQN": "America/Puerto_Rico", "HNL": "Pacific/Honolulu"}
    local = tables().flights.filter(pl.col("dest").is_in(list(zones)))
    assert honolulu["dest"] == "HNL" and local.height > 7000
    block = (pl.col("scheduled_arrival") - pl.col("scheduled_departure")).dt.total_minutes()
    by_dest = dict(local.group_by("dest").agg(block.median()).iter_rows())
    assert 220 < by_dest["IAH"] < 260 and 210 < by_dest["BQN"] < 250 and 620 < by_dest["HNL"] < 690


def test_the_arrival_clock_that_was_read_agrees_with_schedule_and_delay() -> None:
    """An independent witness: `arr_time` was not used, and must be the scheduled arrival plus the delay, local."""
    zones = tables().airports.select(dest="faa", zone="tzone")
    arrived = tables().flights.drop_nulls(["arr_delay", "arr_time"]).join(zones, on="dest", how="left")
    puerto_rico = pl.col("zone").fill_null("America/Puerto_Rico")
    agree = total = 0
    for (zone,), group in arrived.with_columns(puerto_rico).partition_by("zone", as_dict=True).items():
        local = (pl.col("scheduled_arrival") + pl.duration(minutes="arr_delay")).dt.convert_time_zone(
            str(zone)
        )
        clock = local.dt.hour().cast(pl.Int32) * 100 + local.dt.minute()
        agree += group.select((clock == pl.col("arr_time") % 2400).sum()).item()
        total += group.height
    # The rest landed across a change of clocks or carry a delay that the source counted otherwise.
    assert total > 327_000 and agree / total > 0.999


@pytest.mark.parametrize(
    ("day", "clock", "arrival"),
    [
        (
            (11, 2),
            "0130",
            datetime(2013, 11, 3, 5, 30, tzinfo=UTC),
        ),  # occurs twice: the first, in summer time
        ((3, 9), "0230", datetime(2013, 3, 10, 7, 30, tzinfo=UTC)),  # does not occur: half past three
        ((3, 9), "0130", datetime(2013, 3, 10, 6, 30, tzinfo=UTC)),
        ((11, 2), "0230", datetime(2013, 11, 3, 7, 30, tzinfo=UTC)),
    ],
)
def test_an_arrival_in_the_hour_of_the_change(
    tmp_path: Path, day: tuple[int, int], clock: str, arrival: datetime
) -> None:
    """No real flight is due then, so one evening flight to Boston is put there."""
    write_csv(tmp_path, days=(day,))
    header, *lines = flights_csv(tmp_path).decode().splitlines()
    at = {name: i for i, name in enumerate(header.split(","))}
    rows = (line.split(",") for line in lines)
    one = next(r for r in rows if r[at["dest"]] == "BOS" and int(r[at["sched_dep_time"]]) > 2000)
    one[at["sched_arr_time"]] = clock
    write_flights(tmp_path, f"{header}\n{','.join(one)}\n".encode())
    assert source.read(tmp_path).flights["scheduled_arrival"].to_list() == [arrival]


def test_blocks_are_plausible_and_nobody_flew_longer_than_it_took() -> None:
    block = (pl.col("scheduled_arrival") - pl.col("scheduled_departure")).dt.total_minutes()
    elapsed = block + pl.col("arr_delay") - pl.col("dep_delay")
    found = tables().flights.select(
        low=block.min(), high=block.max(), odd=(elapsed < pl.col("air_time")).sum()
    )
    assert found.row(0) == (50, 700, 0)


def test_a_sample_is_the_same_everywhere_and_nested() -> None:
    one, ten = (source.sample(tables(), fraction).flights for fraction in (0.01, 0.1))
    assert (one.height, ten.height) == (3285, 33555)  # fixed by splitmix64, not by this library's release
    assert one.join(ten, on=["time_hour", "carrier", "flight"], how="anti").is_empty()
    assert source.sample(tables(), 1.0) is tables()
    assert abs(one["arr_delay"].gt(15).mean() - 0.237) < 0.03  # type: ignore[operator]


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.5, float("nan")])
def test_a_fraction_that_is_none_is_refused(fraction: float) -> None:
    with pytest.raises(errors.InvalidRequest, match="sample_fraction"):
        source.sample(tables(), fraction)


def test_a_sample_without_flights_is_refused() -> None:
    few = replace(tables(), flights=tables().flights.head(3))
    with pytest.raises(errors.DataInvalid, match="leaves no flight"):
        source.sample(few, 1e-9)


def test_an_absent_package_says_how_to_get_it() -> None:
    with pytest.raises(errors.MissingTool) as caught:
        source.find("nycflights14")
    assert (
        caught.value.fix == "pip install --no-deps nycflights14==0.0.3"
        and caught.value.fix in caught.value.message
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small honest source, to be damaged."""
    real, _ = source.find()
    for file in ("weather.csv", "planes.csv", "airports.csv", "airlines.csv"):
        shutil.copy(real / file, tmp_path / file)
    with zipfile.ZipFile(real / "flights.csv.zip") as archive, archive.open("flights.csv") as whole:
        lines = [whole.readline() for _ in range(200)]
    write_flights(tmp_path, b"".join(lines))
    return tmp_path


def flights_csv(folder: Path) -> bytes:
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive:
        return archive.read("flights.csv")


def test_the_small_source_reads(folder: Path) -> None:
    assert source.read(folder).flights.height == 199


def test_an_absent_file_is_a_missing_tool(folder: Path) -> None:
    (folder / "weather.csv").unlink()
    with pytest.raises(errors.MissingTool, match=r"weather\.csv"):
        source.read(folder)


def test_a_truncated_archive_is_corrupt(folder: Path) -> None:
    path = folder / "flights.csv.zip"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(errors.CorruptArtifact, match=r"flights\.csv\.zip"):
        source.read(folder)


@pytest.mark.parametrize(
    ("old", "new", "feature"),
    [
        (b"arr_delay", b"arrival_delay", "arr_delay"),
        (b"carrier,", b"", "carrier"),
        (b"year,", b"year,yaer,", "yaer"),
    ],
)
def test_other_columns_are_refused_by_name(folder: Path, old: bytes, new: bytes, feature: str) -> None:
    write_flights(folder, flights_csv(folder).replace(old, new, 1))
    with pytest.raises(errors.SchemaMismatch) as caught:
        source.read(folder)
    assert caught.value.feature in (feature, new.decode().strip(","))


@pytest.mark.parametrize(
    ("old", "new"), [(b",UA,1545,", b",UA,fifteen,"), (b"2013-01-01T10:00:00Z", b"soon")]
)
def test_a_value_of_another_type_is_refused(folder: Path, old: bytes, new: bytes) -> None:
    write_flights(folder, flights_csv(folder).replace(old, new, 1))
    with pytest.raises(errors.SchemaMismatch):
        source.read(folder)


def test_a_destination_without_a_clock_is_refused(folder: Path) -> None:
    write_flights(folder, flights_csv(folder).replace(b",IAH,", b",QQQ,"))
    with pytest.raises(errors.DataInvalid) as caught:
        source.read(folder)
    assert caught.value.failed == ("QQQ",)
