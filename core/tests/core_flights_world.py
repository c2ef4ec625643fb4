"""The real flights, read once per test process, and small cuts of them."""

from __future__ import annotations

import functools
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
