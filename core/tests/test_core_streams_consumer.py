"""The reader of a stream on a topic in memory: effects exactly once through crashes, and outages waited out."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import core_streams_world as world
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mainspring.core import errors
from mainspring.core.features import online
from mainspring.core.features.streams import consumer, sinks, topic
from mainspring.core.features.streams.keys import ViewRows
from mainspring.core.features.streams.records import DeadLetter
from mainspring.core.features.streams.snapshots import SnapshotFolder
from mainspring.core.features.streams.state import StreamState

NOW_US = world.T0 + 3600 * world.SECOND
FAST = consumer.ConsumerOptions(
    poll_seconds=0.02, snapshot_seconds=0.0, first_retry_seconds=0.001, longest_retry_seconds=0.004
)


class Crash(BaseException):
    """The process ends here: no handler of ours may see it."""


def produced(events: list[world.Event], partitions: int = 2) -> topic.MemoryTopic:
    made = topic.MemoryTopic(partitions)
    for i, value in enumerate(world.encoded(events)):
        made.produce([value], partition=i % partitions, timestamp_us=NOW_US)
    return made


def some_events(n: int, seed: int = 0) -> list[world.Event]:
    choose = random.Random(seed)
    return [
        world.event(
            choose.randrange(3000), order=f"{seed}-{i}", shop=f"s{choose.randrange(6)}", customer=choose.randrange(9),
            amount=choose.randrange(100), paid=bool(i % 2), price=choose.random(),
        )
        for i in range(n)
    ]  # fmt: skip


def held(store: online.OnlineStore) -> dict[str, dict[tuple[Any, ...], list[int]]]:
    """Every row of the store that the events can have made, by view and key."""
    found: dict[str, dict[tuple[Any, ...], list[int]]] = {}
    for view in world.STREAM.views:
        asked = [(f"s{i}", *([c] if len(view.keys) > 1 else [])) for i in range(6) for c in range(9)]
        asked = list(dict.fromkeys(asked))
        keys: Any = dict(zip(view.keys, map(list, zip(*asked, strict=True)), strict=True))
        rows = store.read(view.name, keys, now_us=NOW_US)
        columns = [np.where(rows.valid[a.name], rows.values[a.name], np.nan) for a in view.aggregates]
        there = (rows.event_us > 0).tolist()
        found[view.name] = {key: world.bits(c[i] for c in columns) for i, key in enumerate(asked) if there[i]}
    return found


def expected(events: list[world.Event]) -> dict[str, dict[tuple[Any, ...], list[int]]]:
    """The batch's newest rows, of the views whose window reaches back from NOW_US."""
    return {
        v.name: world.newest_of_batch(world.batch_rows(events, world.STREAM, v), v)
        for v in world.STREAM.views
    }


def long_windows(rows: dict[str, Any]) -> dict[str, Any]:
    """Without the view whose rows have aged out at NOW_US in part."""
    return {name: view for name, view in rows.items() if name != "shop_5m"}


def read_all(
    events: topic.Topic,
    store: online.OnlineStore,
    folder: Path | None,
    *,
    sink: Callable[[sinks.Sink], sinks.Sink] = lambda sink: sink,
    options: consumer.ConsumerOptions = FAST,
) -> consumer.StreamStatus:
    with consumer.StreamConsumer(
        world.STREAM, events, sink(sinks.StoreSink(store)), folder=folder, options=options
    ) as reader:
        return reader.run(until_idle=True)


def test_all_events_are_in_the_store_and_a_second_start_has_nothing_to_do(tmp_path: Path) -> None:
    events = some_events(200)
    source, store = produced(events), online.OnlineStore()
    status = read_all(source, store, tmp_path)
    assert (status.counts.accepted, status.lag, status.problem) == (200, 0, "")
    assert status.rows > 0 and status.snapshots >= 1 and status.snapshot_bytes > 1000
    assert source.committed == {0: 100, 1: 100}
    assert long_windows(held(store)) == long_windows(expected(events))
    again = read_all(source, store, tmp_path)
    assert again.counts == status.counts and again.rows == 0
    more = some_events(50, seed=1)
    source.produce(world.encoded(more), timestamp_us=NOW_US)
    assert read_all(source, store, tmp_path).counts.accepted == 250
    assert long_windows(held(store)) == long_windows(expected([*events, *more]))


