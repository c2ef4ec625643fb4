"""A stream's answers are the batch's, bit for bit, in any order of arrival; and what does not count is told."""

from __future__ import annotations

import random
from typing import Any

import core_streams_world as world
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.core.features.streams.definition import StreamDefinition
from mainspring.core.features.streams.keys import ViewRows
from mainspring.core.features.streams.records import Records, records
from mainspring.core.features.streams.state import StreamState

PRICES = st.one_of(
    st.none(),
    st.sampled_from([-0.0, 0.0, 1e300, -1e300, 5e-324]),
    st.floats(-1e6, 1e6, allow_nan=False),
)
EVENTS = st.lists(
    st.builds(
        world.event,
        st.one_of(st.integers(0, 900), st.integers(0, 20).map(lambda m: m * 60), st.integers(0, 200_000)),
        shop=st.sampled_from(["north", "south", "ost", None]),
        customer=st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.integers(1, 3)),
        amount=st.one_of(st.none(), st.integers(-1000, 10**9)),
        paid=st.sampled_from([True, False, None]),
        price=PRICES,
    ),
    max_size=40,
    unique_by=lambda e: e["order"],
)


def cut(events: list[world.Event], seed: int, partitions: int = 3) -> list[Records]:
    """The events in any order and any batches, over some partitions; offsets ascend in each."""
    choose = random.Random(seed)
    choose.shuffle(events)
    next_offset = [0] * partitions
    batches = []
    while events:
        n = choose.randint(1, 12)
        some, events = events[:n], events[n:]
        made = world.batch(some, partition=[choose.randrange(partitions) for _ in some])
        for i, p in enumerate(made.partition.tolist()):
            made.offset[i] = next_offset[p]
            next_offset[p] += 1
        batches.append(made)
    return batches


def run(
    stream: StreamDefinition, batches: list[Records]
) -> tuple[StreamState, dict[str, dict[Any, list[int]]]]:
    """The state, and by view and key the row that was given last."""
    state, newest = StreamState(stream), {view.name: {} for view in stream.views}
    for one in batches:
        for rows in state.apply(one).rows:
            newest[rows.view].update(world.newest_of_rows(rows))
    return state, newest


@settings(max_examples=120, deadline=None)
@given(EVENTS, st.integers(0, 2**32))
def test_it_is_the_batch_bit_for_bit_in_any_order(events: list[world.Event], seed: int) -> None:
    state, newest = run(world.STREAM, cut(list(events), seed))
    assert state.counts.accepted == len(events)
    for view in world.STREAM.views:
        rows = world.batch_rows(events, world.STREAM, view)
        assert newest[view.name] == world.newest_of_batch(rows, view)
        want = [world.bits(r) for r in rows.select(a.name for a in view.aggregates).iter_rows()]
        assert world.every_window(state, view, rows) == want


@settings(max_examples=60, deadline=None)
@given(EVENTS, st.integers(0, 2**32), st.integers(0, 2**32))
def test_a_state_goes_on_from_its_arrays_as_if_nothing_had_been(
    events: list[world.Event], seed: int, where: int
) -> None:
    batches = cut(list(events), seed)
    whole, _ = run(world.STREAM, batches)
    middle = where % (len(batches) + 1)
    first, _ = run(world.STREAM, batches[:middle])
    again = StreamState.from_arrays(world.STREAM, first.to_arrays())
    for one in batches[middle:]:
        again.apply(one)
    assert same(whole.to_arrays(), again.to_arrays())
    assert again.counts == whole.counts and again.next_offsets == whole.next_offsets


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(
        a[k].dtype == b[k].dtype and a[k].tobytes() == b[k].tobytes() for k in a
    )


def flood(n: int, *, seed: int, span_seconds: int, keys: int) -> list[world.Event]:
    choose = random.Random(seed)
    return [
        world.event(
            i * span_seconds // n + choose.randrange(60), shop=f"s{choose.randrange(keys)}", customer=i,
            amount=choose.randrange(1000), paid=bool(i % 3), price=choose.random(),
        )
        for i in range(n)
    ]  # fmt: skip


