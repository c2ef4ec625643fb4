"""Streams on a real broker: read, dead letters, outages, and a reader that is killed again and again."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import confluent_kafka
import integration_streams_world as world
import numpy as np
import polars as pl
import pytest
from confluent_kafka import admin

from mainspring.bench import kafka_server
from mainspring.bench.serving import machine
from mainspring.core import errors
from mainspring.core.features import frames, online, windows
from mainspring.core.features.streams import consumer, kafka, sinks
from mainspring.core.features.streams.records import DeadLetter

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(200)]

PARTITIONS = 3
LIVES = 8
QUICK = consumer.ConsumerOptions(
    poll_seconds=0.2, snapshot_seconds=0.2, first_retry_seconds=0.05, longest_retry_seconds=0.2
)


@pytest.fixture
def broker() -> Iterator[str]:
    (port,) = machine.free_ports(1)
    with kafka_server.started(port=port) as address:
        create(address, world.STREAM.topic)
        yield address


def create(address: str, topic: str) -> None:
    """The topic and that of its dead letters."""
    client = admin.AdminClient({"bootstrap.servers": address})
    topics = [admin.NewTopic(topic, PARTITIONS, 1), admin.NewTopic(topic + kafka.DEAD_LETTER_SUFFIX, 1, 1)]
    for done in client.create_topics(topics).values():
        done.result(20)


class Producer:
    def __init__(self, address: str) -> None:
        self._kafka = confluent_kafka.Producer({"bootstrap.servers": address, "linger.ms": 5, "acks": "all"})

    def send(self, events: Sequence[dict[str, Any]]) -> None:
        for event in events:
            self.send_bytes(json.dumps(event).encode(), world.partition_of(event, PARTITIONS))
        assert self._kafka.flush(20) == 0

    def send_bytes(self, value: bytes | None, partition: int, key: bytes | None = None) -> None:
        self._kafka.produce(world.STREAM.topic, value=value, partition=partition, key=key)
        self._kafka.poll(0)


def expected(events: Sequence[dict[str, Any]], view: Any) -> dict[str, list[int]]:
    frame = pl.DataFrame(list(events)).with_columns(pl.col("at_us").cast(frames.TIME).alias("known_at"))
    rows = windows.trailing(
        frame,
        keys=view.keys,
        known_at="known_at",
        window=view.window,
        hop=world.STREAM.hop,
        aggregates=view.aggregates,
    )
    last = rows.sort(windows.EVENT).unique(view.keys, keep="last")
    names = [a.name for a in view.aggregates]
    return {
        r["shop"]: np.array([r[n] for n in names], np.float32).view(np.uint32).tolist()
        for r in last.iter_rows(named=True)
    }


def assert_is_the_batch(store: online.OnlineStore, events: Sequence[dict[str, Any]]) -> None:
    for view in world.STREAM.views:
        assert world.rows(store, view) == expected(events, view)


@contextlib.contextmanager
def reading(address: str, store: online.OnlineStore, folder: Path) -> Iterator[consumer.StreamConsumer]:
    source = kafka.KafkaTopic(world.STREAM.topic, bootstrap_servers=address, group="orders")
    with contextlib.ExitStack() as stack:
        stack.callback(source.close)
        yield stack.enter_context(
            consumer.StreamConsumer(
                world.STREAM, source, sinks.StoreSink(store), folder=folder / "state", options=QUICK
            )
        )


@contextlib.contextmanager
def running(address: str, store: online.OnlineStore, folder: Path) -> Iterator[consumer.StreamConsumer]:
    """A reader in a thread; stopped with the block, its error raised."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            reader.run()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test raises it
            failed.append(error)

    with reading(address, store, folder) as reader:
        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield reader
        finally:
            reader.stop()
            thread.join(15)
            assert not thread.is_alive()
    if failed:
        raise failed[0]


