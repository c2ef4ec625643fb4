"""Reads a stream: events into state, rows into the sink, letters to the dead, and snapshots that make it exactly once.

Once around: poll, apply, bury, push; from time to time a snapshot of the state with the offsets it is of. Rows are durable before
a snapshot that knows of them is begun, so after a crash the events since the last snapshot are read again, give the
same rows again, and a store that keeps the newest row by (event time, created time) ends as if nothing had been
(docs/adr/0012).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent import futures
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from mainspring.core import errors
from mainspring.core.features.streams import metering
from mainspring.core.features.streams.definition import StreamDefinition
from mainspring.core.features.streams.forgetting import Erased
from mainspring.core.features.streams.history import History
from mainspring.core.features.streams.keys import ViewRows
from mainspring.core.features.streams.records import Records
from mainspring.core.features.streams.sinks import Sink
from mainspring.core.features.streams.snapshots import SnapshotFolder
from mainspring.core.features.streams.state import Counts, StreamState
from mainspring.core.features.streams.topic import Topic

__all__ = ["ConsumerOptions", "StreamConsumer", "StreamStatus"]

T = TypeVar("T")

#: The number of the next part of the history, in a snapshot.
_PART: Final = "history.part"

_log: Final = logging.getLogger(__name__)


class _Stopped(Exception):
    """A stop came while something was being tried again."""


@dataclass(frozen=True)
class ConsumerOptions:
    """How a stream is read. Every default is safe; they trade latency, memory and work after a crash."""

    max_records: int = 20_000
    """Records of one batch."""
    poll_seconds: float = 0.5
    """How long to wait for the first record of a batch; a stop takes no longer than this."""
    snapshot_seconds: float = 10.0
    """How often the state is written. After a crash so much of the topic is read again: keep it longer than that."""
    first_retry_seconds: float = 0.1
    """The first wait when the broker, the sink or the disk does not answer; it doubles up to the longest."""
    longest_retry_seconds: float = 5.0


@dataclass(frozen=True)
class StreamStatus:
    """How a stream stands, at one moment."""

    stream: str
    counts: Counts
    rows: int = 0
    """Rows pushed since the process began."""
    lag: int = 0
    """Records of all partitions that wait, as far as was last known."""
    records_per_second: float = 0.0
    """Of the last batches."""
    freshness_seconds: float = 0.0
    """Of the last batch: from the oldest record's own time until its effect was readable."""
    watermark_us: int = -1
    """The newest event time of the partition that is furthest behind; -1: no event yet."""
    snapshots: int = 0
    """State files written since the process began."""
    snapshot_bytes: int = 0
    untold: int = 0
    """Events of the last snapshot that the control API has not received, to charge them."""
    problem: str = ""
    """What is being retried, or keeps the broker from answering; empty: all is well."""


