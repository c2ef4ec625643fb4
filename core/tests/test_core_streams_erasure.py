"""A stream that forgets a subject: its state, its reader at work, and the state file of one that has stopped."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import core_streams_world as world
import numpy as np
import pytest

from mainspring.core import errors
from mainspring.core.erasure import erasing
from mainspring.core.erasure.erased import Check, Entry
from mainspring.core.erasure.matching import BySubject
from mainspring.core.erasure.streams import StreamStates
from mainspring.core.erasure.subjects import Subject, SubjectHasher
from mainspring.core.features import online
from mainspring.core.features.streams import consumer, history, sinks, snapshots, topic
from mainspring.core.features.streams.keys import ViewRows
from mainspring.core.features.streams.snapshots import SnapshotFolder
from mainspring.core.features.streams.state import StreamState

NOW_US = world.T0 + 3600 * world.SECOND
HASHER = SubjectHasher(b"k" * 32)
SHOP = Subject("tiny", "shop", "s1")
CUSTOMER = Subject("tiny", "customer", "7")
FAST = consumer.ConsumerOptions(poll_seconds=0.02, snapshot_seconds=0.0)


def check(subject: Subject) -> Check:
    entry = Entry("tiny", subject.entity, (subject.entity,), (), HASHER.of(subject), "era_1")
    return Check([entry], HASHER)


def events(n: int = 120, seed: int = 0) -> list[world.Event]:
    choose = np.random.default_rng(seed)
    return [
        world.event(
            int(choose.integers(3000)), order=f"{seed}-{i}", shop=f"s{choose.integers(4)}",
            customer=int(choose.integers(9)), amount=int(choose.integers(100)), paid=bool(i % 2), price=float(i),
        )
        for i in range(n)
    ]  # fmt: skip


def rows_of(state: StreamState) -> dict[str, Any]:
    return {rows.view: world.newest_of_rows(rows) for rows in state.newest_rows()}


def of_batch(told: list[world.Event]) -> dict[str, Any]:
    return {
        v.name: world.newest_of_batch(world.batch_rows(told, world.STREAM, v), v) for v in world.STREAM.views
    }


def test_what_is_left_is_as_if_the_subject_had_never_been_and_goes_on_so() -> None:
    state, told = StreamState(world.STREAM, has_history=True), events()
    state.apply(world.batch(told))
    assert state.forget(check(SHOP)) == 1 + len({e["customer"] for e in told if e["shop"] == "s1"})
    others = [e for e in told if e["shop"] != "s1"]
    assert rows_of(state) == of_batch(others)
    more = events(80, seed=1)
    state.apply(world.batch(more, first_offset=len(told)))
    assert rows_of(state) == of_batch([*others, *(e for e in more if e["shop"] != "s1")])
    assert b"s1" not in b"".join(a.tobytes() for name, a in state.to_arrays().items() if "names" in name)
    again = StreamState.from_arrays(world.STREAM, state.to_arrays(), has_history=True)
    assert rows_of(again) == rows_of(state)


def test_one_part_of_a_key_takes_the_key_and_sums_of_others_stay() -> None:
    state, told = StreamState(world.STREAM), events()
    state.apply(world.batch(told))
    before = rows_of(state)
    state.forget(check(CUSTOMER))
    after = rows_of(state)
    assert after["shop_5m"] == before["shop_5m"]
    want = {k: v for k, v in before["shop_customer_1h"].items() if k[1] != 7}
    assert after["shop_customer_1h"] == want and len(want) < len(before["shop_customer_1h"])
    assert state.forget(None) == 0


def test_rows_of_hops_that_were_open_are_not_history_of_the_subject(tmp_path: Path) -> None:
    stream = world.with_lateness(60)
    state = StreamState(stream, has_history=True)
    state.apply(world.batch([world.event(i, shop=f"s{i % 2}", amount=1) for i in range(4)]))
    state.forget(check(SHOP))
    closed = state.apply(world.batch([world.event(3000, shop="s0", amount=1)], first_offset=4)).closed
    assert {key for rows in closed for key in rows.keys["shop"]} == {"s0"}


def test_rows_without_some() -> None:
    at = np.arange(3, dtype=np.int64)
    rows = ViewRows("v", {"shop": ["a", "b", "c"]}, at, at + 1, {"x": at.astype(np.float32)})
    left = rows.without(np.array([False, True, False]))
    assert (left.keys, left.event_us.tolist(), left.created_us.tolist()) == (
        {"shop": ["a", "c"]},
        [0, 2],
        [1, 3],
    )
    assert left.columns["x"].tolist() == [0.0, 2.0]


def read(
    folder: Path, source: topic.MemoryTopic, known: list[Check | None], **more: Any
) -> consumer.StreamConsumer:
    return consumer.StreamConsumer(
        world.STREAM,
        source,
        sinks.StoreSink(online.OnlineStore()),
        folder=folder,
        options=FAST,
        erased=lambda: known[0],
        **more,
    )


def test_a_reader_at_work_forgets_and_writes_that_down_though_no_event_comes(tmp_path: Path) -> None:
    place = StreamStates(tmp_path, "tiny")
    folder, source, known = tmp_path / "tiny.orders", topic.MemoryTopic(), list[Check | None]([None])
    source.produce(world.encoded(events()), timestamp_us=NOW_US)
    with read(folder, source, known) as reader:
        thread = threading.Thread(target=reader.run)
        thread.start()
        try:
            _until(lambda: place.find(BySubject(SHOP)).rows > 1)
            with pytest.raises(
                errors.Conflict, match="reader of stream `tiny.orders` still keeps the subject"
            ):
                place.erase(BySubject(SHOP))
            known[0] = check(SHOP)
            _until(lambda: place.find(BySubject(SHOP)).rows == 0)
            assert erasing.erase(place, BySubject(SHOP)).rows == 0, "nothing is left to do beside the reader"
            source.produce(world.encoded(events(20, seed=2)), timestamp_us=NOW_US)
            _until(lambda: reader.status.counts.accepted == 140 and reader.status.lag == 0)
        finally:
            reader.stop()
            thread.join(30)
    assert place.find(BySubject(SHOP)).rows == 0
    assert (
        b'"s1"' not in (folder / "state.npz").read_bytes() and b'"s0"' in (folder / "state.npz").read_bytes()
    )


def test_history_that_waits_for_its_snapshot_is_of_others(tmp_path: Path) -> None:
    source, known = topic.MemoryTopic(), list[Check | None]([None])
    written = history.History(tmp_path / "history", world.STREAM)
    with read(tmp_path / "tiny.orders", source, known, history=written) as reader:
        at = np.zeros(2, np.int64)
        values = {a.name: np.zeros(2, np.float32) for a in world.STREAM.views[0].aggregates}
        reader._closed = [ViewRows("shop_5m", {"shop": ["s0", "s1"]}, at, at, values)]
        known[0] = check(SHOP)
        reader._forget()
        assert [rows.keys["shop"] for rows in reader._closed] == [["s0"]]
    (told,) = StreamStates(tmp_path, "tiny").find(BySubject(SHOP)).uncovered
    assert told.what == "history of stream `tiny.orders`", "where that is nobody else knows"


def stopped(tmp_path: Path, *, names_keys: bool = True) -> Path:
    """The state of a reader that has stopped."""
    state, folder = StreamState(world.STREAM), tmp_path / "tiny.orders"
    state.apply(world.batch(events()))
    with SnapshotFolder(folder) as held:
        if names_keys:
            held.save(world.STREAM, state.to_arrays())
        else:
            held.replace(snapshots.Snapshot(world.STREAM.digest(), None, state.to_arrays()))
    return folder


@pytest.mark.parametrize("names_keys", [True, False])
def test_the_state_of_a_reader_that_has_stopped_is_written_again(tmp_path: Path, names_keys: bool) -> None:
    """Also one of a release that did not write the names of keys."""
    folder = stopped(tmp_path, names_keys=names_keys)
    stopped(tmp_path / "of" / "others")
    (folder / "state.npz.new").write_bytes(b'torn, and "s1" in it')
    place, matcher = StreamStates(tmp_path, "tiny"), BySubject(SHOP)
    rows = 1 + len({e["customer"] for e in events() if e["shop"] == "s1"})
    assert (place.find(matcher).rows, place.find(matcher).items) == (rows, 1)
    assert erasing.erase(place, matcher).rows == rows
    assert {p.name for p in folder.iterdir()} == {"lock", "state.npz"}
    assert b'"s1"' not in (folder / "state.npz").read_bytes()
    with SnapshotFolder(folder) as held:
        arrays = held.load(world.STREAM)
    assert arrays is not None
    state = StreamState.from_arrays(world.STREAM, arrays)
    assert rows_of(state) == of_batch([e for e in events() if e["shop"] != "s1"])
    assert state.next_offsets == {0: 120}, "and it is read on from where it was"
    elsewhere = StreamStates(tmp_path / "of" / "others", "tiny")
    assert elsewhere.find(matcher).rows == rows and StreamStates(tmp_path, "tin").find(matcher).rows == 0


def test_a_number_is_a_key_too_and_nobody_unknown_changes_a_byte(tmp_path: Path) -> None:
    folder = stopped(tmp_path)
    place, before = StreamStates(tmp_path, "tiny"), (folder / "state.npz").read_bytes()
    assert erasing.erase(place, BySubject(replace(CUSTOMER, key="77"))).rows == 0
    assert erasing.erase(place, BySubject(Subject("tiny", "order", "s1"))).rows == 0
    assert (folder / "state.npz").read_bytes() == before
    assert erasing.erase(place, BySubject(CUSTOMER)).rows == len(
        {e["shop"] for e in events() if e["customer"] == 7}
    )
    found = snapshots.read(folder)
    assert found is not None and [list(f) for f in found.key_fields or ()] == [["shop"], ["shop", "customer"]]
    assert {name[1] for name in json.loads(found.arrays["keys.1.names"].tobytes())} == set(range(9)) - {7}


def test_a_state_that_cannot_be_read_is_not_said_to_be_erased(tmp_path: Path) -> None:
    folder = stopped(tmp_path)
    (folder / "state.npz").write_bytes(b"torn")
    with pytest.raises(errors.CorruptArtifact, match="move it away"):
        StreamStates(tmp_path, "tiny").find(BySubject(SHOP))
    assert StreamStates(tmp_path / "nowhere", "tiny").find(BySubject(SHOP)).rows == 0


def _until(is_so: Any) -> None:
    until = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.01)
