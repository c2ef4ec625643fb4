"""Flights as streams of facts, each at the time when it was known.

A departure is known when it happens: at the scheduled time plus the delay, never before. An arrival likewise, and
with it the flight's lateness. A flight that never departed is taken as known cancelled at its scheduled time: the
source does not say when it was called off, and earlier would be a guess that leaks. A diverted flight departs and
never arrives.
"""

from __future__ import annotations

from typing import Final

import polars as pl

__all__ = ["KNOWN_AT", "LATE_MINUTES", "arrivals", "departures"]

KNOWN_AT: Final = "known_at"

#: A flight is late when it is more than this many minutes behind its schedule.
LATE_MINUTES: Final = 15

_WHO: Final = ("carrier", "flight", "tailnum", "origin", "dest")


def departures(flights: pl.DataFrame) -> pl.DataFrame:
    """One fact per flight: `dep_delay` (minutes) and `dep_late`, null for the cancelled, and `cancelled`."""
    delay = pl.col("dep_delay")
    return flights.select(
        *_WHO,
        (pl.col("scheduled_departure") + pl.duration(minutes=delay.fill_null(0))).alias(KNOWN_AT),
        "dep_delay",
        dep_late=delay > LATE_MINUTES,
        cancelled=delay.is_null(),
    )


def arrivals(flights: pl.DataFrame) -> pl.DataFrame:
    """One fact per flight that arrived: `arr_delay` (minutes) and `arr_late`."""
    delay = pl.col("arr_delay")
    return flights.filter(delay.is_not_null()).select(
        *_WHO,
        (pl.col("scheduled_arrival") + pl.duration(minutes=delay)).alias(KNOWN_AT),
        "arr_delay",
        arr_late=delay > LATE_MINUTES,
    )
