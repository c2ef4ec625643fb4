"""Each fact counts from the instant at which it was known, and every view is what plain Python makes of the raw lines."""

from __future__ import annotations

import csv
import io
import random
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from core_flights_world import days, tables

from mainspring.core.reference.flight_delay import events, source, views

T = datetime(2013, 2, 8, 12, 0, tzinfo=UTC)


def flight(dep_delay: int | None, arr_delay: int | None) -> pl.DataFrame:
    """One flight due at noon and due in two hours later."""
    return pl.DataFrame(
        {
            "carrier": ["UA"], "flight": [1], "tailnum": ["N1"], "origin": ["JFK"], "dest": ["SJU"],
            "scheduled_departure": [T], "scheduled_arrival": [T + timedelta(hours=2)],
            "dep_delay": [dep_delay], "arr_delay": [arr_delay],
        },
        schema_overrides={"dep_delay": pl.Int32, "arr_delay": pl.Int32, "scheduled_departure": pl.Datetime("us", "UTC"), "scheduled_arrival": pl.Datetime("us", "UTC")},
    )  # fmt: skip


def test_a_flight_is_known_when_it_leaves_and_when_it_arrives() -> None:
    some = flight(-7, 16)
    assert events.departures(some).select("known_at", "dep_delay", "dep_late", "cancelled").row(0) == (
        T - timedelta(minutes=7), -7, False, False
    )  # fmt: skip
    assert events.arrivals(some).select("known_at", "arr_delay", "arr_late").row(0) == (
        T + timedelta(hours=2, minutes=16), 16, True
    )  # fmt: skip


def test_fifteen_minutes_are_not_late() -> None:
    some = flight(15, 15)
    assert not events.departures(some)["dep_late"][0] and not events.arrivals(some)["arr_late"][0]


def test_a_cancelled_flight_is_known_at_its_scheduled_time_and_has_no_delay() -> None:
    some = flight(None, None)
    assert events.departures(some).select("known_at", "dep_delay", "dep_late", "cancelled").row(0) == (
        T, None, None, True
    )  # fmt: skip
    assert events.arrivals(some).is_empty()


def test_a_diverted_flight_departs_and_never_arrives() -> None:
    some = flight(30, None)
    assert events.departures(some).select("known_at", "dep_late", "cancelled").row(0) == (
        T + timedelta(minutes=30), True, False
    )  # fmt: skip
    assert events.arrivals(some).is_empty()


def test_the_years_cancelled_and_diverted_are_counted_so() -> None:
    departures, arrivals = events.departures(tables().flights), events.arrivals(tables().flights)
    assert (departures.height, departures["cancelled"].sum(), arrivals.height) == (336_776, 8_255, 327_346)


@dataclass(frozen=True)
class Raw:
    """A line of the file with its clocks read by the standard library."""

    carrier: str
    flight: int
    tailnum: str | None
    origin: str
    dest: str
    departure: datetime
    arrival: datetime
    dep_delay: int | None
    arr_delay: int | None