def test_tiles_and_keys_that_no_window_reaches_are_let_go_and_no_answer_changes() -> None:
    """Five days in windows of up to six hours, keys that come and go: far more than the first tables hold."""
    stream = world.with_lateness(120)
    events = flood(30_000, seed=3, span_seconds=5 * 86_400, keys=3)
    state, newest = StreamState(stream), {view.name: {} for view in stream.views}
    for i in range(0, len(events), 500):
        for rows in state.apply(world.batch(events[i : i + 500], first_offset=i)).rows:
            newest[rows.view].update(world.newest_of_rows(rows))
    assert (state.counts.accepted, state.counts.late) == (30_000, 0)
    for view in stream.views:
        assert newest[view.name] == world.newest_of_batch(world.batch_rows(events, stream, view), view)
    by_customer = state.key_sets[1]
    assert len(by_customer) < 15_000  # of 30,000 customers that had one event each
    assert by_customer.n_tiles < 20_000 and state.key_sets[0].n_tiles < 20_000


def test_the_rows_a_store_lost_are_those_it_was_given() -> None:
    stream = world.with_lateness(120)
    events = flood(3_000, seed=4, span_seconds=86_400, keys=200)
    state, newest = run(
        stream, [world.batch(events[i : i + 100], first_offset=i) for i in range(0, 3_000, 100)]
    )
    for rows in StreamState.from_arrays(stream, state.to_arrays()).newest_rows():
        found = world.newest_of_rows(rows)
        assert found.items() <= newest[rows.view].items()
        assert len(found) == len(newest[rows.view]) or rows.view == "shop_customer_1h"


def one(events: list[world.Event], stream: StreamDefinition = world.STREAM) -> list[ViewRows]:
    return StreamState(stream).apply(world.batch(events)).rows


def test_a_row_is_as_of_the_newest_event_of_its_key() -> None:
    first, second = world.event(10, shop="north", amount=1), world.event(200, shop="south", amount=2)
    rows = {r.view: r for r in one([second, first])}
    shops = dict(zip(rows["shop_5m"].keys["shop"], rows["shop_5m"].event_us.tolist(), strict=True))
    assert shops == {"north": first["at_us"], "south": second["at_us"]}
    assert rows["shop_5m"].created_us.tolist() == [second["at_us"]] * 2  # when the broker took the record
    assert "shop_customer_1h" not in rows  # neither event has a customer


def test_an_event_on_a_boundary_belongs_to_the_hop_that_ends_there() -> None:
    rows = one([world.event(s, shop="north", amount=s) for s in (0, 1, 60, 300)])[0]
    # The window that ends with second 300 is (0, 300]: the event of second 0 is outside.
    assert rows.columns["sum"].tolist() == [361.0] and rows.columns["events"].tolist() == [3.0]


def test_late_events_and_events_of_the_future_are_told_and_count_nowhere() -> None:
    state = StreamState(world.with_lateness(60))
    good = [world.event(1000, shop="north"), world.event(940, shop="north")]
    late, ahead = world.event(939, shop="north"), world.event(1301, shop="north")
    done = state.apply(records(world.encoded([*good, late, ahead]), timestamp_us=good[0]["at_us"]))
    assert [(d.offset, d.reason) for d in done.dead] == [(2, "late"), (3, "ahead")]
    assert done.dead[0].value == world.encoded([late])[0]
    assert done.rows[0].columns["events"].tolist() == [2.0]
    # The future did not move the watermark: what follows is not late.
    assert state.watermarks_us == {0: good[0]["at_us"]}
    assert (state.counts.seen, state.counts.accepted, state.counts.dead, state.counts.late) == (4, 2, 2, 1)


