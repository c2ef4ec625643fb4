"""Flights as streams: one event when a flight leaves, one when it arrives, and the trailing views kept of them.

The same aggregates, windows and names as the batch's (`views.py`). Flights are told in whole minutes, so that a hop of one minute
moves no fact: what a stream says at an event is what the batch says of that instant.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import polars as pl

from mainspring.core.features.streams.definition import Field, StreamDefinition, WindowedView
from mainspring.core.reference.flight_delay import events, views

__all__ = ["ARRIVALS", "DEPARTURES", "STREAMS", "arrivals", "departures", "encoded"]

_ID: Final = "event_id"
_AT: Final = "known_us"
_WHO: Final = (
    Field("carrier", "string"),
    Field("flight", "int64"),
    Field("tailnum", "string"),
    Field("origin", "string"),
    Field("dest", "string"),
)


def _stream(name: views.Stream, facts: tuple[Field, ...]) -> StreamDefinition:
    return StreamDefinition(
        name=name,
        topic=f"flight-delay.{name}.v1",
        fields=(Field(_ID, "string", is_required=True), Field(_AT, "int64", is_required=True), *_WHO, *facts),
        event_time=_AT,
        event_id=_ID,
        hop=timedelta(minutes=1),
        views=tuple(
            WindowedView(view.name, view.keys, view.window, views.AGGREGATES[name])
            for view in views.TRAILING
            if view.stream == name
        ),
    )


DEPARTURES: Final = _stream(
    "departures", (Field("dep_delay", "int64"), Field("dep_late", "bool"), Field("cancelled", "bool"))
)
ARRIVALS: Final = _stream("arrivals", (Field("arr_delay", "int64"), Field("arr_late", "bool")))
STREAMS: Final = {stream.name: stream for stream in (DEPARTURES, ARRIVALS)}


def departures(flights: pl.DataFrame) -> pl.DataFrame:
    """The events of `DEPARTURES`, a column a field, in the order in which they became known."""
    return _identified(flights, events.departures(flights), "departed")


def arrivals(flights: pl.DataFrame) -> pl.DataFrame:
    """The events of `ARRIVALS`, likewise."""
    arrived = flights.filter(pl.col("arr_delay").is_not_null())
    return _identified(arrived, events.arrivals(arrived), "arrived")


def encoded(facts: pl.DataFrame) -> list[bytes]:
    """Each event as the JSON object that a producer sends."""
    return facts.write_ndjson().encode().splitlines()


def _identified(flights: pl.DataFrame, facts: pl.DataFrame, what: str) -> pl.DataFrame:
    scheduled = flights["scheduled_departure"].dt.epoch("us")
    known = facts.with_columns(
        pl.format("{}{}-{}-{}-{}", "carrier", "flight", "origin", scheduled, pl.lit(what)).alias(_ID),
        pl.col(events.KNOWN_AT).dt.epoch("us").alias(_AT),
    )
    return known.drop(events.KNOWN_AT).sort(_AT, _ID)
