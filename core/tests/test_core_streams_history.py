"""The history of a stream's views: the batch's rows, each once, whatever order events come in and wherever a reader dies."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import core_join_reference as reference
import core_streams_world as world
import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mainspring.core import errors
from mainspring.core.features import frames, lake, matching, online, segment_file, segments, windows
from mainspring.core.features.streams import consumer, sinks, topic
from mainspring.core.features.streams import history as histories
from mainspring.core.features.streams.keys import ViewRows
from mainspring.core.features.streams.state import StreamState

STREAM = world.with_lateness(120)
FAST = consumer.ConsumerOptions(
    poll_seconds=0.02,
    snapshot_seconds=0.0,
    first_retry_seconds=0.001,
    longest_retry_seconds=0.004,
    max_records=40,
)
#: Closes every hop of `some_events`.
LAST = world.event(100_000, shop="s0", customer=0)


BEFORE_LAST = pl.lit(world.T0 + 50_000 * world.SECOND).cast(frames.TIME)


class Crash(BaseException):
    """The process ends here: no handler of ours may see it."""


def some_events(n: int, seed: int = 0, span: int = 3000) -> list[world.Event]:
    """Up to a minute out of order, which is within the lateness."""
    choose = random.Random(seed)
    return [
        world.event(
            i * span // n + choose.randrange(60), order=f"{seed}-{i}", shop=choose.choice(["a", "b", "c", None]),
            customer=choose.randrange(3), amount=choose.choice([None, *range(9)]), paid=bool(i % 2),
            price=choose.choice([None, -0.0, choose.random()]),
        )
        for i in range(n)
    ]  # fmt: skip


def expected(events: Sequence[world.Event]) -> dict[str, pl.DataFrame]:
    return {v.name: ordered(world.batch_rows(events, STREAM, v), v.keys) for v in STREAM.views}


def ordered(rows: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    return rows.sort(windows.EVENT, *keys)


def kept(folder: Path) -> dict[str, pl.DataFrame]:
    """The rows of the lake, those of the closing event left out."""
    found = {}
    for view in STREAM.views:
        rows = lake.Parquet(f"{folder / view.name}/").scan().collect()
        found[view.name] = ordered(rows.filter(pl.col(windows.EVENT) < BEFORE_LAST), view.keys)
    return found


def assert_same(got: dict[str, pl.DataFrame], want: dict[str, pl.DataFrame]) -> None:
    for name, rows in want.items():
        assert got[name].schema == rows.schema and got[name].equals(rows), name


def frame(rows: Sequence[ViewRows], view: Any) -> pl.DataFrame:
    made = [histories.History(Path(), STREAM)._frame(view, [some]) for some in rows if some.view == view.name]
    return pl.concat(made)


def produced(events: Sequence[world.Event], partition: int = 0) -> topic.MemoryTopic:
    made = topic.MemoryTopic(partition + 1)
    for e in events:
        made.produce(world.encoded([e]), partition=partition, timestamp_us=e["at_us"] + 60 * world.SECOND)
    return made


def read(
    source: topic.Topic,
    folder: Path,
    *,
    sink: sinks.Sink | None = None,
    options: consumer.ConsumerOptions = FAST,
) -> consumer.StreamStatus:
    store = sink or sinks.StoreSink(online.OnlineStore())
    history = histories.History(folder / "lake", STREAM)
    with consumer.StreamConsumer(
        STREAM, source, store, folder=folder / "state", history=history, options=options
    ) as reader:
        return reader.run(until_idle=True)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 120), st.integers(0, 1000), st.lists(st.integers(1, 50), min_size=1, max_size=5))
def test_it_is_the_batch_bit_for_bit_however_events_are_cut(n: int, seed: int, cuts: list[int]) -> None:
    events = some_events(n, seed)
    state, closed, at = StreamState(STREAM, has_history=True), list[ViewRows](), 0
    while at < n:
        size = cuts[at % len(cuts)]
        closed += state.apply(world.batch(events[at : at + size], first_offset=at)).closed
        at += size
        # It goes on from its arrays as if nothing had been.
        state = StreamState.from_arrays(STREAM, state.to_arrays(), has_history=True)
    closed += state.apply(world.batch([LAST], first_offset=n)).closed
    for view in STREAM.views:
        want = expected(events)[view.name]
        assert ordered(frame(closed, view), view.keys).equals(want) if len(want) else not closed


def test_a_partition_that_was_silent_gives_the_rows_that_it_changes_once_more() -> None:
    first, second = some_events(80, 1), some_events(60, 2)
    state, closed = StreamState(STREAM, has_history=True), list[ViewRows]()
    for partition, events in ((0, first), (1, second)):
        for at in range(0, len(events), 20):
            some = world.batch(events[at : at + 20], partition=partition, first_offset=at)
            closed += state.apply(some).closed
    for partition, events in ((0, first), (1, second)):
        closed += state.apply(world.batch([LAST], partition=partition, first_offset=len(events))).closed
    for view in STREAM.views:
        rows = frame(closed, view)
        newest = rows.unique([*view.keys, windows.EVENT], keep="last", maintain_order=True)
        newest = newest.filter(pl.col(windows.EVENT) < BEFORE_LAST)
        assert len(rows) > len(newest)
        assert ordered(newest, view.keys).equals(expected([*first, *second])[view.name])


def test_rows_of_the_stream_and_of_the_batch_join_alike(tmp_path: Path) -> None:
    events = some_events(300)
    read(produced([*events, LAST]), tmp_path)
    view = STREAM.views[2]
    folder = tmp_path / "lake" / view.name
    assert {p.name for p in folder.iterdir()} == {
        f"part-{i:012d}.parquet" for i in range(len(list(folder.iterdir())))
    }
    choose = random.Random(3)
    asked = pl.DataFrame(
        {
            "shop": [choose.choice("abcd") for _ in range(200)],
            "customer": [choose.randrange(4) for _ in range(200)],
            "as_of": [world.T0 + choose.randrange(7200) * world.SECOND for _ in range(200)],
        },
        schema_overrides={"as_of": pl.Int64},
    ).with_columns(pl.col("as_of").cast(frames.TIME))
    times = matching.Times("as_of", windows.EVENT, windows.CREATED, view.window)
    names = [a.name for a in view.aggregates]
    want = matching.match(
        asked, world.batch_rows(events, STREAM, view).lazy(), keys=view.keys, times=times, columns=names
    )
    source = lake.Parquet(f"{folder}/")
    assert want["events"].drop_nulls().len() > 50
    assert matching.match(asked, source.scan(), keys=view.keys, times=times, columns=names).equals(want)
    order = segment_file.Order(view.keys, windows.EVENT, windows.CREATED)
    sorted_rows = segments.Segments(tmp_path / "sorted", source, order)
    sorted_rows.refresh()
    assert sorted_rows.match(asked, keys=view.keys, times=times, columns=names).equals(want)
    # What comes later is appended.
    more = produced([*events, LAST, *(world.event(200_000 + i, shop="a", customer=1) for i in (0, 900))])
    read(more, tmp_path)
    assert sorted_rows.refresh().reason == ""


class _Dies:
    """Ends the process at one of the effects: before it, or once it is done."""

    def __init__(self, patch: pytest.MonkeyPatch, at: int) -> None:
        self.left = at
        for owner, name in (
            (histories.History, "write"),
            (consumer.SnapshotFolder, "save"),
            (sinks.StoreSink, "push"),
        ):
            patch.setattr(owner, name, self._dying(getattr(owner, name)))

    def _dying(self, act: Any) -> Any:
        def done(*args: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                raise Crash
            result = act(*args)
            if self.left == 1:
                raise Crash
            return result

        return done


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(2, 60), min_size=1, max_size=4), st.integers(0, 1000))
def test_each_row_is_there_once_wherever_the_reader_dies(
    tmp_path_factory: pytest.TempPathFactory, deaths: list[int], seed: int
) -> None:
    folder = tmp_path_factory.mktemp("lives")
    events = some_events(200, seed)
    source = produced([*events, LAST])
    for at in deaths:
        with pytest.MonkeyPatch.context() as patch:
            _Dies(patch, at)
            try:
                read(source, folder)
            except Crash:
                continue
    read(source, folder)
    assert_same(kept(folder / "lake"), expected(events))


def test_a_disk_that_refuses_loses_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = some_events(200)
    write, refused = histories.History.write, [0]

    def sometimes(self: histories.History, number: int, rows: Sequence[ViewRows]) -> None:
        refused[0] += 1
        if refused[0] % 3:
            raise errors.DependencyDown("the disk is full", name="stream history")
        write(self, number, rows)

    monkeypatch.setattr(histories.History, "write", sometimes)
    status = read(produced([*events, LAST]), tmp_path)
    while status.problem:
        status = read(produced([*events, LAST]), tmp_path)
    assert refused[0] > 3
    assert_same(kept(tmp_path / "lake"), expected(events))


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    view = STREAM.views[0]
    history = histories.History(tmp_path, STREAM)
    history.open(0)
    state = StreamState(STREAM, has_history=True)
    state.apply(world.batch(some_events(50)))
    closed = state.apply(world.batch([LAST], first_offset=50)).closed
    with reference.full_disk(100), pytest.raises(errors.DependencyDown, match="check the disk"):
        history.write(0, closed)
    assert not list((tmp_path / view.name).iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.DependencyDown, match="check the disk"):
        histories.History(tmp_path / "file", STREAM).open(0)


def test_a_history_without_its_state_is_not_written_twice(tmp_path: Path) -> None:
    events = [*some_events(100), LAST]
    read(produced(events), tmp_path)
    before = kept(tmp_path / "lake")
    (tmp_path / "state" / "state.npz").rename(tmp_path / "aside")
    with pytest.raises(errors.Conflict, match="bring the state back, or move the history away"):
        read(produced(events), tmp_path)
    (tmp_path / "aside").rename(tmp_path / "state" / "state.npz")
    read(produced(events), tmp_path)
    assert_same(kept(tmp_path / "lake"), before)


def test_readers_of_other_partitions_leave_each_others_parts(tmp_path: Path) -> None:
    for reader in ("0", "1-2"):
        histories.History(tmp_path, STREAM, reader=reader).open(None)
        rows = ViewRows(
            "shop_6h",
            {"shop": ["a"]},
            *(2 * [np.array([5])]),
            {a.name: np.zeros(1, np.float32) for a in world.EVERY_HOW[:3]},
        )  # type: ignore[arg-type]
        histories.History(tmp_path, STREAM, reader=reader).write(0, [rows])
    histories.History(tmp_path, STREAM, reader="0").open(0)
    assert [p.name for p in (tmp_path / "shop_6h").iterdir()] == ["part-000000000000.1-2.parquet"]


@pytest.mark.parametrize("begun_with", [True, False])
def test_a_state_goes_on_with_history_as_it_was_begun(tmp_path: Path, begun_with: bool) -> None:
    source = produced(some_events(50))
    lakes = [histories.History(tmp_path / "lake", STREAM), None]
    first, second = lakes if begun_with else lakes[::-1]
    store = sinks.StoreSink(online.OnlineStore())
    with consumer.StreamConsumer(STREAM, source, store, folder=tmp_path / "state", history=first) as reader:
        reader.run(until_idle=True)
    with pytest.raises(errors.Conflict, match=f"was begun with{'' if begun_with else 'out'} history"):
        consumer.StreamConsumer(STREAM, source, store, folder=tmp_path / "state", history=second)


def test_a_history_without_snapshots_is_refused(tmp_path: Path) -> None:
    store = sinks.StoreSink(online.OnlineStore())
    history = histories.History(tmp_path, STREAM)
    with pytest.raises(errors.InvalidRequest, match="no state folder"):
        consumer.StreamConsumer(STREAM, produced([]), store, folder=None, history=history)


def test_without_history_nothing_of_it_is_kept() -> None:
    state = StreamState(STREAM)
    assert not state.apply(world.batch([*some_events(50), LAST])).closed
    assert not [name for name in state.to_arrays() if "open" in name]
    assert timedelta(0) < STREAM.allowed_lateness
