"""The request-time features as a function by hand, before they were declared: what the formulas are held against."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from mainspring.core import errors
from mainspring.core.reference.flight_delay.request_time import DERIVED, HORIZON_SECONDS

_MINUTE_US: Final = 60_000_000
_HOUR_US: Final = 3_600_000_000
_DAY_MINUTES: Final = 1440
_CRUISE_MILES_PER_MINUTE: Final = 8.0
_FOG_SPREAD_F: Final = 3.0
_NEW_YORK: Final = ZoneInfo("America/New_York")

_SIN_MINUTE: Final = np.array([math.sin(2 * math.pi * m / _DAY_MINUTES) for m in range(_DAY_MINUTES)])
_COS_MINUTE: Final = np.array([math.cos(2 * math.pi * m / _DAY_MINUTES) for m in range(_DAY_MINUTES)])
_SIN_DEGREE: Final = np.array([math.sin(math.radians(d)) for d in range(360)])
_COS_DEGREE: Final = np.array([math.cos(math.radians(d)) for d in range(360)])


# Infinities in are infinities or NaN out, and not a matter for warnings.
@np.errstate(over="ignore", invalid="ignore")
def derive(columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The columns of `DERIVED` from request columns and stored ones.

    Shapes:  columns[name] (n_rows,); results (n_rows,).
    Units:   `*_us` UTC microseconds, distances miles, temperatures Fahrenheit; clock minutes are New York's, where
             all these flights depart, for arrivals too.
    Missing: NaN in, NaN out. The prediction is taken as made HORIZON_SECONDS before scheduled departure.
    Errors:  SchemaMismatch for an absent or wrongly typed column. Values never raise.
    """
    departure, arrival = (
        _whole(columns, name) for name in ("scheduled_departure_us", "scheduled_arrival_us")
    )
    distance = _real(columns, "distance_miles")
    dep_local, arr_local = _local_minutes(departure), _local_minutes(arrival)
    dep_minute = dep_local % _DAY_MINUTES
    block = (arrival - departure) / _MINUTE_US
    temp, dewp, wind_dir, wind_speed = (
        _real(columns, f"weather_origin__{name}") for name in ("temp", "dewp", "wind_dir", "wind_speed")
    )
    spread = temp - dewp
    made_at = departure - HORIZON_SECONDS * 1_000_000
    # The remainder first: a float beyond int64 has no defined cast. It may round to 360, hence the second one.
    degrees = np.mod(np.where(np.isfinite(wind_dir), wind_dir, 0.0), 360.0).astype(np.int64) % 360
    known_direction = np.where(np.isfinite(wind_dir), 1.0, np.nan)
    results = {
        "dep_minute": dep_minute,
        "dep_minute_sin": _SIN_MINUTE[dep_minute],
        "dep_minute_cos": _COS_MINUTE[dep_minute],
        "arr_minute": arr_local % _DAY_MINUTES,
        "block_minutes": block,
        "slack_minutes": block - distance / _CRUISE_MILES_PER_MINUTE,
        "speed_needed_mph": np.divide(
            distance * 60.0, block, out=np.full(len(block), np.nan), where=block > 0
        ),
        "aircraft_age_years": _years(departure) - _real(columns, "plane_static__year"),
        "dew_spread": spread,
        "fog": np.where(np.isnan(spread), np.nan, spread < _FOG_SPREAD_F),
        "wind_east": wind_speed * _SIN_DEGREE[degrees] * known_direction,
        "wind_north": wind_speed * _COS_DEGREE[degrees] * known_direction,
        "hours_since_tail": (made_at - _real(columns, "tail_last__arr_known_us")) / _HOUR_US,
        "dep_hour": dep_minute // 60,
        # Day 0 of the epoch was a Thursday; Monday is 0.
        "dep_weekday": (dep_local // _DAY_MINUTES + 3) % 7,
    }
    return {column.name: results[column.name].astype(column.numpy_dtype) for column in DERIVED}


def _local_minutes(utc_us: NDArray[np.int64]) -> NDArray[np.int64]:
    """Minutes since 1970 on New York's clock. Its offset changes on whole hours only."""
    hours, inverse = np.unique(utc_us // _HOUR_US, return_inverse=True)
    offsets = np.array([_offset_minutes(hour) for hour in hours.tolist()], np.int64)
    return utc_us // _MINUTE_US + (offsets[inverse] if len(hours) else 0)


@lru_cache(maxsize=1 << 16)
def _offset_minutes(utc_hour: int) -> int:
    try:
        at = datetime.fromtimestamp(utc_hour * 3600, UTC)
    except (ValueError, OverflowError, OSError):
        return 0  # a time no calendar has: the row gets some clock rather than the batch an error
    offset = at.astimezone(_NEW_YORK).utcoffset()
    return 0 if offset is None else int(offset.total_seconds()) // 60


def _years(utc_us: NDArray[np.int64]) -> NDArray[np.int64]:
    return utc_us.astype("datetime64[us]").astype("datetime64[Y]").astype(np.int64) + 1970


def _whole(columns: Mapping[str, NDArray[Any]], name: str) -> NDArray[np.int64]:
    return _typed(columns, name, "int64", (np.int64,)).astype(np.int64, copy=False)


def _real(columns: Mapping[str, NDArray[Any]], name: str) -> NDArray[np.float64]:
    # float32 widens exactly: a stored float32 and a request's float64 of the same value agree.
    return _typed(columns, name, "float32", (np.float32, np.float64)).astype(np.float64)


def _typed(
    columns: Mapping[str, NDArray[Any]], name: str, expected: str, types: tuple[type[np.generic], ...]
) -> NDArray[Any]:
    column = columns.get(name)
    if column is None or column.dtype.type not in types:
        got = "no column" if column is None else f"type {column.dtype}"
        raise errors.SchemaMismatch(
            f"column `{name}` has {got}, the request-time features expect {expected}; send it, or read the feature"
            " service that has it",
            feature=name,
            expected=expected,
            got=got,
        )
    return column
