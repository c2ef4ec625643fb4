"""Real flights through the streams: every row of every trailing view is the batch's."""

from __future__ import annotations

import random

import core_flights_world as flights_world
import core_streams_world as world
import polars as pl
import pytest

from mainspring.core.features import windows
from mainspring.core.features.streams.records import records
from mainspring.core.features.streams.state import StreamState
from mainspring.core.reference.flight_delay import streams, views


@pytest.mark.parametrize("name", ["departures", "arrivals"])
def test_three_days_of_flights_are_the_batch_at_every_event(name: str) -> None:
    """The rows given at each event, not the last ones only: what a store would have answered all the while."""
    tables = flights_world.days(8, 10)
    stream, facts = streams.STREAMS[name], getattr(streams, name)(tables.flights)
    assert facts["event_id"].is_unique().all()
    state = StreamState(stream)
    given: dict[str, dict[tuple[object, ...], list[int]]] = {view.name: {} for view in stream.views}
    offset = 0
    for _, minute in facts.group_by("known_us", maintain_order=True):
        values = streams.encoded(minute)
        batch = records(values, timestamp_us=minute["known_us"].to_numpy(), first_offset=offset)
        offset += len(values)
        for rows in state.apply(batch).rows:
            at = rows.event_us.tolist()
            found = world.newest_of_rows(rows)
            given[rows.view].update(
                {(t, *key): value for t, (key, value) in zip(at, found.items(), strict=True)}
            )
    assert (state.counts.accepted, state.counts.dead) == (facts.height, 0)
    computed = views.compute(tables)
    for view in stream.views:
        names = [a.name for a in view.aggregates]
        rows = computed[view.name].with_columns(pl.col(windows.EVENT).dt.epoch("us"))
        want = {
            (r[windows.EVENT], *(r[k] for k in view.keys)): world.bits(r[n] for n in names)
            for r in rows.iter_rows(named=True)
        }
        assert given[view.name] == want


def test_late_and_repeated_reports_of_a_day_end_in_the_same_rows() -> None:
    """A day's departures up to nine minutes out of order and some twice: the newest rows are those of good order."""
    tables = flights_world.days(8, 8)
    facts = streams.departures(tables.flights)
    choose = random.Random(5)
    order = sorted(
        range(facts.height), key=lambda i: facts["known_us"][i] + choose.randrange(9 * 60) * world.SECOND
    )
    order += choose.sample(order[-200:], 20)
    values = streams.encoded(facts)
    state = StreamState(streams.DEPARTURES)
    newest: dict[str, dict[tuple[object, ...], list[int]]] = {v.name: {} for v in streams.DEPARTURES.views}
    for i in range(0, len(order), 64):
        some = [values[j] for j in order[i : i + 64]]
        taken = records(some, timestamp_us=2_000_000_000 * world.SECOND, first_offset=i)
        for rows in state.apply(taken).rows:
            newest[rows.view].update(world.newest_of_rows(rows))
    assert state.counts.accepted == facts.height
    assert state.counts.duplicate + state.counts.late == 20
    computed = views.compute(tables)
    for view in streams.DEPARTURES.views:
        assert newest[view.name] == world.newest_of_batch(computed[view.name], view)
