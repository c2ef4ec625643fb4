"""Features made when a prediction is asked for, from what the caller sends and what the store has.

Formulas, which Python computes over arrays, offline and online, and the native front for a request. They are computed in float64
and rounded once; sines come from tables, so a row alone has the bits that it has in a batch (vector and scalar sines need
not agree in their last bit).
"""

from __future__ import annotations

import math
from typing import Final

from mainspring.core.features import derivation, schema
from mainspring.core.features.formulas import (
    Formula,
    entry,
    is_below,
    local_minutes,
    ratio,
    real,
    whole,
    year,
)

__all__ = ["DERIVED", "DERIVED_FROM", "HORIZON_SECONDS", "REQUEST_COLUMNS", "derive"]

#: Predictions are made this long before scheduled departure.
HORIZON_SECONDS: Final = 7200

#: What the caller sends beside the keys: the published schedule.
REQUEST_COLUMNS: Final = (
    schema.Column(name="scheduled_departure_us", dtype="int64"),
    schema.Column(name="scheduled_arrival_us", dtype="int64"),
    schema.Column(name="distance_miles", dtype="float32"),
    schema.Column(name="bank_departures", dtype="float32"),
)

_MINUTE_US: Final = 60_000_000
_HOUR_US: Final = 3_600_000_000
_DAY_MINUTES: Final = 1440
_CRUISE_MILES_PER_MINUTE: Final = 8.0
_FOG_SPREAD_F: Final = 3.0
_NEW_YORK: Final = "America/New_York"

_SIN_MINUTE: Final = [math.sin(2 * math.pi * m / _DAY_MINUTES) for m in range(_DAY_MINUTES)]
_COS_MINUTE: Final = [math.cos(2 * math.pi * m / _DAY_MINUTES) for m in range(_DAY_MINUTES)]
_SIN_DEGREE: Final = [math.sin(math.radians(d)) for d in range(360)]
_COS_DEGREE: Final = [math.cos(math.radians(d)) for d in range(360)]


def _formulas() -> dict[str, Formula]:
    departure, arrival = whole("scheduled_departure_us"), whole("scheduled_arrival_us")
    distance = real("distance_miles")
    # New York's, where all these flights depart, for arrivals too.
    dep_local, arr_local = local_minutes(departure, _NEW_YORK), local_minutes(arrival, _NEW_YORK)
    dep_minute = dep_local % _DAY_MINUTES
    block = (arrival - departure) / _MINUTE_US
    spread = real("weather_origin__temp") - real("weather_origin__dewp")
    wind_speed, wind_dir = real("weather_origin__wind_speed"), real("weather_origin__wind_dir")
    made_at = departure - HORIZON_SECONDS * 1_000_000
    return {
        "dep_minute": dep_minute,
        "dep_minute_sin": entry(_SIN_MINUTE, dep_local),
        "dep_minute_cos": entry(_COS_MINUTE, dep_local),
        "arr_minute": arr_local % _DAY_MINUTES,
        "block_minutes": block,
        "slack_minutes": block - distance / _CRUISE_MILES_PER_MINUTE,
        "speed_needed_mph": ratio(distance * 60.0, block),
        "aircraft_age_years": year(departure) - real("plane_static__year"),
        "dew_spread": spread,
        "fog": is_below(spread, _FOG_SPREAD_F),
        "wind_east": wind_speed * entry(_SIN_DEGREE, wind_dir),
        "wind_north": wind_speed * entry(_COS_DEGREE, wind_dir),
        "hours_since_tail": (made_at - real("tail_last__arr_known_us")) / _HOUR_US,
        "dep_hour": dep_minute // 60,
        # Day 0 of the epoch was a Thursday; Monday is 0.
        "dep_weekday": (dep_local // _DAY_MINUTES + 3) % 7,
    }


#: What `derive` gives as int64; all else is float32.
_CLASSES: Final = frozenset({"dep_hour", "dep_weekday"})

#: From request columns and stored ones; `*_us` are UTC microseconds, distances miles, temperatures Fahrenheit. The prediction is
#: taken as made HORIZON_SECONDS before scheduled departure.
derive: Final = derivation.Derivation(
    {
        schema.Column(name=name, dtype="int64" if name in _CLASSES else "float32"): formula
        for name, formula in _formulas().items()
    }
)

#: What `derive` gives.
DERIVED: Final = derive.columns

#: By column of `DERIVED`, the columns that it is computed from: what lineage says.
DERIVED_FROM: Final = derive.derived_from
