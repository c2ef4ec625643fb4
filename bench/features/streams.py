"""Streams measured: events a second into a durable online store on one core, how fresh they are, and pushes of rows.

Answers first: the store's rows are held against the batch's, bit for bit, in every run that is timed.
"""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import confluent_kafka
import numpy as np
from confluent_kafka import admin
from numpy.typing import NDArray

from mainspring.bench import kafka_server, suite
from mainspring.bench.features import payments
from mainspring.bench.serving import machine
from mainspring.core import ports
from mainspring.core.features import online
from mainspring.core.features.streams import consumer, kafka, sinks, topic
from mainspring.core.features.streams.records import Records

PARTITIONS: Final = 4
_PRODUCER: Final = "mainspring.bench.features.paced_producer"
#: The broker ends before its clients, which would tell of it on stderr.
_QUIET: Final = {"log_level": 0}

#: What is measured, in which unit, and what it must reach.
TARGETS: Final = {
    "streams/memory": ("events/s", 100_000.0),
    "streams/kafka": ("events/s", 100_000.0),
    "streams/freshness": ("s", 1.0),
    "push/visible": ("ms", 1.0),
    "push/durable": ("rows/s", 300_000.0),
}


def run(*, quick: bool) -> list[dict[str, Any]]:
    """A record for each of `TARGETS`, and one for a push that waits for the disk."""
    n, rounds = (60_000, 3) if quick else (400_000, 5)
    made = payments.make(n, cards=n // 20, now_us=time.time_ns() // 1000)
    _warm_up(made)
    return [
        _ingest("streams/memory", made, rounds, _from_memory),
        _ingest("streams/kafka", made, rounds, _from_kafka),
        _freshness(seconds=3.0 if quick else 15.0, rate=5_000),
        _visible(pushes=2_000 if quick else 20_000, is_durable=False),
        _visible(pushes=200 if quick else 2_000, is_durable=True),
        _durable(rows=200_000 if quick else 1_000_000, rounds=rounds),
    ]


def judge(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One record a target."""
    found, goals = {r["name"]: r for r in results}, []
    for name, (unit, target) in TARGETS.items():
        value = found[name]["value"]
        ok = value is not None and (value <= target if unit in ("s", "ms") else value >= target)
        goal = suite.goal(name, value, unit, None, None, target, ok=ok)
        if not ok:
            goal["why"] = found[name].get("wrong", "") or _why(found[name])
        goals.append(goal)
    return goals


def _why(record: dict[str, Any]) -> str:
    """A core that others use too gives fewer events a second than its work allows: that is told apart."""
    if "cpu_us_per_event" not in record:
        return "slower in this run"
    return f"slower in this run; {1e6 / record['cpu_us_per_event']:,.0f} events a second of CPU time, all threads"


@contextlib.contextmanager
def _from_memory(made: payments.Payments) -> Iterator[topic.Topic]:
    source = topic.MemoryTopic(PARTITIONS)
    now_us = int(made.at_us[-1])
    for partition in range(PARTITIONS):
        source.produce(made.values[partition::PARTITIONS], partition=partition, timestamp_us=now_us)
    yield source


@contextlib.contextmanager
def _from_kafka(made: payments.Payments) -> Iterator[topic.Topic]:
    with _broker() as address:
        producer = confluent_kafka.Producer(
            {"bootstrap.servers": address, "linger.ms": 20, "batch.size": 1_000_000, **_QUIET}
        )
        for i, value in enumerate(made.values):
            producer.produce(payments.STREAM.topic, value=value, partition=i % PARTITIONS)
            if i % 1000 == 0:
                producer.poll(0)
        producer.flush(60)
        source = kafka.KafkaTopic(payments.STREAM.topic, bootstrap_servers=address, group="bench")
        yield source
        source.close()


@contextlib.contextmanager
def _broker() -> Iterator[str]:
    """On a core of its own, where there are two."""
    (port,) = machine.free_ports(1)
    with machine.on_core(machine.cores()[1]):
        broker = kafka_server.started(port=port)
        address = broker.__enter__()
    try:
        client = admin.AdminClient({"bootstrap.servers": address, **_QUIET})
        topic_names = (payments.STREAM.topic, payments.STREAM.topic + kafka.DEAD_LETTER_SUFFIX)
        for done in client.create_topics([admin.NewTopic(t, PARTITIONS, 1) for t in topic_names]).values():
            done.result(20)
        yield address
    finally:
        broker.__exit__(None, None, None)


Source = Callable[[payments.Payments], contextlib.AbstractContextManager[topic.Topic]]


def _ingest(name: str, made: payments.Payments, rounds: int, source: Source) -> dict[str, Any]:
    """All events into a durable store, state written every second, everything of ours on one core."""
    seconds, cpu, wrong = [], [], None
    for _ in range(rounds):
        with (
            source(made) as events,
            tempfile.TemporaryDirectory() as folder,
            machine.on_core(machine.cores()[0]),
        ):
            with (
                online.OnlineStore(Path(folder) / "online") as store,
                _reader(events, store, folder) as reader,
            ):
                began, began_cpu = time.perf_counter(), time.process_time()
                status = reader.run(until_idle=True)
                seconds.append(time.perf_counter() - began)
                cpu.append(time.process_time() - began_cpu)
                if status.counts.accepted != len(made):
                    wrong = f"{status.counts.accepted} of {len(made)} events counted"
                wrong = wrong or payments.wrong_answer(made, store)
    typical = statistics.median(seconds)
    return {
        **_record(name, "events/s", len(made) / typical, wrong),
        "rows": len(made),
        "us_per_call": suite.rounded(typical / len(made) * 1e6),
        "cpu_us_per_event": suite.rounded(statistics.median(cpu) / len(made) * 1e6),
    }


def _reader(
    events: topic.Topic, store: online.OnlineStore, folder: str, **more: Any
) -> consumer.StreamConsumer:
    options = consumer.ConsumerOptions(poll_seconds=0.05, snapshot_seconds=1.0)
    return consumer.StreamConsumer(
        payments.STREAM,
        events,
        sinks.StoreSink(store),
        folder=Path(folder) / "state",
        options=options,
        **more,
    )


def _warm_up(made: payments.Payments) -> None:
    """Loads the compiled loops, which a reader does once in its life."""
    few = payments.Payments(made.frame[:1000], made.values[:1000], made.at_us[:1000])
    with _from_memory(few) as events, tempfile.TemporaryDirectory() as folder:
        with online.OnlineStore() as store, _reader(events, store, folder) as reader:
            reader.run(until_idle=True)


class _Watched:
    """A topic that remembers when its records of the last batch were produced."""

    def __init__(self, events: kafka.KafkaTopic) -> None:
        self._events = events
        self.produced_us: NDArray[np.int64] = np.empty(0, np.int64)

    def poll(self, *, max_records: int, timeout_seconds: float) -> Records:
        batch = self._events.poll(max_records=max_records, timeout_seconds=timeout_seconds)
        self.produced_us = batch.timestamp_us
        return batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._events, name)


def _freshness(*, seconds: float, rate: int) -> dict[str, Any]:
    """Events come at a steady rate; from the time at which each was due until its row can be read, p99."""
    n = round(rate * seconds)
    now_us = time.time_ns() // 1000
    made = payments.make(n, cards=n // 20, now_us=now_us)
    ages: list[NDArray[np.float64]] = []
    with _broker() as address, tempfile.TemporaryDirectory() as folder:
        source = kafka.KafkaTopic(payments.STREAM.topic, bootstrap_servers=address, group="bench")
        watched: Any = _Watched(source)

        def note(status: consumer.StreamStatus) -> None:
            if len(watched.produced_us):
                ages.append(time.time() - watched.produced_us / 1e6)
                watched.produced_us = watched.produced_us[:0]

        with machine.on_core(machine.cores()[0]):
            store = online.OnlineStore(Path(folder) / "online")
            with store, _reader(watched, store, folder, on_status=note) as reader:
                running = threading.Thread(target=reader.run)
                running.start()
                with machine.on_core(machine.cores()[1]):
                    arguments = [address, PARTITIONS, rate, now_us, n, n // 20]
                    command = [sys.executable, "-m", _PRODUCER, *map(str, arguments)]
                    sent = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                until = time.monotonic() + 30
                while reader.status.counts.accepted < n and time.monotonic() < until:
                    time.sleep(0.01)
                reader.stop()
                running.join()
                wrong = (
                    payments.wrong_answer(made, store)
                    if reader.status.counts.accepted == n
                    else "events are missing"
                )
        source.close()
    all_ages = np.concatenate(ages)
    return {
        **_record("streams/freshness", "s", float(np.percentile(all_ages, 99)), wrong),
        "rows": n, "events_per_second": rate, "p50": suite.rounded(float(np.median(all_ages))),
        "sent_late_p99": suite.rounded(float(sent.stdout)),
    }  # fmt: skip


_VIEW: Final = ports.ViewSchema("pushed", ("user",), tuple((f"f{i}", "float32") for i in range(10)), None)


def _visible(*, pushes: int, is_durable: bool) -> dict[str, Any]:
    """One row is pushed and read back, p99; durable: the disk has it before anybody sees it."""
    seconds, wrong = np.empty(pushes), None
    with tempfile.TemporaryDirectory() as folder:
        with online.OnlineStore(Path(folder) / "online" if is_durable else None) as store:
            store.register(_VIEW)
            for i in range(pushes):
                columns: dict[str, Any] = {
                    name: np.array([i + j], np.float32) for j, name in enumerate(_VIEW.field_names)
                }
                at = np.array([i + 1])
                began = time.perf_counter()
                store.upsert("pushed", {"user": [i % 100]}, event_us=at, created_us=at, columns=columns)
                got = store.read("pushed", {"user": [i % 100]}, now_us=i + 1)
                seconds[i] = time.perf_counter() - began
                if got.values["f9"][0] != np.float32(i + 9):
                    wrong = "another value than the one pushed"
    name = "push/visible-on-disk" if is_durable else "push/visible"
    p99, p50 = np.percentile(seconds * 1000, [99, 50])
    return {**_record(name, "ms", float(p99), wrong), "rows": 1, "p50": suite.rounded(float(p50))}


def _durable(*, rows: int, rounds: int) -> dict[str, Any]:
    """Rows of ten float32 in batches of 20,000, each on disk before the next, everything on one core."""
    choose = np.random.default_rng(3)
    users = choose.permutation(rows).tolist()
    block = choose.random((10, rows), np.float32)
    at = np.arange(1, rows + 1)
    seconds, wrong = [], None
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder, machine.on_core(machine.cores()[0]):
            with online.OnlineStore(Path(folder) / "online") as store:
                store.register(_VIEW)
                began = time.perf_counter()
                for i in range(0, rows, 20_000):
                    part = slice(i, i + 20_000)
                    columns: dict[str, Any] = {f"f{j}": block[j, part] for j in range(10)}
                    store.upsert(
                        "pushed",
                        {"user": users[part]},
                        event_us=at[part],
                        created_us=at[part],
                        columns=columns,
                    )
                seconds.append(time.perf_counter() - began)
            with online.OnlineStore(Path(folder) / "online") as store:  # what the disk has
                got = store.read("pushed", {"user": users[:1000]}, now_us=rows)
                if store.counts() != {"pushed": rows} or not np.array_equal(
                    got.values["f3"], block[3, :1000]
                ):
                    wrong = "the disk has other rows than were pushed"
    return {**_record("push/durable", "rows/s", rows / statistics.median(seconds), wrong), "rows": rows}


def _record(name: str, unit: str, value: float, wrong: str | None) -> dict[str, Any]:
    record = {
        "name": name, "unit": unit, "contestant": "mainspring", "threads": 1, "correct": wrong is None,
        "value": suite.rounded(value) if wrong is None else None,
    }  # fmt: skip
    return record if wrong is None else record | {"wrong": wrong}
