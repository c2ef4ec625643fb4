"""The proof that no feature knows the future: change the future, build again, and look for what moved.

At a cut-off, every value of the source that became known later is changed, in ways that keep it known later: delays
and clock readings of flights in the air or not yet gone, flown flights cancelled and cancelled ones flown, aircraft
swapped, weather replaced, rows dropped. What was asked at or before the cut-off must come out the same to the bit.
Unlike an alarm on a model's quality, this catches a leak too small to see, such as a mean over the whole year.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mainspring.core import errors, projects
from mainspring.core.features import point_in_time
from mainspring.core.reference.flight_delay import dataset, request_time, source

__all__ = ["Build", "check", "choose_cutoffs", "perturb"]

#: From tables to one row per flight: IDENTITY, `as_of` and the features under test. The label is not compared.
Build = Callable[[source.Tables], pl.DataFrame]

#: What is built around each cut-off: history for the longest window, and a future to change.
_HISTORY: Final = timedelta(days=30)
_FUTURE: Final = timedelta(days=2)

_MINUTE_US: Final = 60_000_000
_NOT_FEATURES: Final = (*dataset.IDENTITY, point_in_time.AS_OF, dataset.LABEL, dataset.SPLIT)


def check(
    tables: source.Tables, build: Build, cutoffs: Sequence[datetime], *, seed: int = 0, whole: bool = False
) -> projects.LeakReport:
    """Perturb after each cut-off and compare every row asked at or before it.

    `whole` builds from all rows rather than from a month around the cut-off: slower, and the only way for a build
    that mixes in values of the far future to show itself in full.
    Errors: DataInvalid if nothing was compared or nothing changed, because that proves nothing.
    """
    compared, changed, moved = 0, 0, set[str]()
    for i, cutoff in enumerate(cutoffs):
        before = tables if whole else _around(tables, cutoff)
        after, n = perturb(before, cutoff, np.random.default_rng([seed, i]))
        rows, names = _moved(build(before), build(after), cutoff)
        compared, changed = compared + rows, changed + n
        moved |= names
    if not compared or not changed:
        raise errors.DataInvalid(
            f"leak check compared {compared} rows after changing {changed} values, which proves nothing; raise the"
            " sample fraction or move the cut-offs",
            dataset="flights",
            failed=("leak check",),
        )
    return projects.LeakReport(
        cutoffs=len(cutoffs), compared_rows=compared, perturbed_values=changed, moved=tuple(sorted(moved))
    )


def choose_cutoffs(tables: source.Tables, count: int) -> list[datetime]:
    """Instants spread evenly over the flights, each exactly the `as_of` of one: equality at the edge is tested too.

    Errors: InvalidRequest for a count below 1.
    """
    if count < 1:
        raise errors.InvalidRequest(f"`cutoffs` is {count}, expected 1 or more", field="cutoffs")
    as_of = (tables.flights["scheduled_departure"] - timedelta(seconds=request_time.HORIZON_SECONDS)).sort()
    return [as_of[len(as_of) * (i + 1) // (count + 1)] for i in range(count)]


def perturb(tables: source.Tables, cutoff: datetime, rng: np.random.Generator) -> tuple[source.Tables, int]:
    """The tables with what became known after `cutoff` changed, and how many values that were."""
    flights, in_flights = _perturb_flights(tables.flights, cutoff, rng)
    weather, in_weather = _perturb_weather(tables.weather, cutoff, rng)
    return replace(tables, flights=flights, weather=weather), in_flights + in_weather


def _around(tables: source.Tables, cutoff: datetime) -> source.Tables:
    inside = pl.col("scheduled_departure").is_between(cutoff - _HISTORY, cutoff + _FUTURE)
    return replace(tables, flights=tables.flights.filter(inside))


def _moved(before: pl.DataFrame, after: pl.DataFrame, cutoff: datetime) -> tuple[int, set[str]]:
    asked = before.filter(pl.col(point_in_time.AS_OF) <= cutoff)
    features = [c for c in before.columns if c not in _NOT_FEATURES]
    again = asked.select(dataset.IDENTITY).join(after, on=dataset.IDENTITY, how="left", maintain_order="left")
    return asked.height, {c for c in features if again[c].ne_missing(asked[c]).any()}


def _perturb_flights(
    flights: pl.DataFrame, cutoff: datetime, rng: np.random.Generator
) -> tuple[pl.DataFrame, int]:
    horizon = timedelta(seconds=request_time.HORIZON_SECONDS)
    n = flights.height
    departs, arrives = _us(flights["scheduled_departure"]), _us(flights["scheduled_arrival"])
    at = int(cutoff.timestamp()) * 1_000_000 + cutoff.microsecond
    dep, arr = _delays(flights["dep_delay"]), _delays(flights["arr_delay"])
    # A departure that never was is known at its scheduled time; an arrival that never was is never known.
    dep_later = departs + np.where(np.isnan(dep), 0, dep) * _MINUTE_US > at
    arr_later = np.isnan(arr) | (arrives + np.where(np.isnan(arr), 0, arr) * _MINUTE_US > at)
    cancelled = dep_later & (departs > at) & (rng.random(n) < 0.2)
    new_dep = np.where(cancelled, np.nan, _later_delay(departs, at, rng))
    new_arr = np.where(cancelled | (rng.random(n) < 0.1), np.nan, _later_delay(arrives, at, rng))
    not_yet_asked = departs - int(horizon.total_seconds()) * 1_000_000 > at
    changed = flights.with_columns(
        dep_delay=_chosen(dep_later, new_dep, flights["dep_delay"]),
        arr_delay=_chosen(arr_later, new_arr, flights["arr_delay"]),
        dep_time=_chosen(dep_later, rng.integers(1, 2400, n), flights["dep_time"]),
        arr_time=_chosen(arr_later, rng.integers(1, 2400, n), flights["arr_time"]),
        air_time=_chosen(arr_later, rng.integers(20, 700, n), flights["air_time"]),
        # The aircraft of a flight is taken as known when it is asked about, and may change until then.
        tailnum=pl.when(pl.Series(not_yet_asked)).then(flights["tailnum"].gather(rng.permutation(n))).otherwise(pl.col("tailnum")),
    )  # fmt: skip
    # Schedules are published: only what nobody asked about by then has counted may vanish.
    bank = pl.col("scheduled_departure").dt.truncate("1h") > cutoff + horizon
    dropped = changed.select(gone=bank & pl.Series(rng.random(n) < 0.3))["gone"]
    values = int(dep_later.sum() + arr_later.sum() + not_yet_asked.sum())
    return changed.filter(~dropped), values


def _perturb_weather(
    weather: pl.DataFrame, cutoff: datetime, rng: np.random.Generator
) -> tuple[pl.DataFrame, int]:
    # Known when its hour is over: views.py says so, and this file says it again on purpose.
    later = (weather["time_hour"] + timedelta(hours=1) > cutoff).to_numpy()
    columns = [c for c, kind in weather.schema.items() if kind == pl.Float32]
    noise = {c: _chosen(later, rng.normal(0, 50, weather.height), weather[c]) for c in columns}
    kept = weather.with_columns(**noise).filter(pl.Series(~later | (rng.random(weather.height) < 0.7)))
    return kept, int(later.sum()) * len(columns)


def _later_delay(
    scheduled_us: NDArray[np.int64], at_us: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Minutes of delay that keep a time after the cut-off: at least one more than would reach it, and at least -20."""
    least = np.maximum((at_us - scheduled_us) // _MINUTE_US + 1, -20)
    return (least + rng.integers(0, 400, len(scheduled_us))).astype(np.float64)


def _chosen(where: NDArray[np.bool_], new: NDArray[np.generic], old: pl.Series) -> pl.Series:
    fresh = pl.Series(new).cast(pl.Float64).fill_nan(None).cast(old.dtype)
    return fresh.zip_with(pl.Series(where), old).alias(old.name)


def _us(times: pl.Series) -> NDArray[np.int64]:
    return times.dt.timestamp("us").to_numpy()


def _delays(minutes: pl.Series) -> NDArray[np.float64]:
    return minutes.cast(pl.Float64).to_numpy()