def test_a_repeated_event_counts_once_and_so_does_a_repeated_record() -> None:
    state = StreamState(world.STREAM)
    event = world.event(5, shop="north", amount=7)
    first = state.apply(world.batch([event, event, event]))
    assert first.rows[0].columns["sum"].tolist() == [7.0] and state.counts.duplicate == 2
    again = state.apply(world.batch([event, event, event]))  # the broker gives the same offsets again
    assert (again.rows, again.dead, state.counts.repeated) == ([], [], 3)
    later = state.apply(world.batch([event], first_offset=3))  # the producer sends it again
    assert later.rows == [] and state.counts.duplicate == 3


def test_an_id_counts_again_once_it_would_be_late_and_never_both() -> None:
    """Memory is bounded, and what falls out of it is late: no event counts twice, whatever the bound."""
    stream = world.with_lateness(3600, remembered_ids=16)
    choose = random.Random(1)
    events = [world.event(choose.randrange(i, i + 300), shop="north", amount=1) for i in range(400)]
    sent = events + choose.choices(events, k=400)
    state = StreamState(stream)
    for i in range(0, len(sent), 7):
        state.apply(world.batch(sent[i : i + 7], first_offset=i))
    different = len({e["order"] for e in events})
    assert state.counts.late > 0 and state.counts.duplicate > 0
    assert state.counts.accepted <= different
    assert state.counts.accepted + state.counts.duplicate + state.counts.late == 800


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 25)), max_size=80), st.integers(0, 2**32))
def test_verdicts_are_those_of_a_plain_reading_and_no_batch_border_changes_them(
    moves: list[tuple[int, int]], seed: int
) -> None:
    """Late, duplicate and accepted by the words of the definition; memory is large enough never to be short."""
    stream = world.with_lateness(60)
    events = [world.event(s, order=str(number), shop="north") for s, number in moves]
    watermark, seen, want = -1, set(), []
    for e in events:
        if watermark >= 0 and e["at_us"] < watermark - 60 * world.SECOND:
            want.append("late")
        elif e["order"] in seen:
            want.append("duplicate")
        else:
            want.append("accepted")
            seen.add(e["order"])
            watermark = max(watermark, e["at_us"])
    states = []
    for n in (1, 1 + seed % 13, 100):
        state = StreamState(stream)
        got_late = []
        for i in range(0, len(events), n):
            taken = records(
                world.encoded(events[i : i + n]), timestamp_us=world.T0 + 400 * world.SECOND, first_offset=i
            )
            got_late += [d.offset for d in state.apply(taken).dead]
        assert got_late == [i for i, verdict in enumerate(want) if verdict == "late"]
        assert (state.counts.accepted, state.counts.duplicate) == (
            want.count("accepted"),
            want.count("duplicate"),
        )
        states.append(state.to_arrays())
    assert same(states[0], states[1]) and same(states[0], states[2])


@pytest.mark.parametrize("cap", [16, 50, 300])
def test_a_short_memory_forgets_at_the_same_event_however_batches_are_cut(cap: int) -> None:
    stream = world.with_lateness(3600, remembered_ids=cap)
    choose = random.Random(cap)
    events = [
        world.event(i // 2 + choose.randrange(900), order=str(choose.randrange(900)), shop="n")
        for i in range(2000)
    ]
    taken = records(world.encoded(events), timestamp_us=world.T0 + 10_000 * world.SECOND)
    ends = []
    for n in (1, 77, 2000):
        state = StreamState(stream)
        for i in range(0, 2000, n):
            state.apply(taken.take(np.arange(i, min(i + n, 2000))))
        ends.append(state)
    assert ends[0].counts.late > 0
    assert all(same(ends[0].to_arrays(), end.to_arrays()) for end in ends[1:])


def test_partitions_have_watermarks_of_their_own() -> None:
    state = StreamState(world.with_lateness(60))
    ahead, behind = world.event(5000, shop="north"), world.event(10, shop="north")
    done = state.apply(world.batch([ahead, behind], partition=[0, 1]))
    assert done.dead == [] and state.counts.accepted == 2
