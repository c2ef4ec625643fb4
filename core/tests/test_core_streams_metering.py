"""Events of streams are metered once: through crashes, an API that is away, lost states and states of older releases."""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import core_streams_world as world
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mainspring.core import cost, errors
from mainspring.core import settings as core_settings
from mainspring.core.contracts import training
from mainspring.core.features import online
from mainspring.core.features.streams import consumer, metering, metrics, sinks, topic
from mainspring.core.features.streams.records import Records, records
from mainspring.core.features.streams.snapshots import SnapshotFolder
from mainspring.core.features.streams.state import StreamState

NOW_US = world.T0 + 3600 * world.SECOND
FAST = consumer.ConsumerOptions(
    max_records=7, poll_seconds=0.01, snapshot_seconds=0.0, first_retry_seconds=0.001
)
OWNER = metering.Owner("shop", "orders", "prod")


class Crash(BaseException):
    """The process ends here: no handler of ours may see it."""


class Ledger:
    """The control API: a key once, the same record again, and another one under it refused. `dies_at`: the process dies at that
    call, before it is received or after; `error`: what it answers with."""

    def __init__(self) -> None:
        self.records: dict[str, training.UsageRecord] = {}
        self.calls = 0
        self.dies_at = 0
        self.error: errors.MainspringError | None = None

    def __call__(self, record: training.UsageRecord) -> None:
        self.calls += 1
        if self.error is not None:
            raise self.error
        if self.calls == self.dies_at and self.calls % 2:
            raise Crash
        if self.records.setdefault(record.usage_key, record) != record:
            raise errors.Conflict("taken by another record", resource="usage", name=record.usage_key)
        if self.calls == self.dies_at:
            raise Crash

    @property
    def events(self) -> int:
        return sum(round(one.consumed_quantity * 1e6) for one in self.records.values())


def produced(n: int, partitions: int = 2) -> topic.MemoryTopic:
    made = topic.MemoryTopic(partitions)
    values = world.encoded([world.event(i, order=f"{i}") for i in range(n)])
    for i, value in enumerate([*values, b"no event", None]):
        made.produce([value], partition=i % partitions, timestamp_us=NOW_US)
    return made


@contextlib.contextmanager
def reading(folder: Path, source: topic.Topic) -> Iterator[consumer.StreamConsumer]:
    sink = sinks.StoreSink(online.OnlineStore())
    with consumer.StreamConsumer(world.STREAM, source, sink, folder=folder, options=FAST) as reader:
        yield reader


@contextlib.contextmanager
def telling(meter: metering.Meter | None, send: Any) -> Iterator[metering.Teller]:
    assert meter is not None
    teller = metering.Teller(meter, OWNER, send, every_seconds=3600.0)
    try:
        yield teller
    except Crash:
        # It is gone with its process.
        teller.tell = lambda: None  # type: ignore[method-assign]
        raise
    finally:
        teller.close()


def read_all(folder: Path, source: topic.Topic, ledger: Ledger) -> consumer.StreamStatus:
    """A reader that tells at each snapshot, as often as can be."""
    with reading(folder, source) as reader, telling(reader.meter, ledger) as teller:
        assert reader.meter is not None
        keep = reader.meter.keep

        def kept(counted: Any) -> None:
            keep(counted)
            teller.tell()

        def patient(**asked: Any) -> Records:
            if reader._writing is not None:  # each batch has its snapshot
                futures.wait([reader._writing])
            return poll(**asked)

        reader.meter.keep = kept  # type: ignore[method-assign]
        poll, source.poll = source.poll, patient  # type: ignore[method-assign]
        try:
            return reader.run(until_idle=True)
        finally:
            source.poll = poll  # type: ignore[method-assign]


def test_each_record_of_the_topic_is_charged_once_dead_letters_too(tmp_path: Path) -> None:
    source, ledger = produced(100), Ledger()
    status = read_all(tmp_path, source, ledger)
    assert ledger.events == 102 == status.counts.seen and len(ledger.records) > 10
    (owner,) = {(r.project, r.environment, r.service, r.run_id, r.sku) for r in ledger.records.values()}
    assert owner == ("shop", "prod", "streams", "stream/orders", "million_events")
    told = sorted(ledger.records.values(), key=lambda one: one.ended_at)
    assert all(a.ended_at == b.started_at for a, b in itertools.pairwise(told)), "no time between them"
    book = core_settings.load({}, directory=tmp_path).cost
    assert cost.price(told[0], book).list_unit_price == book.million_events
    read_all(tmp_path, source, ledger)
    assert ledger.events == 102, "a second start has nothing to tell"
    source.produce(world.encoded([world.event(5, order="new")]), timestamp_us=NOW_US)
    read_all(tmp_path, source, ledger)
    assert ledger.events == 103


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 12)), min_size=1, max_size=4))
def test_a_crash_anywhere_charges_nothing_twice_and_loses_nothing(
    tmp_path_factory: pytest.TempPathFactory, crashes: list[tuple[int, int]]
) -> None:
    folder, ledger = tmp_path_factory.mktemp("state"), Ledger()
    for sent, committed in crashes:
        source = produced(60)
        ledger.dies_at = ledger.calls + sent
        source.commit = dying(source.commit, committed)  # type: ignore[method-assign, assignment]
        with contextlib.suppress(Crash):
            read_all(folder, source, ledger)
    ledger.dies_at = 0
    read_all(folder, produced(60), ledger)
    assert ledger.events == 62