class StreamConsumer:
    """One reader of one stream. `run` in one thread; `stop` and `status` from any.

    `folder` None: no snapshots. Then a start reads the topic from its beginning, which is right, and slow.
    `meter` counts what was taken in, for whoever tells it (`metering.Teller`); None without snapshots.
    `history`: rows of closed hops go there with every snapshot, each once.
    `erased`: who was erased, the same object as long as those are the same: nothing is kept of them, and the next snapshot is
    without them even if no event comes.
    """

    def __init__(
        self,
        stream: StreamDefinition,
        topic: Topic,
        sink: Sink,
        *,
        folder: Path | None,
        history: History | None = None,
        options: ConsumerOptions | None = None,
        on_status: Callable[[StreamStatus], None] = lambda status: None,
        erased: Callable[[], Erased | None] = lambda: None,
    ) -> None:
        if history is not None and folder is None:
            raise errors.InvalidRequest(
                f"stream `{stream.name}` has a history and no state folder, whose snapshots say what is in it; give one",
                field="folder",
            )
        self._stream, self._topic, self._sink = stream, topic, sink
        self._history = history
        self._closed: list[ViewRows] = []
        self._handed_over: list[ViewRows] = []
        self._part = 0
        self._options = options or ConsumerOptions()
        self._on_status = on_status
        self._erased = erased
        self._forgotten: Erased | None = None
        self._has_forgotten = False
        self._stopped = threading.Event()
        self._folder = None if folder is None else SnapshotFolder(folder)
        self._written_counts: Mapping[int, metering.Mark] = {}
        self._writer = futures.ThreadPoolExecutor(1, thread_name_prefix="stream-snapshot")
        self._writing: futures.Future[int] | None = None
        self._written_offsets: dict[int, int] = {}
        self._snapshot_due = 0.0
        self._snapshot_problem = ""
        # INVARIANT: while this is true the state must not be written: it knows of events whose rows are not durable.
        self._is_ahead = False
        try:
            arrays = None if self._folder is None else self._folder.load(stream)
            self._state = self._opened_state(arrays)
            self.meter = None if folder is None else metering.Meter(folder)
            if self.meter is not None:
                self.meter.open(arrays, self._state.next_offsets)
        except BaseException:
            self.close()
            raise
        self._saved_offsets = self._state.next_offsets
        self._status = StreamStatus(stream.name, replace(self._state.counts))
        self._last_batch = time.monotonic()

    def _opened_state(self, arrays: Mapping[str, NDArray[Any]] | None) -> StreamState:
        has_history = self._history is not None
        if arrays is None:
            state = StreamState(self._stream, has_history=has_history)
            part = None
        else:
            state = StreamState.from_arrays(self._stream, arrays, has_history=has_history)
            part = self._part = int(arrays[_PART][0]) if has_history else 0
        if self._history is not None and self._folder is not None:
            self._history.open(part)
            if part is None:
                # So that parts without a state are always a state that was lost.
                self._folder.save(self._stream, state.to_arrays() | {_PART: np.zeros(1, np.int64)})
        return state

    @property
    def status(self) -> StreamStatus:
        """The newest status. Any thread."""
        return self._status

    def stop(self) -> None:
        """Let `run` finish its batch, take a snapshot and return. Any thread, a signal handler too."""
        self._stopped.set()

    def run(self, *, until_idle: bool = False, resend: bool = False) -> StreamStatus:
        """Read until `stop`, or with `until_idle` until nothing waits. How it stands at the end.

        `resend`: first push the newest row of every key again, for a sink that lost its rows.
        Errors: what is not worth trying again: NotFound, Conflict, SchemaMismatch, ... The state on disk stays that of
                the last snapshot.
        """
        try:
            self._insist(lambda: self._sink.open([view.schema() for view in self._stream.views]))
            self._insist(lambda: self._topic.seek(self._state.next_offsets))
            self._forget()
            if resend:
                self._insist(self._resend)
            self._snapshot_due = time.monotonic() + self._options.snapshot_seconds
            while not self._stopped.is_set():
                self._forget()
                batch = self._insist(self._poll)
                self._take(batch)
                self._look_after_snapshot()
                if until_idle and not len(batch) and self._is_idle():
                    break
        except _Stopped:
            _log.info("stream `%s`: stopped while it waited for: %s", self._stream.name, self._status.problem)
        self._finish()
        return self._status

    def close(self) -> None:
        """Let go of the folder; the topic and the sink are the caller's."""
        self._writer.shutdown()
        if self._folder is not None:
            self._folder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _forget(self) -> None:
        """Whoever was erased since the last look goes from the state, and from rows on their way into the history."""
        erased = self._erased()
        if erased is self._forgotten:
            return
        self._forgotten = erased
        n = self._state.forget(erased)
        if erased is not None:
            self._closed = _of_others(self._closed, erased)
            self._handed_over = _of_others(self._handed_over, erased)
        if n:
            self._has_forgotten = True
            _log.info("stream `%s`: %d keys are of erased subjects and are forgotten", self._stream.name, n)

    def _poll(self) -> Records:
        return self._topic.poll(
            max_records=self._options.max_records, timeout_seconds=self._options.poll_seconds
        )

    def _take(self, batch: Records) -> None:
        """A batch into the state, and its effects out."""
        self._is_ahead = True
        applied = self._state.apply(batch)
        if self.meter is not None:
            self.meter.take(batch)
        if applied.dead:
            self._insist(lambda: self._topic.bury(applied.dead))
        for rows in applied.rows:
            self._insist(partial(self._sink.push, rows))
        self._is_ahead = False
        self._closed += applied.closed
        self._tell(batch, sum(map(len, applied.rows)))

    def _is_idle(self) -> bool:
        return not self._topic.problem() and not any(self._topic.lag(self._state.next_offsets).values())

    def _resend(self) -> None:
        for rows in self._state.newest_rows():
            self._sink.push(rows)

    def _insist(self, act: Callable[[], T]) -> T:
        """The result of `act`, however often it takes. Raises _Stopped if a stop came before."""
        wait = self._options.first_retry_seconds
        while True:
            try:
                return act()
            except (errors.Unavailable, errors.Busy) as error:
                if self._status.problem != error.message:
                    _log.warning("stream `%s`: %s; trying again", self._stream.name, error.message)
                self._set(replace(self._status, problem=error.message, lag=self._lag()))
            if self._stopped.wait(wait):
                raise _Stopped
            wait = min(2 * wait, self._options.longest_retry_seconds)

    def _look_after_snapshot(self) -> None:
        """Begin one where it is due, and note one that is done."""
        if self._writing is not None and self._writing.done():
            self._note_written()
        now = time.monotonic()
        if self._writing is None and now >= self._snapshot_due:
            self._snapshot_due = now + self._options.snapshot_seconds
            self._begin_snapshot()

    def _begin_snapshot(self) -> None:
        folder, offsets = self._folder, self._state.next_offsets
        is_saved = offsets == self._saved_offsets and not self._has_forgotten
        if folder is None or self._is_ahead or is_saved:
            return
        self._has_forgotten = False
        # Copies: the file is written while the next batches change the state.
        arrays = self._state.to_arrays()
        self._written_offsets = offsets
        if self.meter is not None:
            self._written_counts = self.meter.counted()
            arrays[metering.ARRAY] = metering.to_array(self._written_counts)
        closed, self._handed_over, self._closed = self._closed, self._closed, []
        part, history = self._part, self._history
        if history is not None:
            arrays[_PART] = np.array([part + bool(closed)], np.int64)

        def write() -> int:
            if history is not None and closed:
                history.write(part, closed)
            return folder.save(self._stream, arrays)

        self._writing = self._writer.submit(write)

    def _note_written(self) -> None:
        """Take note of a snapshot that is written, or was refused. Waits for it."""
        assert self._writing is not None
        writing, self._writing = self._writing, None
        try:
            size = writing.result()
        except errors.DependencyDown as error:
            # The last one stands, and the next one is tried when it is due; meanwhile events go on counting.
            self._has_forgotten = True
            self._closed, self._handed_over = self._handed_over + self._closed, []
            _log.warning("stream `%s`: %s", self._stream.name, error.message)
            self._snapshot_problem = error.message
            self._set(replace(self._status, problem=error.message))
            return
        self._snapshot_problem = ""
        self._part, self._handed_over = self._part + bool(self._handed_over), []
        self._saved_offsets = self._written_offsets
        if self.meter is not None:
            self.meter.keep(self._written_counts)
        self._set(replace(self._status, snapshots=self._status.snapshots + 1, snapshot_bytes=size))
        try:
            self._topic.commit(self._saved_offsets)
        except errors.Unavailable as error:
            _log.warning("stream `%s`: %s", self._stream.name, error.message)

    def _finish(self) -> None:
        """The last snapshot; without it, more events are read again."""
        if self._writing is not None:
            self._note_written()
        self._begin_snapshot()
        if self._writing is not None:
            self._note_written()

    def _tell(self, batch: Records, rows: int) -> None:
        now, n = time.monotonic(), len(batch)
        watermarks = self._state.watermarks_us.values()
        status = replace(
            self._status,
            counts=replace(self._state.counts),
            rows=self._status.rows + rows,
            lag=self._lag(),
            watermark_us=min(watermarks, default=-1),
            untold=0 if self.meter is None else self.meter.untold,
            problem=self._topic.problem() or self._snapshot_problem,
        )
        if n:
            # A mean over about the last ten batches, by their own length in time.
            rate = n / max(now - self._last_batch, 1e-6)
            status = replace(
                status,
                records_per_second=0.9 * status.records_per_second + 0.1 * rate
                if status.records_per_second
                else rate,
                freshness_seconds=time.time() - int(batch.timestamp_us.min()) / 1e6,
            )
        self._last_batch = now
        self._set(status)

    def _lag(self) -> int:
        return sum(max(lag, 0) for lag in self._topic.lag(self._state.next_offsets).values())

    def _set(self, status: StreamStatus) -> None:
        self._status = status
        self._on_status(status)


def _of_others(rows: list[ViewRows], erased: Erased) -> list[ViewRows]:
    return [some.without(erased.rows(some.keys, len(some))) for some in rows]