def raw_lines(folder: Path) -> Iterator[Raw]:
    zones = {
        row["faa"]: row["tzone"]
        for row in csv.DictReader(io.StringIO((folder / "airports.csv").read_text("utf-8")))
    } | dict.fromkeys(("BQN", "PSE", "SJU", "STT"), "America/Puerto_Rico")
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive:
        text = archive.read("flights.csv").decode()

    def number(value: str) -> int | None:
        return None if value == "NA" else int(value)

    for row in csv.DictReader(io.StringIO(text)):
        hour = datetime.strptime(row["time_hour"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        departure = hour + timedelta(minutes=int(row["minute"]))
        clock = int(row["sched_arr_time"])
        local = datetime(
            int(row["year"]), int(row["month"]), int(row["day"]), clock // 100, clock % 100,
            tzinfo=ZoneInfo(zones[row["dest"]]),
        )  # fmt: skip
        arrival = local.astimezone(UTC)
        if arrival <= departure:
            arrival = (local + timedelta(days=1)).astimezone(UTC)
        yield Raw(
            row["carrier"], int(row["flight"]), None if row["tailnum"] == "NA" else row["tailnum"],
            row["origin"], row["dest"], departure, arrival, number(row["dep_delay"]), number(row["arr_delay"]),
        )  # fmt: skip


@pytest.fixture(scope="module")
def cut(flights_root: Path) -> tuple[list[Raw], source.Tables]:
    """Ten days of real lines, as Python reads them and as the source does."""
    folder = flights_root / "csv"
    lines = sorted(raw_lines(folder), key=lambda r: (r.departure, r.carrier, r.flight))
    return lines, source.read(folder)


def test_every_clock_equals_the_standard_librarys(cut: tuple[list[Raw], source.Tables]) -> None:
    """Around both changes of the clocks, past midnight, and to islands that the airports table lacks."""
    lines, read = cut
    flights = read.flights
    assert flights["scheduled_departure"].to_list() == [r.departure for r in lines]
    assert flights["scheduled_arrival"].to_list() == [r.arrival for r in lines]
    assert {"BQN", "PSE", "SJU", "STT"} <= {r.dest for r in lines}
    overnight = sum(r.departure.astimezone(ZoneInfo("America/New_York")).date() < r.arrival.astimezone(ZoneInfo("America/New_York")).date() for r in lines)  # fmt: skip
    assert len(lines) > 8000 and overnight > 300
    changes = {datetime(2013, 3, 10).date(), datetime(2013, 11, 3).date()}
    assert changes <= {r.departure.date() for r in lines}


def value_of(name: str, facts: list[Raw]) -> float | None:
    """An aggregate over facts, by its definition."""
    if name == "flights":
        return float(len(facts))
    if name == "cancel_share":
        return float(np.float32(sum(r.dep_delay is None for r in facts) / len(facts)))
    side = "arr_delay" if name in ("mean_arr_delay", "arr_late_share") else "dep_delay"
    known = [d for r in facts if (d := getattr(r, side)) is not None]
    if not known:
        return None
    total = sum(d > 15 for d in known) if name.endswith("late_share") else sum(known)
    return float(np.float32(total / len(known)))


@pytest.mark.parametrize("view", views.TRAILING, ids=lambda v: v.name)
def test_a_trailing_view_equals_plain_python_over_the_raw_lines(
    cut: tuple[list[Raw], source.Tables], view: views.Trailing
) -> None:
    lines, read = cut
    rows = views.compute(read)[view.name]
    arrivals = view.stream == "arrivals"
    facts = [
        (r.arrival + timedelta(minutes=r.arr_delay or 0) if arrivals else r.departure + timedelta(minutes=r.dep_delay or 0), r)
        for r in lines
        if not arrivals or r.arr_delay is not None
    ]  # fmt: skip
    by_key: dict[tuple[object, ...], list[tuple[datetime, Raw]]] = {}
    for at, r in facts:
        by_key.setdefault(tuple(getattr(r, k) for k in view.keys), []).append((at, r))
    assert set(rows.select(view.keys).iter_rows()) == set(by_key)
    assert rows.height == sum(len({at for at, _ in found}) for found in by_key.values())
    for i in random.Random(view.name).sample(range(rows.height), 60):
        row = rows.row(i, named=True)
        now = row["event_timestamp"]
        inside = [r for at, r in by_key[tuple(row[k] for k in view.keys)] if now - view.window < at <= now]
        for a in views.AGGREGATES[view.stream]:
            name = "arr_late_share" if arrivals and a.name == "late_share" else a.name
            assert row[a.name] == value_of(name, inside), (row, a.name)
        assert row["created_timestamp"] == now


def test_the_last_arrival_of_an_aircraft_carries_its_instant(cut: tuple[list[Raw], source.Tables]) -> None:
    lines, read = cut
    rows = views.compute(read)["tail_last"]
    known: dict[tuple[str, datetime], int] = {}
    for r in lines:
        if r.arr_delay is not None and r.tailnum is not None:
            at = (r.tailnum, r.arrival + timedelta(minutes=r.arr_delay))
            known[at] = max(known.get(at, -9999), r.arr_delay)
    got = {(t, at): d for t, at, d in rows.select("tailnum", "event_timestamp", "arr_delay").iter_rows()}
    assert got == known
    assert (rows["arr_known_us"] == rows["event_timestamp"].dt.timestamp("us")).all()


def test_weather_is_known_when_its_hour_is_over_and_the_register_before_all_flights() -> None:
    computed = views.compute(days(4, 4))
    weather = computed["weather_origin"]
    assert weather.height == 26_115
    assert (weather["event_timestamp"].min(), weather["event_timestamp"].max()) == (
        datetime(2013, 1, 1, 7, tzinfo=UTC), datetime(2013, 12, 31, 0, tzinfo=UTC)
    )  # fmt: skip
    planes = computed["plane_static"]
    assert planes.height == 3_322
    assert planes["event_timestamp"].max() < tables().flights["scheduled_departure"].min()
