"""How many events a reader took in, told to the control API: each once, wherever the reader is killed.

Records are counted by partition and offset, so what is read again is not counted again, and the count is a part of the snapshot
that it is of. What a snapshot has and no record had becomes the next record, which is on disk before it is sent and is sent
as it is until it is received. There is one at a time: while the control API is away nothing but the difference grows.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from mainspring.core import durable, errors, ids
from mainspring.core.contracts import training
from mainspring.core.contracts.base import Message, UtcTime, utc_now
from mainspring.core.features.streams.records import Records
from mainspring.core.lineage import spool

__all__ = ["ARRAY", "SERVICE", "Mark", "Meter", "Owner", "Teller", "to_array"]

_LOG: Final = logging.getLogger(__name__)

#: The counts, in a snapshot.
ARRAY: Final = "metered"
SERVICE: Final = "streams"
#: A row of the ledger and of the audit log each.
TELL_SECONDS: Final = 60.0

_FILE: Final = "usage.json"
_REFUSED: Final = "usage.refused.jsonl"
_REFUSED_BYTES: Final = 1 << 20
_MILLION: Final = 1_000_000


class Mark(Message):
    """Of one partition: `events` taken in from offsets [`first`, `next`). Offsets have gaps, so it may be fewer."""

    first: int
    next: int
    events: int


class _Told(Message):
    """What is in a record: in `record`, or in one that was received."""

    reader: str
    """Two readers of one topic may have the same offsets."""
    at: UtcTime
    marks: dict[int, Mark]
    record: training.UsageRecord | None = None
    """Not received yet."""


@dataclass(frozen=True)
class Owner:
    """Who pays for a stream."""

    project: str
    stream: str
    environment: str

    def work_id(self, reader: str) -> str:
        """What keys of a reader's usage begin with, which is how money that is kept free for it is told from others'."""
        return f"stream/{self.project}/{self.stream}/{reader}"


class Meter:
    """The counts of the reader that holds `folder`. `take`, `counted` and `keep` are the reader's, in its one thread; `record`,
    `received` and `refused` one other thread's.

    Errors: CorruptArtifact for a file that does not read.
    """

    def __init__(self, folder: Path, now: Callable[[], datetime] = utc_now) -> None:
        self._path, self._now = folder / _FILE, now
        self._begun = now()
        self._told = self._read()
        self._taken: dict[int, Mark] = {}
        self._kept: Mapping[int, Mark] = {}

    def open(self, arrays: Mapping[str, NDArray[Any]] | None, next_offsets: Mapping[int, int]) -> None:
        """Go on from a snapshot, which is read on from `next_offsets`; None: there is none. What it took in before there were
        counts is not charged, nor is what is read once more because a snapshot was lost."""
        told = {} if self._told is None else self._told.marks
        if arrays is not None and ARRAY in arrays:
            rows = arrays[ARRAY].tolist()
            found = {int(p): Mark(first=first, next=next_, events=n) for p, first, next_, n in rows}
        else:
            found = {
                p: Mark(first=told[p].first, next=offset, events=told[p].events)
                if p in told
                else Mark(first=offset, next=offset, events=0)
                for p, offset in next_offsets.items()
            }
        further = {p: mark for p, mark in told.items() if p not in found or mark.next > found[p].next}
        self._taken = {**found, **further}
        self._kept = dict(self._taken)

    def take(self, batch: Records) -> None:
        """Count the records that were not counted before."""
        for partition in np.unique(batch.partition).tolist():
            offsets = batch.offset[batch.partition == partition]
            begin = int(offsets.min())
            mark = self._taken.get(partition) or Mark(first=begin, next=begin, events=0)
            new = int((offsets >= mark.next).sum())
            if new:
                end = int(offsets.max()) + 1
                self._taken[partition] = Mark(first=mark.first, next=end, events=mark.events + new)

    def counted(self) -> dict[int, Mark]:
        """By now, for :meth:`keep` once they are on disk."""
        return dict(self._taken)

    def keep(self, counted: Mapping[int, Mark]) -> None:
        """A snapshot has these."""
        self._kept = counted

    @property
    def reader(self) -> str:
        """Whose records they are: keys of usage have it, and it stays with the folder. Errors: OSError."""
        if self._told is None:
            self._write(_Told(reader=ids.new_id("rdr"), at=self._begun, marks={}))
        assert self._told is not None
        return self._told.reader

    @property
    def taken(self) -> int:
        """Events by now, in a snapshot or not, since there are counts. Any thread."""
        return _events(dict(self._taken))

    @property
    def untold(self) -> int:
        """Events that a snapshot has and the control API has not received. Any thread."""
        return self._untold(self._kept)

    @property
    def unrecorded(self) -> int:
        """The same with those that no snapshot has yet. Any thread."""
        return self._untold(dict(self._taken))

    def _untold(self, events: Mapping[int, Mark]) -> int:
        told = self._told
        if told is None:
            return _events(events)
        waiting = 0 if told.record is None else round(told.record.consumed_quantity * _MILLION)
        return _events(events) - _events(told.marks) + waiting

    def record(self, owner: Owner) -> training.UsageRecord | None:
        """What is to be sent now: the same until it was received. None: nothing. Errors: OSError."""
        told = self._told
        if told is not None and told.record is not None:
            return told.record
        before = {} if told is None else told.marks
        new = {
            p: mark
            for p, mark in self._kept.items()
            if mark.events > (before[p].events if p in before else 0)
        }
        if not new:
            return None
        reader, since = self.reader, self._begun if told is None else told.at
        at = max(since, self._now())
        ranges = ",".join(
            f"{p}:{before[p].next if p in before else mark.first}-{mark.next}"
            for p, mark in sorted(new.items())
        )
        name = hashlib.sha256("\0".join((reader, owner.environment, ranges)).encode()).hexdigest()[:32]
        record = training.UsageRecord(
            usage_key=f"{owner.work_id(reader)}/{name}",
            run_id=f"stream/{owner.stream}",
            project=owner.project,
            environment=owner.environment,
            service=SERVICE,
            sku="million_events",
            consumed_quantity=(_events(new) - _events({p: before[p] for p in new if p in before})) / _MILLION,
            consumed_unit="millions",
            started_at=since,
            ended_at=at,
        )
        self._write(_Told(reader=reader, at=at, marks={**before, **new}, record=record))
        return record

    def received(self) -> None:
        """The record is on record. Errors: OSError."""
        if self._told is not None:
            self._write(self._told.model_copy(update={"record": None}))

    def refused(self) -> None:
        """It never will be: it is kept beside, for a person to look at. Errors: OSError."""
        if self._told is None or self._told.record is None:
            return
        aside = spool.Lines(self._path.with_name(_REFUSED), max_bytes=_REFUSED_BYTES)
        aside.append(self._told.record.model_dump_json().encode())
        self.received()

    def _write(self, told: _Told) -> None:
        durable.replace_file(self._path, told.model_dump_json(indent=1).encode())
        self._told = told

    def _read(self) -> _Told | None:
        try:
            return _Told.model_validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            raise errors.CorruptArtifact(
                f"`{self._path}` does not say which events were charged: {error}; put it back from a copy, or move it away,"
                " and all that the state counted is charged again",
                artifact=str(self._path),
                expected="marks of partitions",
                got=str(error),
            ) from error


def to_array(counted: Mapping[int, Mark]) -> NDArray[np.int64]:
    """A row a partition, for a snapshot."""
    rows = [(p, mark.first, mark.next, mark.events) for p, mark in sorted(counted.items())]
    return np.array(rows, np.int64).reshape(-1, 4)


def _events(marks: Mapping[int, Mark]) -> int:
    return sum(mark.events for mark in marks.values())


class Teller:
    """Sends what a meter has every `every_seconds`, from a thread of its own; `close` does so for the last time.

    Whatever becomes of it, reading goes on. `send` raises errors of ours.
    """

    def __init__(
        self,
        meter: Meter,
        owner: Owner,
        send: Callable[[training.UsageRecord], object],
        *,
        every_seconds: float = TELL_SECONDS,
        look: Callable[[], None] = lambda: None,
        look_seconds: float = 1.0,
    ) -> None:
        """`look` is called again and again, by the same thread as `send`: what was sent and what is left are never of two moments."""
        self._meter, self._owner, self._send, self._every_seconds = meter, owner, send, every_seconds
        self._look, self._look_seconds = look, min(look_seconds, every_seconds)
        self._problem = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stream-usage", daemon=True)
        self._thread.start()

    def tell(self) -> None:
        """All that a snapshot has, until something is not received: it comes again, as it was."""
        try:
            while (record := self._meter.record(self._owner)) is not None:
                try:
                    self._send(record)
                except errors.Conflict as error:
                    _LOG.error(
                        "usage of stream `%s` was refused and is kept aside: %s", self._owner.stream, error
                    )
                    self._meter.refused()
                else:
                    self._meter.received()
                    self._problem = ""
        except (errors.MainspringError, OSError) as error:
            if self._problem != str(error):
                _LOG.warning("usage of stream `%s` waits: %s", self._owner.stream, error)
            self._problem = str(error)

    def close(self) -> None:
        """Twice is once."""
        if self._stop.is_set():
            return
        self._stop.set()
        self._thread.join()
        self.tell()

    def _run(self) -> None:
        due = time.monotonic() + self._every_seconds
        while not self._stop.wait(self._look_seconds):
            self._look()
            if time.monotonic() >= due:
                due = time.monotonic() + self._every_seconds
                self.tell()