class _Dies:
    """Ends the process at one of the effects: before it, or once it is done."""

    def __init__(self, sink: sinks.Sink, source: topic.MemoryTopic, at: int) -> None:
        self._sink, self._left = sink, at
        bury, commit = source.bury, source.commit
        source.bury = lambda letters: self._do(lambda: bury(letters))  # type: ignore[method-assign]
        source.commit = lambda offsets: self._do(lambda: commit(offsets))  # type: ignore[method-assign]

    def open(self, views: Any) -> None:
        self._sink.open(views)

    def push(self, rows: ViewRows) -> None:
        self._do(lambda: self._sink.push(rows))

    def _do(self, act: Callable[[], None]) -> None:
        self._left -= 1
        if self._left == 0:
            raise Crash
        act()
        if self._left == 1:
            raise Crash


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 40), min_size=1, max_size=4), st.integers(0, 1000))
def test_a_crash_at_any_effect_changes_nothing_in_the_end(
    tmp_path_factory: pytest.TempPathFactory, crashes: list[int], seed: int
) -> None:
    folder = tmp_path_factory.mktemp("state")
    events = some_events(60, seed)
    # Of two partitions in turns, so that each repeated event is in its own.
    values = [*world.encoded(events), b"not an event", None, *world.encoded(events[:5])]
    store = online.OnlineStore()
    fresh = {p: values[p::2] for p in range(2)}
    dead: set[tuple[int, int]] = set()

    def source() -> topic.MemoryTopic:
        made = topic.MemoryTopic(2)
        for partition, some in fresh.items():
            made.produce(some, partition=partition, timestamp_us=NOW_US)
        return made

    for at in crashes:
        mine = source()
        small = replace(FAST, max_records=1 + (at * 7 + seed) % 20)
        with contextlib.suppress(Crash):
            read_all(mine, store, folder, sink=lambda s, at=at, mine=mine: _Dies(s, mine, at), options=small)
        dead |= {(d.partition, d.offset) for d in mine.dead}
    last = source()
    status = read_all(last, store, folder)
    dead |= {(d.partition, d.offset) for d in last.dead}
    assert status.counts.accepted == 60 and status.counts.dead == 2 and status.counts.duplicate == 5
    assert len(dead) == 2
    assert long_windows(held(store)) == long_windows(expected(events))


class _Fails:
    """Refuses its first calls as a part that is down does."""

    def __init__(self, sink: sinks.Sink, times: int, error: errors.MainspringError) -> None:
        self._sink, self._left, self._error = sink, times, error

    def open(self, views: Any) -> None:
        self._sink.open(views)

    def push(self, rows: ViewRows) -> None:
        self._left -= 1
        if self._left >= 0:
            raise self._error
        self._sink.push(rows)


def test_a_sink_that_is_down_is_waited_for_and_nothing_is_lost(tmp_path: Path) -> None:
    events, store, seen = some_events(50), online.OnlineStore(), []
    down = errors.DependencyDown("serving does not answer; start it", name="serving")
    with consumer.StreamConsumer(
        world.STREAM, produced(events), _Fails(sinks.StoreSink(store), 5, down), folder=tmp_path,
        options=FAST, on_status=seen.append,
    ) as reader:  # fmt: skip
        status = reader.run(until_idle=True)
    assert down.message in {s.problem for s in seen} and status.problem == ""
    assert long_windows(held(store)) == long_windows(expected(events))


def test_a_stop_while_the_sink_is_down_writes_no_state_of_rows_that_never_arrived(tmp_path: Path) -> None:
    source, store = produced(some_events(50)), online.OnlineStore()
    down = errors.Overloaded("full; wait", retry_after_seconds=1)
    with consumer.StreamConsumer(
        world.STREAM, source, _Fails(sinks.StoreSink(store), 10**9, down), folder=tmp_path, options=FAST
    ) as reader:
        threading.Timer(0.2, reader.stop).start()
        status = reader.run()
    assert status.problem == "full; wait" and not (tmp_path / "state.npz").exists()
    assert read_all(source, store, tmp_path).counts.accepted == 50


def test_a_mistake_of_the_set_up_ends_the_reader_with_its_error(tmp_path: Path) -> None:
    store = online.OnlineStore()
    other = world.STREAM.views[0].schema()
    store.register(replace(other, fields=(("other", "float32"),)))
    with consumer.StreamConsumer(
        world.STREAM, produced(some_events(5)), sinks.StoreSink(store), folder=tmp_path
    ) as reader:
        with pytest.raises(errors.Conflict, match="shop_5m"):
            reader.run(until_idle=True)


