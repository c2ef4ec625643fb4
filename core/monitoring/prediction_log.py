"""What a serving process answered, whole or a sample, in Parquet: for drift, for labels that come later, for audit.

    <folder>/<endpoint>/<first 16 hex digits of the bundle>/<microseconds>-<process>-<number>.parquet

    time, as_of        UTC microseconds: when it was answered, and of when its features are
    endpoint, model_version, traffic_version, role, request_id, row, caller, by_entity
    key__<name>        the entity; null for a prediction by row
    feature__<name>    what the model's plan was given; null: missing, whatever the reason
    score              float32
    latency_ms         of the whole request, in the plane

Requests never wait for it and never fail by it: they put their arrays into a bounded buffer, a thread writes, and what is too
much is dropped and counted. A file is there whole or not at all; the oldest go when the folder would be larger than it may be.
What waits is lost with the process: at most `flush_seconds` of it.

Columns that the bundle declares to tell of a person are tokens; where there is no key for tokens they are null. Everything else is
as it was: the folder is for its owner only.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mainspring.core import durable
from mainspring.core.monitoring import tokens

__all__ = ["FEATURE", "KEY", "Entry", "PredictionLog"]

_LOG: Final = logging.getLogger(__name__)

KEY: Final = "key__"
FEATURE: Final = "feature__"
FLUSH_SECONDS: Final = 30.0
#: Bytes of arrays that may wait for the thread; it is woken when half of them do.
MAX_WAITING_BYTES: Final = 64 << 20
#: No file takes so long to write.
_TORN_SECONDS: Final = 3600.0
#: What an element of a string column and a request by itself are taken to hold.
_OBJECT_BYTES: Final = 64
_ENTRY_BYTES: Final = 1024

Columns = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Entry:
    """One answered request of n rows. Its arrays, each (n,), must not be changed afterwards."""

    time_us: int
    as_of_us: int
    endpoint: str
    model_version: str
    traffic_version: int
    role: str
    request_id: str
    caller: str
    keys: Columns
    """Empty for a prediction by row."""
    key_types: Mapping[str, str]
    """Every key of the model, `string` or `int64`."""
    features: Columns
    scores: NDArray[np.float32]
    latency_seconds: float
    private: frozenset[str] = frozenset()
    """Names of keys and features that tell of a person."""

    @property
    def held_bytes(self) -> int:
        """What it keeps from being freed, about."""
        arrays = (*self.keys.values(), *self.features.values(), self.scores)
        return _ENTRY_BYTES + sum(
            a.nbytes + (len(a) * _OBJECT_BYTES if a.dtype == object else 0) for a in arrays
        )


class PredictionLog:
    """Writes into `folder`. Thread-safe; `close` writes what waits and ends its thread."""

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int,
        tokeniser: tokens.Tokeniser | None = None,
        flush_seconds: float = FLUSH_SECONDS,
        max_waiting_bytes: int = MAX_WAITING_BYTES,
    ) -> None:
        self._folder, self._max_bytes, self._tokeniser = folder, max_bytes, tokeniser
        self._flush_seconds, self._max_waiting_bytes = flush_seconds, max_waiting_bytes
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._waiting: list[Entry] = []
        self._waiting_bytes = 0
        self._number = 0
        self.written_rows = 0
        self.dropped_rows = 0
        self._is_closed = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)
        self._thread.start()

    def add(self, entry: Entry) -> None:
        """Keep one answer, or count its rows as dropped."""
        held = entry.held_bytes
        with self._lock:
            if self._is_closed or self._waiting_bytes + held > self._max_waiting_bytes:
                self.dropped_rows += len(entry.scores)
                return
            self._waiting.append(entry)
            self._waiting_bytes += held
            is_full = self._waiting_bytes * 2 > self._max_waiting_bytes
        if is_full:
            self._wake.set()

    def flush(self) -> None:
        """Write what waits. A disk that refuses is logged: answers are what counts."""
        with self._writing:
            with self._lock:
                taken = self._waiting
                held, self._waiting = self._waiting_bytes, []
            try:
                self._write_all(taken)
            finally:
                with self._lock:
                    # Only now: what is being written is in memory, too.
                    self._waiting_bytes -= held
            if taken:
                self._trim()

    def close(self) -> None:
        """Write what waits; what comes later is dropped."""
        self._is_closed = True
        self._wake.set()
        self._thread.join()
        self.flush()

    def _run(self) -> None:
        while not self._is_closed:
            self._wake.wait(self._flush_seconds)
            self._wake.clear()
            try:
                self.flush()
            except Exception:  # noqa: BLE001 - the edge of its thread: the next answers must still be written
                _LOG.exception("the prediction log failed")

    def _write_all(self, entries: Sequence[Entry]) -> None:
        groups: dict[tuple[str, ...], list[Entry]] = {}
        for entry in entries:
            groups.setdefault((entry.endpoint, entry.model_version, *entry.features), []).append(entry)
        for group in groups.values():
            rows = sum(len(e.scores) for e in group)
            try:
                self._write(group)
                self.written_rows += rows
            except (OSError, ValueError, pa.ArrowException) as error:
                with self._lock:
                    self.dropped_rows += rows
                _LOG.warning("%d logged predictions of `%s` are lost: %s", rows, group[0].endpoint, error)

    def _write(self, group: Sequence[Entry]) -> None:
        first = group[0]
        folder = self._folder / first.endpoint / first.model_version.removeprefix("sha256:")[:16]
        folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        self._number += 1
        name = f"{time.time_ns() // 1000:020d}-{os.getpid()}-{self._number:06d}.parquet"
        table = _table(group, self._tokeniser)
        durable.place_file(folder / name, lambda path: pq.write_table(table, path, compression="zstd"))

    def _trim(self) -> None:
        try:
            for torn in self._folder.glob("*/*/*.new"):  # of a process that was killed while it wrote
                if time.time() - torn.stat().st_mtime > _TORN_SECONDS:
                    torn.unlink(missing_ok=True)
            files = sorted(self._folder.glob("*/*/*.parquet"), key=lambda p: p.name)
            sizes = {path: path.stat().st_size for path in files}
            total = sum(sizes.values())
            for path in files:
                if total <= self._max_bytes:
                    return
                path.unlink(missing_ok=True)
                total -= sizes[path]
        except OSError as error:
            _LOG.warning("old logged predictions cannot be removed: %s", error)


def _table(group: Sequence[Entry], tokeniser: tokens.Tokeniser | None) -> pa.Table:
    counts = [len(e.scores) for e in group]
    times = pa.timestamp("us", "UTC")
    columns: dict[str, pa.Array] = {
        "time": _repeated([e.time_us for e in group], counts, np.int64).cast(times),
        "as_of": _repeated([e.as_of_us for e in group], counts, np.int64).cast(times),
        "traffic_version": _repeated([e.traffic_version for e in group], counts, np.int64),
        "row": pa.array(np.concatenate([np.arange(n, dtype=np.int32) for n in counts])),
        "by_entity": _repeated([bool(e.keys) for e in group], counts, np.bool_),
    }
    for name in ("endpoint", "model_version", "role", "request_id", "caller"):
        columns[name] = _repeated([getattr(e, name) for e in group], counts, object)
    first = group[0]
    for name, kind in first.key_types.items():
        values = [
            v
            for e, n in zip(group, counts, strict=True)
            for v in (e.keys[name].tolist() if e.keys else [None] * n)
        ]
        columns[KEY + name] = _told(
            name, values, pa.int64() if kind == "int64" else pa.string(), first, tokeniser
        )
    for name in first.features:
        whole = np.concatenate([e.features[name] for e in group])
        if name in first.private:
            columns[FEATURE + name] = _told(name, whole.tolist(), pa.null(), first, tokeniser)
        elif whole.dtype == object:
            columns[FEATURE + name] = pa.array(whole, pa.string())
        else:
            missing = np.isnan(whole) if whole.dtype.kind == "f" else None
            columns[FEATURE + name] = pa.array(whole, mask=missing)
    columns["score"] = pa.array(np.concatenate([e.scores for e in group]))
    columns["latency_ms"] = _repeated([e.latency_seconds * 1e3 for e in group], counts, np.float64)
    return pa.table(columns)


def _told(
    name: str, values: list[Any], kind: pa.DataType, entry: Entry, tokeniser: tokens.Tokeniser | None
) -> pa.Array:
    """The values, or their tokens where they tell of a person, or nothing where there is no key for tokens."""
    if name not in entry.private:
        return pa.array(values, kind)
    told = [None] * len(values) if tokeniser is None else tokeniser.column(name, values)
    return pa.array(told, pa.string())


def _repeated(values: Sequence[Any], counts: Sequence[int], dtype: Any) -> pa.Array:
    """Each request's value for each of its rows."""
    return pa.array(np.repeat(np.array(values, dtype=dtype), counts))
