"""What an online store answered, a sample of it, in Parquet: so that the answers can be asked again offline.

    <folder>/<view>/<microseconds>-<number>.parquet    keys, `as_of` and `served_at` (UTC microseconds), the fields asked for

`as_of` is the moment that was asked about, `served_at` the one at which it was.

Reads never wait for it: they put their arrays into a bounded buffer, a thread writes, and what is too much is dropped and
counted. The oldest files go when the folder would be larger than it may be. Keys and features are in it as they are:
the folder is for its owner only.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mainspring.core import ports
from mainspring.core.features import online_gate

__all__ = ["AS_OF", "SERVED_AT", "ReadLog", "RecordedFeatures", "written_at"]

_LOG: Final = logging.getLogger(__name__)

AS_OF: Final = "as_of"
SERVED_AT: Final = "served_at"
FLUSH_SECONDS: Final = 10.0
#: Rows that may wait for the thread: some ten megabytes.
MAX_WAITING_ROWS: Final = 200_000
_TYPES: Final = {"float32": pa.float32(), "float64": pa.float64(), "string": pa.string()}


def written_at(path: Path) -> datetime:
    """When a file of the log was written, by its name: none of its reads was served later."""
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(path.name.partition("-")[0]))


@dataclass
class _Waiting:
    """Reads of one view and the same fields, as they came."""

    view: ports.ViewSchema
    fields: tuple[str, ...]
    keys: list[Mapping[str, Sequence[Any]]] = field(default_factory=list)
    times: list[tuple[int, int, int]] = field(default_factory=list)
    """`as_of` and `served_at` of each read, and how many rows it has."""
    rows: list[ports.OnlineRows] = field(default_factory=list)


class ReadLog:
    """Writes reads of views into `folder`. Thread-safe; `close` writes what waits and ends its thread."""

    def __init__(self, folder: Path, *, max_bytes: int, flush_seconds: float = FLUSH_SECONDS) -> None:
        self._folder, self._max_bytes, self._flush_seconds = folder, max_bytes, flush_seconds
        self._lock = threading.Lock()
        self._waiting: dict[tuple[str, tuple[str, ...]], _Waiting] = {}
        self._waiting_rows = 0
        self._number = 0
        self.dropped_rows = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="read-log", daemon=True)
        self._thread.start()

    def add(self, view: ports.ViewSchema, keys: ports.AskedKeys, now_us: int, rows: ports.OnlineRows) -> None:
        """Keep one read. Its arrays must not be changed afterwards. Fields that cannot say missing are left out."""
        kinds = dict(view.fields)
        fields = tuple(name for name in rows.values if kinds.get(name) in _TYPES)
        n = len(rows.status)
        with self._lock:
            if not fields or self._waiting_rows + n > MAX_WAITING_ROWS:
                self.dropped_rows += n
                return
            waiting = self._waiting.setdefault((view.name, fields), _Waiting(view, fields))
            waiting.keys.append({key: list(keys[key]) for key in view.join_keys})
            waiting.times.append((now_us, time.time_ns() // 1000, n))
            waiting.rows.append(rows)
            self._waiting_rows += n

    def flush(self) -> None:
        """Write what waits. A disk that refuses is logged: reads are what counts."""
        with self._lock:
            taken, self._waiting, self._waiting_rows = self._waiting, {}, 0
        for waiting in taken.values():
            try:
                self._write(waiting)
            except (OSError, pa.ArrowException) as error:
                n = sum(count for *_, count in waiting.times)
                self.dropped_rows += n
                _LOG.warning("%d recorded reads of `%s` are lost: %s", n, waiting.view.name, error)
        if taken:
            self._trim()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self.flush()

    def _run(self) -> None:
        while not self._stop.wait(self._flush_seconds):
            self.flush()

    def _write(self, waiting: _Waiting) -> None:
        folder = self._folder / waiting.view.name
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder.chmod(0o700)
        with self._lock:
            self._number += 1
            name = f"{time.time_ns() // 1000:020d}-{self._number:06d}.parquet"
        pq.write_table(_table(waiting), folder / f"{name}.new", compression="zstd")
        os.replace(folder / f"{name}.new", folder / name)

    def _trim(self) -> None:
        try:
            files = sorted(self._folder.glob("*/*.parquet"), key=lambda p: p.name)
            sizes = {path: path.stat().st_size for path in files}
            total = sum(sizes.values())
            for path in files:
                if total <= self._max_bytes:
                    return
                path.unlink(missing_ok=True)
                total -= sizes[path]
        except OSError as error:
            _LOG.warning("old recorded reads cannot be removed: %s", error)


class RecordedFeatures(online_gate.OnlineGate):
    """An `ports.OnlineFeatures` over another that keeps a `fraction` of its reads in a log."""

    def __init__(self, store: ports.OnlineFeatures, log: ReadLog, fraction: float) -> None:
        super().__init__(store)
        self._log, self._fraction = log, fraction

    def read(
        self, view: str, keys: ports.AskedKeys, *, now_us: int, fields: Sequence[str] | None = None
    ) -> ports.OnlineRows:
        """As the store's, and now and then on record."""
        rows = self._store.read(view, keys, now_us=now_us, fields=fields)
        if random.random() < self._fraction:
            known = next(v for v in self._store.views() if v.name == view)
            self._log.add(known, keys, now_us, rows)
        return rows


def _table(waiting: _Waiting) -> pa.Table:
    names, columns = [AS_OF, SERVED_AT], []
    for i in range(2):
        moments = np.concatenate([np.full(read[2], read[i], np.int64) for read in waiting.times])
        columns.append(pa.array(moments).cast(pa.timestamp("us", "UTC")))
    for key in waiting.view.join_keys:
        names.append(key)
        values = [v for keys in waiting.keys for v in keys[key]]
        kind = pa.int64() if any(isinstance(v, int | np.integer) for v in values) else pa.string()
        columns.append(pa.array(values, kind))
    kinds = dict(waiting.view.fields)
    for name in waiting.fields:
        names.append(name)
        column = np.concatenate([rows.values[name] for rows in waiting.rows])
        valid = np.concatenate([rows.valid[name] for rows in waiting.rows])
        columns.append(pa.array(column, _TYPES[kinds[name]], mask=~valid))
    return pa.table(columns, names=names)