def test_a_stop_comes_at_once_and_the_last_state_is_on_disk(tmp_path: Path) -> None:
    source = produced(some_events(50))
    slow = consumer.ConsumerOptions(poll_seconds=0.1, snapshot_seconds=3600)
    with consumer.StreamConsumer(
        world.STREAM, source, sinks.StoreSink(online.OnlineStore()), folder=tmp_path, options=slow
    ) as reader:
        running = threading.Thread(target=reader.run)
        running.start()
        until = time.monotonic() + 60
        while reader.status.counts.accepted < 50 and time.monotonic() < until:
            time.sleep(0.01)
        reader.stop()
        running.join(5)
        assert not running.is_alive()
        assert reader.status.snapshots == 1 and source.committed == {0: 25, 1: 25}


def test_rows_are_sent_again_to_a_store_that_lost_them(tmp_path: Path) -> None:
    events = some_events(100)
    source, first, second = produced(events), online.OnlineStore(), online.OnlineStore()
    read_all(source, first, tmp_path)
    with consumer.StreamConsumer(
        world.STREAM, source, sinks.StoreSink(second), folder=tmp_path, options=FAST
    ) as reader:
        reader.run(until_idle=True, resend=True)
    assert held(second) == held(first) and first.counts() == second.counts()


def test_dead_letters_go_to_the_topic_with_their_bytes(tmp_path: Path) -> None:
    source = produced(some_events(3), partitions=1)
    source.produce([b"\xff", None], key=b"k", timestamp_us=NOW_US)
    read_all(source, online.OnlineStore(), tmp_path)
    assert [(d.offset, d.reason, d.key, d.value) for d in source.dead] == [
        (3, "malformed", b"k", b"\xff"), (4, "empty", b"k", None)
    ]  # fmt: skip
    assert all(isinstance(d, DeadLetter) and d.timestamp_us == NOW_US for d in source.dead)


# The state on disk


def saved(path: Path) -> StreamState:
    state = StreamState(world.STREAM)
    state.apply(world.batch(some_events(20)))
    with SnapshotFolder(path) as folder:
        folder.save(world.STREAM, state.to_arrays())
    return state


def test_a_state_is_read_back_as_it_was(tmp_path: Path) -> None:
    state = saved(tmp_path)
    with SnapshotFolder(tmp_path) as folder:
        arrays = folder.load(world.STREAM)
    assert arrays is not None
    again = StreamState.from_arrays(world.STREAM, arrays)
    assert again.next_offsets == {0: 20} and again.counts == state.counts
    assert {k: a.tobytes() for k, a in again.to_arrays().items()} == {
        k: a.tobytes() for k, a in state.to_arrays().items()
    }


def test_a_process_that_dies_while_it_writes_leaves_the_state_of_before(tmp_path: Path) -> None:
    state = saved(tmp_path)
    whole = (tmp_path / "state.npz").read_bytes()
    for length in (0, 1, len(whole) // 2, len(whole) - 1):
        (tmp_path / "state.npz.new").write_bytes(whole[:length])
        with SnapshotFolder(tmp_path) as folder:
            arrays = folder.load(world.STREAM)
        assert arrays is not None and StreamState.from_arrays(world.STREAM, arrays).counts == state.counts


def test_a_damaged_state_is_refused_wherever_a_byte_is_wrong(tmp_path: Path) -> None:
    """Or it is the same state: some bytes of a zip file mean nothing."""
    want = {k: a.tobytes() for k, a in saved(tmp_path).to_arrays().items()}
    file = tmp_path / "state.npz"
    whole = file.read_bytes()
    refused = 0
    with SnapshotFolder(tmp_path) as folder:
        for place in random.Random(3).sample(range(len(whole)), 150):
            file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
            try:
                arrays = folder.load(world.STREAM)
            except errors.CorruptArtifact as error:
                refused += 1
                assert "move it away" in error.message
            else:
                assert arrays is not None and {k: a.tobytes() for k, a in arrays.items()} == want
        for length in (0, 1, len(whole) // 2, len(whole) - 1):
            file.write_bytes(whole[:length])
            with pytest.raises(errors.CorruptArtifact):
                folder.load(world.STREAM)
    assert refused > 75


def test_the_state_of_another_definition_is_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    with SnapshotFolder(tmp_path) as folder, pytest.raises(errors.Conflict, match="another definition"):
        folder.load(replace(world.STREAM, allowed_lateness=timedelta(seconds=1)))


def test_one_process_has_a_state_and_a_refused_one_leaves_it_free(tmp_path: Path) -> None:
    with SnapshotFolder(tmp_path):
        with pytest.raises(errors.Conflict, match="is in use"):
            SnapshotFolder(tmp_path)
    (tmp_path / "state.npz").write_bytes(b"no state")
    for _ in range(2):
        with pytest.raises(errors.CorruptArtifact):
            consumer.StreamConsumer(
                world.STREAM, topic.MemoryTopic(), sinks.StoreSink(online.OnlineStore()), folder=tmp_path
            )