def wait_for(what: Any, seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it did not come about in time"
        time.sleep(0.02)


def messages(address: str, topic: str, n: int) -> list[Any]:
    reader = confluent_kafka.Consumer({"bootstrap.servers": address, "group.id": "test"})
    reader.assign([confluent_kafka.TopicPartition(topic, 0, confluent_kafka.OFFSET_BEGINNING)])
    found: list[Any] = []
    wait_for(lambda: found.extend(m for m in reader.consume(100, 0.1) if not m.error()) or len(found) >= n)
    reader.close()
    return found


def test_events_of_a_broker_are_read_once_and_bad_ones_are_kept_apart(broker: str, tmp_path: Path) -> None:
    events, producer, store = world.events(3000, seed=1), Producer(broker), online.OnlineStore()
    producer.send(events)
    producer.send_bytes(b'{"order": 1}', 2, key=b"k")
    producer.send_bytes(None, 0)
    producer.send(events[:100])
    with reading(broker, store, tmp_path) as reader:
        status = reader.run(until_idle=True)
    assert (status.counts.accepted, status.counts.duplicate, status.counts.dead) == (3000, 100, 2)
    assert status.lag == 0 and status.problem == "" and status.watermark_us > world.T0
    assert_is_the_batch(store, events)

    letters = {m.value(): m for m in messages(broker, world.STREAM.topic + kafka.DEAD_LETTER_SUFFIX, 2)}
    bad = letters[b'{"order": 1}']
    headers = {name: value.decode() for name, value in bad.headers()}
    assert bad.key() == b"k" and headers["mainspring.reason"] == "schema_mismatch"
    assert (headers["mainspring.topic"], headers["mainspring.partition"]) == (world.STREAM.topic, "2")
    assert "at_us" in headers["mainspring.message"] and headers["mainspring.offset"].isdigit()
    assert dict(letters[None].headers())["mainspring.reason"] == b"empty"

    # What tools that watch the group see.
    watcher = confluent_kafka.Consumer({"bootstrap.servers": broker, "group.id": "orders"})
    places = [confluent_kafka.TopicPartition(world.STREAM.topic, p) for p in range(PARTITIONS)]
    assert sum(place.offset for place in watcher.committed(places, timeout=10)) == 3102
    watcher.close()

    # A second start reads on, and has nothing to do.
    more = world.events(200, seed=2, first=10_000)
    producer.send(more)
    with reading(broker, store, tmp_path) as reader:
        assert reader.run(until_idle=True).counts.accepted == 3200
        assert reader.meter is not None and reader.meter.untold == 3302, "each of the topic, to be charged"
    assert_is_the_batch(store, [*events, *more])


def test_a_topic_that_is_not_there_is_told_at_once(broker: str, tmp_path: Path) -> None:
    for topic, partitions, match in (
        ("no.such", None, "no topic `no.such`"),
        (world.STREAM.topic, [7], "partition 7"),
    ):
        source = kafka.KafkaTopic(topic, bootstrap_servers=broker, group="g", partitions=partitions)
        with pytest.raises(errors.NotFound, match=match):
            source.seek({})
        source.close()


def test_a_topic_without_one_for_its_dead_letters_is_told_at_once(broker: str) -> None:
    client = admin.AdminClient({"bootstrap.servers": broker})
    client.create_topics([admin.NewTopic("alone", 1, 1)])["alone"].result(20)
    source = kafka.KafkaTopic("alone", bootstrap_servers=broker, group="g")
    with pytest.raises(errors.NotFound, match="no topic `alone.dead-letters`"):
        source.seek({})
    source.close()


def test_a_letter_that_is_too_large_for_the_broker_is_kept_without_its_bytes(broker: str) -> None:
    source = kafka.KafkaTopic(
        world.STREAM.topic, bootstrap_servers=broker, group="g", config={"message.max.bytes": 1000}
    )
    letters = [DeadLetter(1, 7, 5, b"k", b"x" * n, "malformed", "no JSON") for n in (10, 2000)]
    source.bury(letters)
    small, large = sorted(
        messages(broker, world.STREAM.topic + kafka.DEAD_LETTER_SUFFIX, 2), key=lambda m: not m.value()
    )
    assert (small.value(), small.key(), large.value()) == (b"x" * 10, b"k", None)
    assert dict(large.headers())["mainspring.offset"] == b"7"
    source.close()


def test_two_readers_share_a_topic_by_partitions(broker: str, tmp_path: Path) -> None:
    events, store = world.events(900, seed=3), online.OnlineStore()
    Producer(broker).send(events)
    accepted = 0
    for name, mine in (("a", [0, 2]), ("b", [1])):
        source = kafka.KafkaTopic(world.STREAM.topic, bootstrap_servers=broker, group="g", partitions=mine)
        with consumer.StreamConsumer(
            world.STREAM, source, sinks.StoreSink(store), folder=tmp_path / name, options=QUICK
        ) as reader:
            accepted += reader.run(until_idle=True).counts.accepted
        source.close()
    assert accepted == 900
    assert_is_the_batch(store, events)


def test_partitions_that_are_added_are_read_from_their_beginning(
    broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tansu adds none to a topic that is there: at first the reader is told of two of three."""
    monkeypatch.setattr(kafka, "_LOOK_SECONDS", 0.0)
    source = kafka.KafkaTopic(world.STREAM.topic, bootstrap_servers=broker, group="g")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "_partitions", lambda: {0, 1})
        source.seek({})
    producer = Producer(broker)
    for partition in range(PARTITIONS):
        producer.send_bytes(b"{}", partition)
    producer.send([])
    got: list[int] = []
    wait_for(
        lambda: (
            got.extend(source.poll(max_records=10, timeout_seconds=0.1).partition.tolist()) or len(got) > 2
        )
    )
    assert sorted(got) == [0, 1, 2] and source.lag({0: 1, 1: 1, 2: 1}).keys() == {0, 1, 2}
    source.close()


class Wire:
    """A port that leads to another one, and can be cut."""

    def __init__(self, port: int, to_port: int) -> None:
        self._to_port = to_port
        self._server = socket.create_server(("127.0.0.1", port))
        self._open: list[socket.socket] = []
        self._is_cut = False
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self._is_cut = True
        for end in self._open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def mend(self) -> None:
        self._is_cut = False

    def close(self) -> None:
        self.cut()
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                mine, _ = self._server.accept()
            except OSError:
                return
            if self._is_cut:
                mine.close()
                continue
            theirs = socket.create_connection(("127.0.0.1", self._to_port))
            self._open += [mine, theirs]
            for source, target in ((mine, theirs), (theirs, mine)):
                threading.Thread(target=self._carry, args=(source, target), daemon=True).start()

    @staticmethod
    def _carry(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        source.close()


def test_an_outage_of_the_broker_is_told_and_waited_out(tmp_path: Path) -> None:
    near, far = machine.free_ports(2)
    store = online.OnlineStore()
    first, second = world.events(500, seed=4), world.events(500, seed=5, first=10_000)
    with running(f"127.0.0.1:{near}", store, tmp_path) as reader:
        wait_for(lambda: "does not answer" in reader.status.problem)  # nobody is there yet
        with kafka_server.started(port=far, advertised_port=near) as direct:
            wire = Wire(near, far)
            create(direct, world.STREAM.topic)
            Producer(f"127.0.0.1:{near}").send(first)
            wait_for(lambda: reader.status.counts.accepted == 500 and reader.status.problem == "")
            wire.cut()
            wait_for(lambda: reader.status.problem != "")
            assert str(near) in reader.status.problem
            wire.mend()
            Producer(f"127.0.0.1:{near}").send(second)
            wait_for(lambda: reader.status.counts.accepted == 1000 and reader.status.problem == "")
            wire.close()
    assert_is_the_batch(store, [*first, *second])


def test_deleted_events_are_an_error_and_not_a_silence_and_no_record_is_lost_to_it() -> None:
    """On librdkafka's own broker of tests, which refuses offsets that it has not: Tansu waits for them."""
    mock = confluent_kafka.Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "mock"})
    host = next(iter(mock.list_topics(timeout=10).brokers.values()))
    address = f"{host.host}:{host.port}"
    mock.produce("t.dead-letters", value=b"{}")
    for i in range(300):
        mock.produce("t", value=b"%d" % i, partition=0)
    mock.produce("t", value=b"{}", partition=1)
    assert mock.flush(10) == 0
    source = kafka.KafkaTopic("t", bootstrap_servers=address, group="g", partitions=[0, 1])
    source.seek({1: 5000})
    got, refused = [], 0
    until = time.monotonic() + 30
    while (len(got) < 300 or not refused) and time.monotonic() < until:
        try:
            got += source.poll(max_records=1000, timeout_seconds=0.1).values
        except errors.Conflict as error:
            assert "partition 1 of topic `t` lacks events that were not read yet" in error.message
            refused += 1
    assert got == [b"%d" % i for i in range(300)] and refused
    source.close()


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 6))])
def test_a_reader_that_is_killed_again_and_again_ends_in_the_same_state(
    broker: str, tmp_path: Path, seed: int
) -> None:
    """kill -9 at any moment: between and within batches, pushes, log records and snapshots."""
    choose = random.Random(seed)
    producer = Producer(broker)
    events = world.events(30_000, seed=seed)
    snapshots = set()
    for life in range(LIVES):
        child = subprocess.Popen(
            [sys.executable, world.__file__, broker, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        with child:
            assert child.stdout is not None and child.stdout.readline().startswith("reading")
            mine = events[life * len(events) // LIVES : (life + 1) * len(events) // LIVES]
            for i in range(0, len(mine), 500):
                some = mine[i : i + 500]
                producer.send(some + choose.choices(some, k=20))
                time.sleep(choose.uniform(0, 0.1))
            # Some lives end before their first batch.
            time.sleep(choose.uniform(0, 2.5))
            child.kill()
        state = tmp_path / "state" / "state.npz"
        snapshots.add(state.stat().st_mtime_ns if state.exists() else 0)
    assert len(snapshots) > LIVES // 3
    with online.OnlineStore(tmp_path / "online") as store:
        with reading(broker, store, tmp_path) as reader:
            status = reader.run(until_idle=True)
        assert (status.counts.accepted, status.counts.late, status.counts.dead) == (30_000, 0, 0)
        assert status.counts.seen == 30_000 + status.counts.duplicate + status.counts.repeated
        assert reader.meter is not None
        assert reader.meter.untold == sum(mark.next for mark in reader.meter.counted().values())
        assert reader.meter.untold == 30_000 + status.counts.duplicate
        assert_is_the_batch(store, events)
