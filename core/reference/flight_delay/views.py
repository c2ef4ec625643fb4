"""How the rows of each feature view are computed from the source's tables. Their names, keys and TTLs: definitions.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

import polars as pl

from mainspring.core.features.windows import CREATED, EVENT, Aggregate, trailing
from mainspring.core.reference.flight_delay import events, source

__all__ = ["AGGREGATES", "PLANE_FIELDS", "TRAILING", "WEATHER_FIELDS", "Trailing", "compute", "sources"]

Stream = Literal["departures", "arrivals"]

AGGREGATES: Final[Mapping[Stream, tuple[Aggregate, ...]]] = {
    "departures": (
        Aggregate("mean_dep_delay", "mean", "dep_delay"),
        Aggregate("late_share", "mean", "dep_late"),
        Aggregate("cancel_share", "mean", "cancelled"),
        Aggregate("flights", "rows"),
    ),
    "arrivals": (
        Aggregate("mean_arr_delay", "mean", "arr_delay"),
        Aggregate("late_share", "mean", "arr_late"),
        Aggregate("flights", "rows"),
    ),
}


@dataclass(frozen=True)
class Trailing:
    """A view of trailing aggregates. Its TTL is its window: with no fact for that long, there is nothing to tell."""

    name: str
    stream: Stream
    keys: tuple[str, ...]
    window: timedelta


TRAILING: Final = (
    Trailing("origin_dep_1h", "departures", ("origin",), timedelta(hours=1)),
    Trailing("origin_dep_3h", "departures", ("origin",), timedelta(hours=3)),
    Trailing("origin_dep_24h", "departures", ("origin",), timedelta(hours=24)),
    Trailing("carrier_origin_dep_3h", "departures", ("carrier", "origin"), timedelta(hours=3)),
    Trailing("carrier_origin_dep_24h", "departures", ("carrier", "origin"), timedelta(hours=24)),
    Trailing("carrier_origin_arr_7d", "arrivals", ("carrier", "origin"), timedelta(days=7)),
    Trailing("carrier_arr_24h", "arrivals", ("carrier",), timedelta(hours=24)),
    Trailing("dest_arr_6h", "arrivals", ("dest",), timedelta(hours=6)),
    Trailing("dest_arr_24h", "arrivals", ("dest",), timedelta(hours=24)),
    Trailing("dest_arr_28d", "arrivals", ("dest",), timedelta(days=28)),
    Trailing("route_arr_28d", "arrivals", ("origin", "dest"), timedelta(days=28)),
    Trailing("flight_number_arr_28d", "arrivals", ("carrier", "flight"), timedelta(days=28)),
)

WEATHER_FIELDS: Final = (
    "temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib",
)  # fmt: skip
PLANE_FIELDS: Final = ("year", "seats", "engines")

#: The register of aircraft is one undated list. It is taken as known before the first flight.
_REGISTER_KNOWN: Final = datetime(2012, 12, 31, tzinfo=UTC)

#: An hour's observation is taken as known when its hour is over: the source rounds the minute of observation away.
_WEATHER_DELAY: Final = timedelta(hours=1)


def compute(tables: source.Tables) -> dict[str, pl.DataFrame]:
    """Rows of every view: keys, `event_timestamp`, `created_timestamp`, fields; sorted by event time.

    Event time is when the row became known, and it is created then: this source has no late arrivals.
    """
    streams: dict[Stream, pl.DataFrame] = {
        "departures": events.departures(tables.flights),
        "arrivals": events.arrivals(tables.flights),
    }
    rows = {
        view.name: trailing(
            streams[view.stream],
            keys=view.keys,
            known_at=events.KNOWN_AT,
            window=view.window,
            aggregates=AGGREGATES[view.stream],
        )
        for view in TRAILING
    }
    others: Mapping[str, Callable[[], pl.DataFrame]] = {
        "tail_last": lambda: _tail_last(streams["arrivals"]),
        "weather_origin": lambda: _weather(tables.weather),
        "plane_static": lambda: _planes(tables.planes),
    }
    return rows | {name: make() for name, make in others.items()}


#: What an event is made of beside its keys: the columns of `flights` that say when it was known, and its values.
_EVENT_SOURCES: Final[Mapping[Stream, tuple[str, ...]]] = {
    "departures": ("scheduled_departure", "dep_delay"),
    "arrivals": ("scheduled_arrival", "arr_delay"),
}


def sources() -> dict[str, tuple[str, ...]]:
    """By `view.field`: the lake's columns, `table.column` each, that move it. A test moves them one by one."""
    found: dict[str, tuple[str, ...]] = {}
    for view in TRAILING:
        columns = _of("flights", *view.keys, *_EVENT_SOURCES[view.stream])
        found |= {f"{view.name}.{a.name}": columns for a in AGGREGATES[view.stream]}
    arrival = _of("flights", "tailnum", *_EVENT_SOURCES["arrivals"])
    found |= {f"tail_last.{name}": arrival for name in ("arr_delay", "arr_known_us")}
    found |= {f"weather_origin.{f}": _of("weather", "origin", "time_hour", f) for f in WEATHER_FIELDS}
    return found | {f"plane_static.{f}": _of("planes", "tailnum", f) for f in PLANE_FIELDS}


def _of(table: str, *columns: str) -> tuple[str, ...]:
    return tuple(f"{table}.{column}" for column in columns)


def _tail_last(arrivals: pl.DataFrame) -> pl.DataFrame:
    # The instant is a field too: a request's "hours since" is computed from what was stored, online and offline.
    # float64 holds microseconds of this century exactly.
    return (
        arrivals.drop_nulls("tailnum")
        # Of two arrivals of one tail number in one minute (the source has such rows) the later delay counts.
        .group_by("tailnum", events.KNOWN_AT)
        .agg(pl.col("arr_delay").max().cast(pl.Float32))
        .select(
            "tailnum",
            pl.col(events.KNOWN_AT).alias(EVENT),
            pl.col(events.KNOWN_AT).alias(CREATED),
            "arr_delay",
            arr_known_us=pl.col(events.KNOWN_AT).dt.timestamp("us").cast(pl.Float64),
        )
        .sort(EVENT, "tailnum")
    )


def _weather(weather: pl.DataFrame) -> pl.DataFrame:
    known = pl.col("time_hour") + _WEATHER_DELAY
    return weather.select("origin", known.alias(EVENT), known.alias(CREATED), *WEATHER_FIELDS).sort(
        EVENT, "origin"
    )


def _planes(planes: pl.DataFrame) -> pl.DataFrame:
    known = pl.lit(_REGISTER_KNOWN, pl.Datetime("us", "UTC"))
    return planes.select("tailnum", known.alias(EVENT), known.alias(CREATED), *PLANE_FIELDS).sort("tailnum")