def dying(act: Callable[[Any], None], left: int) -> Callable[[Any], None]:
    """It ends the process once it was called `left` times: a snapshot is written by then, and nobody has noted that."""
    calls = itertools.count(1)

    def call(offsets: Any) -> None:
        if next(calls) == left:
            raise Crash
        act(offsets)

    return call


def test_what_was_sealed_is_told_again_as_it_was_and_the_next_one_has_the_rest(tmp_path: Path) -> None:
    """A reader that is killed while the control API is away, and whose clock goes back meanwhile."""
    meter, sent = of_counts(tmp_path, 10), Ledger()
    record = meter.record(OWNER)
    assert record is not None and meter.untold == 10
    again = metering.Meter(tmp_path, now=lambda: datetime(2001, 1, 1, tzinfo=UTC))
    again.open({metering.ARRAY: metering.to_array({0: metering.Mark(first=3, next=43, events=40)})}, {})
    assert again.record(OWNER) == record and again.untold == 40
    sent(record)
    again.received()
    rest = again.record(OWNER)
    assert rest is not None and rest.usage_key != record.usage_key
    assert round(rest.consumed_quantity * 1e6) == 30
    assert rest.started_at == record.ended_at == rest.ended_at, "no time of negative length"


def of_counts(folder: Path, events: int, **more: Any) -> metering.Meter:
    folder.mkdir(exist_ok=True)
    meter = metering.Meter(folder, **more)
    meter.open(None, {})
    meter.take(batch(np.arange(3, 3 + events)))
    meter.keep(meter.counted())
    return meter


def batch(offsets: Any, partition: int = 0) -> Records:
    made = records([b"x"] * len(offsets), timestamp_us=NOW_US, partition=partition)
    return Records(made.partition, np.asarray(offsets, np.int64), made.timestamp_us, made.keys, made.values)


def test_offsets_that_are_not_there_are_not_charged(tmp_path: Path) -> None:
    """A topic that was read from its middle, was compacted, and gives records twice."""
    meter = metering.Meter(tmp_path)
    meter.open(None, {})
    for offsets in ([500, 501, 507], [501, 507, 510], [510]):
        meter.take(batch(offsets))
    assert meter.counted() == {0: metering.Mark(first=500, next=511, events=4)}
    assert meter.untold == 0 and meter.record(OWNER) is None, "no snapshot has them"
    meter.keep(meter.counted())
    record = meter.record(OWNER)
    assert record is not None and record.consumed_quantity == 4e-6
    meter.take(batch([600]))
    assert meter.untold == 4, "nor this one"


