"""Request-time features: right by hand, the same for one row as for a batch, and never an error for a value."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from core_flights_world import build, days, service
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.core import errors
from mainspring.core.features import frames
from mainspring.core.reference.flight_delay import dataset, project, request_time, views

NAN = float("nan")
STORED = (
    "weather_origin__temp", "weather_origin__dewp", "weather_origin__wind_dir", "weather_origin__wind_speed",
    "plane_static__year",
)  # fmt: skip


def us(*when: int) -> int:
    return round(datetime(*when, tzinfo=UTC).timestamp() * 1_000_000)


def columns(**changed: list[Any]) -> dict[str, np.ndarray[Any, Any]]:
    """JFK to San Juan, 10:00 to 14:40 in New York on 8 February 2013, three quarters of an hour after its aircraft."""
    one: dict[str, list[Any]] = {
        "scheduled_departure_us": [us(2013, 2, 8, 15, 0)],
        "scheduled_arrival_us": [us(2013, 2, 8, 19, 40)],
        "distance_miles": [1600.0],
        "bank_departures": [12.0],
        "weather_origin__temp": [33.0],
        "weather_origin__dewp": [30.5],
        "weather_origin__wind_dir": [90.0],
        "weather_origin__wind_speed": [20.0],
        "plane_static__year": [1999.0],
        "tail_last__arr_known_us": [float(us(2013, 2, 8, 12, 15))],
    }
    types = {
        "scheduled_departure_us": np.int64,
        "scheduled_arrival_us": np.int64,
        "tail_last__arr_known_us": np.float64,
    }
    return {n: np.array(v, types.get(n, np.float32)) for n, v in (one | changed).items()}  # fmt: skip


def one(**changed: list[Any]) -> dict[str, Any]:
    return {n: a[0].item() for n, a in request_time.derive(columns(**changed)).items()}


def test_by_hand() -> None:
    got = one()
    assert got == {
        "dep_minute": 600.0, "dep_minute_sin": pytest.approx(0.5), "dep_minute_cos": pytest.approx(-math.sqrt(3) / 2),
        "arr_minute": 880.0, "block_minutes": 280.0, "slack_minutes": 80.0, "speed_needed_mph": pytest.approx(1600 * 60 / 280),
        "aircraft_age_years": 14.0, "dew_spread": 2.5, "fog": 1.0, "wind_east": 20.0, "wind_north": pytest.approx(0.0, abs=1e-5),
        "hours_since_tail": 0.75, "dep_hour": 10, "dep_weekday": 4,
    }  # fmt: skip


def test_types_and_names_are_those_declared() -> None:
    got = request_time.derive(columns())
    assert list(got) == [c.name for c in request_time.DERIVED]
    assert {n: a.dtype for n, a in got.items()} == {c.name: c.numpy_dtype for c in request_time.DERIVED}
    assert all(a.shape == (1,) for a in got.values())
    empty = request_time.derive({n: a[:0] for n, a in columns().items()})
    assert all(a.shape == (0,) for a in empty.values())


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ("weather_origin__temp", {"dew_spread", "fog"}),
        ("weather_origin__dewp", {"dew_spread", "fog"}),
        ("weather_origin__wind_dir", {"wind_east", "wind_north"}),
        ("weather_origin__wind_speed", {"wind_east", "wind_north"}),
        ("plane_static__year", {"aircraft_age_years"}),
        ("tail_last__arr_known_us", {"hours_since_tail"}),
        ("distance_miles", {"slack_minutes", "speed_needed_mph"}),
    ],
)
def test_missing_in_is_missing_out_and_nothing_else(missing: str, expected: set[str]) -> None:
    whole, lacking = one(), one(**{missing: [NAN]})
    assert {n for n, v in lacking.items() if math.isnan(v)} == expected
    assert {n: v for n, v in lacking.items() if n not in expected} == {
        n: v for n, v in whole.items() if n not in expected
    }


@pytest.mark.parametrize("year", [2013, 2012])
def test_the_clock_is_new_yorks_in_every_hour_of_a_year(year: int) -> None:
    start = us(year, 1, 1, 0, 30)
    hours = [start + h * 3_600_000_000 for h in range(366 * 24)]
    got = request_time.derive(
        {
            n: np.repeat(a, len(hours)) if n != "scheduled_departure_us" else np.array(hours)
            for n, a in columns().items()
        }
    )
    local = [datetime.fromtimestamp(h / 1e6, UTC).astimezone(ZoneInfo("America/New_York")) for h in hours]
    assert got["dep_hour"].tolist() == [t.hour for t in local]
    assert got["dep_weekday"].tolist() == [t.weekday() for t in local]
    assert got["dep_minute"].tolist() == [t.hour * 60 + t.minute for t in local]


@pytest.mark.parametrize("name", [c.name for c in request_time.REQUEST_COLUMNS if c.name != "bank_departures"] + [*STORED, "tail_last__arr_known_us"])  # fmt: skip
def test_an_absent_or_wrongly_typed_column_is_refused_by_name(name: str) -> None:
    whole = columns()
    with pytest.raises(errors.SchemaMismatch) as absent:
        request_time.derive({n: a for n, a in whole.items() if n != name})
    assert absent.value.feature == name and absent.value.got == "no column"
    with pytest.raises(errors.SchemaMismatch) as typed:
        request_time.derive(whole | {name: np.array(["x"], np.object_)})
    assert typed.value.feature == name and "object" in typed.value.got


TIMES = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(width=32)


@settings(max_examples=200, deadline=None)
@given(TIMES, TIMES, FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, st.floats())
def test_no_value_is_an_error(dep: int, arr: int, a: float, b: float, c: float, d: float, e: float, f: float, g: float) -> None:  # fmt: skip
    got = one(
        scheduled_departure_us=[dep], scheduled_arrival_us=[arr], distance_miles=[a], weather_origin__temp=[b],
        weather_origin__dewp=[c], weather_origin__wind_dir=[d], weather_origin__wind_speed=[e], plane_static__year=[f],
        tail_last__arr_known_us=[g],
    )  # fmt: skip
    assert 0 <= got["dep_hour"] <= 23 and 0 <= got["dep_weekday"] <= 6 and 0 <= got["dep_minute"] < 1440


def test_one_row_alone_from_json_has_the_bits_that_it_has_in_the_whole_table() -> None:
    """Offline the function saw all rows as a frame; online it sees one, whose numbers came as JSON."""
    rows = build(days(7, 8))
    wanted = (*request_time.REQUEST_COLUMNS, *service().columns)
    offline = frames.to_numpy(rows, request_time.DERIVED)
    asked = frames.to_numpy(rows, wanted)
    chosen = range(0, rows.height, 7)
    assert len(chosen) > 200
    for i in chosen:
        entity = json.loads(
            json.dumps({c.name: asked[c.name][i].item() for c in request_time.REQUEST_COLUMNS})
        )
        alone = {c.name: np.array([entity[c.name]], c.numpy_dtype) for c in request_time.REQUEST_COLUMNS}
        alone |= {c.name: asked[c.name][i : i + 1] for c in service().columns}
        for name, value in project.PROJECT.derive(alone).items():
            assert value.tobytes() == offline[name][i : i + 1].tobytes(), (i, name)


def test_real_flights_give_plausible_features() -> None:
    got = frames.to_numpy(
        dataset.assemble(dataset.requests(days(4, 6).flights), service(), views.compute(days(1, 6))),
        request_time.DERIVED,
    )
    assert got["block_minutes"].min() > 40 and got["block_minutes"].max() < 720
    assert got["dep_hour"].min() >= 5 and got["dep_hour"].max() <= 23
    known = got["hours_since_tail"][~np.isnan(got["hours_since_tail"])]
    assert len(known) > 1000 and known.min() >= 0 and known.max() <= 72  # what arrived later was not known
    assert np.nanmin(got["aircraft_age_years"]) >= 0
    assert set(got["fog"][~np.isnan(got["fog"])]) == {0.0, 1.0}
