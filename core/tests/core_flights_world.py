"""The real flights, read once per test process, and small cuts of them: of the tables, and of the files themselves."""

from __future__ import annotations

import functools
import io
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from mainspring.core.features import folders, schema
from mainspring.core.reference.flight_delay import dataset, lake, source, views


@functools.cache
def tables() -> source.Tables:
    return source.read(source.find()[0])


def days(first: int, last: int, *, month: int = 2) -> source.Tables:
    """Flights that depart in the UTC days `first` to `last` of a month of 2013; other tables whole."""
    start = datetime(2013, month, first, tzinfo=UTC)
    end = datetime(2013, month, last, tzinfo=UTC) + timedelta(days=1)
    inside = pl.col("scheduled_departure").is_between(start, end, closed="left")
    return replace(tables(), flights=tables().flights.filter(inside))


@functools.cache
def service() -> schema.FeatureService:
    from mainspring.core.features import feast_adapter
    from mainspring.core.reference.flight_delay import definitions

    return feast_adapter.describe(definitions.build()).service


def build(some: source.Tables) -> pl.DataFrame:
    """The project's own features for every flight of `some`."""
    return dataset.assemble(dataset.requests(some.flights), service(), views.compute(some))


def write_lake(path: Path, some: source.Tables) -> folders.Folder:
    """A lake with other contents than the source has: for checks that must fail."""

    def fill(new: Path) -> Mapping[str, Any]:
        return {"rows": {n: lake._write_table(new / n, n, getattr(some, n)) for n in source.TABLES}}

    return folders.publish(path, kind=lake.KIND, inputs={"made by": "a test"}, write=fill)


#: Local days of three seasons and both sides of the change of clocks: a history and flights of every split.
CUT = (*((3, d) for d in (8, 9, 10, 11)), *((9, d) for d in (1, 2)), *((11, d) for d in (1, 2, 3, 4)))


def write_csv(folder: Path, days: tuple[tuple[int, int], ...] = CUT) -> Path:
    """The package's files with the flights of some (month, day) only, byte for byte what those lines are there."""
    real, _ = source.find()
    for file in ("weather.csv", "planes.csv", "airports.csv", "airlines.csv"):
        shutil.copy(real / file, folder / file)
    lines = io.BytesIO()
    with zipfile.ZipFile(real / "flights.csv.zip") as archive:
        whole = pl.read_csv(archive.read("flights.csv"), infer_schema=False)
    wanted = pl.struct("month", "day").is_in([{"month": str(m), "day": str(d)} for m, d in days])
    whole.filter(wanted).write_csv(lines)
    write_flights(folder, lines.getvalue())
    return folder


def write_flights(folder: Path, data: bytes) -> None:
    with zipfile.ZipFile(folder / "flights.csv.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("flights.csv", data)