def test_while_the_control_api_is_away_one_record_waits_however_long(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger()
    ledger.error = errors.DependencyDown("`control` does not answer; start it", name="control")
    source = produced(60)
    with caplog.at_level(logging.WARNING, metering.__name__):
        status = read_all(tmp_path, source, ledger)
    assert [r.message for r in caplog.records].count(
        "usage of stream `orders` waits: `control` does not answer; start it"
    ) == 1
    assert status.counts.seen == 62 and ledger.calls > 10
    with reading(tmp_path, source) as reader:
        assert reader.meter is not None and reader.meter.untold == 62
        text = metrics_of(reader)
        assert "mainspring_stream_untold_events" in text
    assert len((tmp_path / "usage.json").read_bytes()) < 2000
    ledger.error = None
    read_all(tmp_path, source, ledger)
    assert ledger.events == 62 and len(ledger.records) == 2, "what waited, and all that came meanwhile"


def metrics_of(reader: consumer.StreamConsumer) -> str:
    import prometheus_client

    return prometheus_client.generate_latest(metrics.registry(lambda: [reader.status])).decode()


def test_a_record_that_is_refused_for_good_is_kept_aside_and_holds_nothing_up(tmp_path: Path) -> None:
    meter, ledger = of_counts(tmp_path, 10), Ledger()
    record = meter.record(OWNER)
    assert record is not None
    ledger.records[record.usage_key] = record.model_copy(update={"consumed_quantity": 1.0})
    with telling(meter, ledger):
        pass
    aside = (tmp_path / "usage.refused.jsonl").read_text().splitlines()
    assert [training.UsageRecord.model_validate_json(line) for line in aside] == [record]
    assert meter.untold == 0
    # Whoever may not tell yet, or of a project that is not there yet, is heard later.
    meter.take(batch([20]))
    meter.keep(meter.counted())
    for error in (
        errors.PermissionDenied("no", actor="ana", action="usage.record"),
        errors.NotFound("no project `shop`", resource="project", name="shop"),
    ):
        ledger.error = error
        with telling(meter, ledger):
            pass
        assert meter.untold == 1
    ledger.error = None
    with telling(meter, ledger):
        pass
    assert meter.untold == 0 and len((tmp_path / "usage.refused.jsonl").read_text().splitlines()) == 1


def test_a_lost_state_is_read_again_and_not_charged_again(tmp_path: Path) -> None:
    source, ledger = produced(60), Ledger()
    read_all(tmp_path, source, ledger)
    (tmp_path / "state.npz").unlink()
    assert read_all(tmp_path, source, ledger).counts.seen == 62 == ledger.events
    source.produce(world.encoded([world.event(5, order="new")]), timestamp_us=NOW_US)
    read_all(tmp_path, source, ledger)
    assert ledger.events == 63


def test_a_lost_state_is_not_charged_again_where_the_topic_begins_later_by_then(tmp_path: Path) -> None:
    with telling(of_counts(tmp_path, 10), Ledger()):  # of offsets 3 to 12
        pass
    again = metering.Meter(tmp_path)
    again.open(None, {})
    again.take(batch(np.arange(8, 15)))
    again.keep(again.counted())
    assert again.untold == 2 and again.counted() == {0: metering.Mark(first=3, next=15, events=12)}


def test_a_state_of_a_release_without_counts_is_charged_from_where_it_ends(tmp_path: Path) -> None:
    state = StreamState(world.STREAM)
    source, ledger = produced(60, partitions=1), Ledger()
    state.apply(source.poll(max_records=40, timeout_seconds=1.0))
    with SnapshotFolder(tmp_path) as folder:
        folder.save(world.STREAM, state.to_arrays())
    read_all(tmp_path, source, ledger)
    assert ledger.events == 62 - 40
    # And one that such a release wrote later: what that read is nobody's.
    source.produce(world.encoded([world.event(5, order=f"n{i}") for i in range(10)]), timestamp_us=NOW_US)
    with SnapshotFolder(tmp_path) as folder:
        arrays = folder.load(world.STREAM)
        assert arrays is not None
        del arrays[metering.ARRAY]
        arrays["offsets"] = np.array([[0, 70]], np.int64)
        folder.save(world.STREAM, arrays)
    read_all(tmp_path, source, ledger)
    assert ledger.events == 22 + 2


def test_two_readers_of_one_topic_pay_each_for_what_it_read(tmp_path: Path) -> None:
    ledger = Ledger()
    for name in ("east", "west"):
        with telling(of_counts(tmp_path / name, 10), ledger):
            pass
    assert ledger.events == 20 and len(ledger.records) == 2


def test_marks_that_are_damaged_are_refused_and_not_guessed(tmp_path: Path) -> None:
    (tmp_path / "usage.json").write_text("{")
    with pytest.raises(errors.CorruptArtifact, match="does not say which events were charged"):
        with reading(tmp_path, produced(3)):
            pass
    (tmp_path / "usage.json").unlink()
    with reading(tmp_path, produced(3)):
        pass  # the refused one has let go of the folder


def test_a_disk_that_refuses_does_not_stop_the_reader(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    meter, ledger = of_counts(tmp_path, 10), Ledger()
    (tmp_path / "usage.json").mkdir()
    with telling(meter, ledger):
        pass
    assert ledger.calls == 0 and meter.untold == 10 and "waits" in caplog.text


def test_a_teller_tells_by_itself(tmp_path: Path) -> None:
    meter, ledger = of_counts(tmp_path, 10, now=lambda: datetime.now(UTC) - timedelta(days=1)), Ledger()
    teller = metering.Teller(meter, OWNER, ledger, every_seconds=0.005)
    until = time.monotonic() + 30
    while not ledger.records and time.monotonic() < until:
        time.sleep(0.005)
    teller.close()
    teller.close()
    assert ledger.events == 10 and ledger.calls == 1
    assert "stream-usage" not in [t.name for t in threading.enumerate()]
