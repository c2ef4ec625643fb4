"""The embedded online store: the newest feature row of every entity, in memory, written through to SQLite.

One process owns a store file at a time (the lock is refused, not waited for): another process pushes over HTTP.
Rows are answered from memory; a batch is on disk before it is visible, and visible before `upsert` returns.
"""

from __future__ import annotations

import difflib
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from mainspring.core import errors, ports
from mainspring.core.features import online_batch, online_file

__all__ = ["OnlineStore"]

_US: Final = 1_000_000


class OnlineStore:
    """Implements `ports.OnlineFeatures`. `path` None: in memory only, gone with the process.

    Threads: safe. One lock; reads hold it for the look-up only.
    Errors:  Conflict if another process has `path` open; CorruptArtifact if it is no store of ours.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._lock = threading.Lock()
        self._tables: dict[str, _Table] = {}
        self._file = None if path is None else online_file.OnlineFile(path)
        if self._file is not None:
            try:
                for view in self._file.views():
                    table = self._tables[view.name] = _Table(view)
                    table.apply(self._file.rows(view))
            except BaseException:
                self._file.close()
                raise

    def register(self, view: ports.ViewSchema) -> None:
        """Make `view` known; the same schema again is no change, another one is Conflict."""
        online_batch.check_view(view)
        with self._lock:
            known = self._tables.get(view.name)
            if known is None:
                if self._file is not None:
                    self._file.add_view(view)
                self._tables[view.name] = _Table(view)
            elif known.view != view:
                raise errors.Conflict(
                    f"view `{view.name}` is registered as {known.view}, not as {view};"
                    " give the changed view another name, such as a version suffix",
                    resource="view",
                    name=view.name,
                )

    def views(self) -> tuple[ports.ViewSchema, ...]:
        """Every registered view, by name."""
        with self._lock:
            return tuple(self._tables[name].view for name in sorted(self._tables))

    def upsert(
        self,
        view: str,
        keys: ports.KeyColumns,
        *,
        event_us: NDArray[np.int64],
        created_us: NDArray[np.int64],
        columns: Mapping[str, Sequence[Any]],
    ) -> int:
        """Keep the newest row per key by (event time, created time), all of the batch or none of it.

        On equal times the later write wins, so a repeated push changes nothing. Times are UTC microseconds; None and
        NaN are null. Returns how many rows became the newest of their key.
        Errors: NotFound for an unknown view; SchemaMismatch for a wrong key, column, type or length;
        DependencyDown if the disk refuses, and then nothing of the batch is visible or kept.
        """
        table = self._table(view)
        batch = online_batch.parse(table.view, keys, event_us, created_us, columns)
        with self._lock:
            table.check_key_types(batch.key_types)
            newer = table.newer(batch)
            if not newer.keys:
                return 0
            if self._file is not None:
                self._file.write(table.view, newer)
            table.apply(newer)
            return len(newer.keys)

    def read(
        self, view: str, keys: ports.KeyColumns, *, now_us: int, fields: Sequence[str] | None = None
    ) -> ports.OnlineRows:
        """The newest row of each key as of `now_us` under the view's TTL.

        A row whose event time lies after `now_us` is NOT_FOUND: the store keeps no older one, and answering would
        tell the future. A null key (None) is NOT_FOUND.
        Errors: NotFound for an unknown view or field; SchemaMismatch for a wrong key column or type.
        """
        table = self._table(view)
        wanted = table.view.field_names if fields is None else tuple(fields)
        for name in wanted:
            if name not in table.columns:
                raise _unknown("field", name, tuple(table.columns), where=f"view `{view}`")
        key_rows, key_types = online_batch.parse_keys(table.view, keys, null_allowed=True)
        with self._lock:
            table.check_key_types(key_types)
            return table.read(key_rows, now_us, wanted)

    def counts(self) -> dict[str, int]:
        """Rows held, by view."""
        with self._lock:
            return {name: len(table.index) for name, table in sorted(self._tables.items())}

    def close(self) -> None:
        """Let go of the file. A closed store refuses writes if it had one."""
        with self._lock:
            if self._file is not None:
                self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _table(self, view: str) -> _Table:
        with self._lock:
            table = self._tables.get(view)
            if table is None:
                raise _unknown("view", view, tuple(self._tables), where="the online store")
            return table


class _Table:
    """One view's rows: key tuple -> slot, and one array per field. The store's lock guards it."""

    def __init__(self, view: ports.ViewSchema) -> None:
        self.view = view
        self.index: dict[online_batch.Key, int] = {}
        self.key_types: tuple[str, ...] | None = None
        self.columns = {name: np.full(1, *online_batch.empty(kind)) for name, kind in view.fields}
        self.valid = {name: np.zeros(1, np.bool_) for name, _ in view.fields}
        self.event_us = np.zeros(1, np.int64)
        self.created_us = np.zeros(1, np.int64)
        self._ttl_us = None if view.ttl_seconds is None else round(view.ttl_seconds * _US)

    def check_key_types(self, key_types: tuple[str, ...] | None) -> None:
        """SchemaMismatch if keys are not of the types seen before: `7` and `"7"` would never meet."""
        if self.key_types is None or key_types is None:
            return
        for name, known, got in zip(self.view.join_keys, self.key_types, key_types, strict=True):
            if known != got:
                raise errors.SchemaMismatch(
                    f"key `{name}` of view `{self.view.name}` has type {got}, its rows have {known};"
                    f" send it as {known}",
                    feature=name,
                    expected=known,
                    got=got,
                )

    def newer(self, batch: online_batch.Batch) -> online_batch.Batch:
        """The rows of `batch` that are newest of their key, in the batch and against what is held; one a key."""
        best: dict[online_batch.Key, tuple[int, int, int]] = {}
        events, creations = batch.event_us.tolist(), batch.created_us.tolist()
        for i, key in enumerate(batch.keys):
            found = best.get(key)
            if found is None:
                slot = self.index.get(key)
                found = (
                    (-1, -1, -1)
                    if slot is None
                    else (int(self.event_us[slot]), int(self.created_us[slot]), -1)
                )
            # `>=`: on equal times the later write wins.
            best[key] = (events[i], creations[i], i) if (events[i], creations[i]) >= found[:2] else found
        return batch.take([i for _, _, i in best.values() if i >= 0])

    def apply(self, newer: online_batch.Batch) -> None:
        """Store rows that :meth:`newer` let through."""
        if not newer.keys:
            return
        if self.key_types is None:
            self.key_types = newer.key_types
        slots = np.array([self.index.setdefault(key, len(self.index) + 1) for key in newer.keys])
        self._reserve(len(self.index) + 1)
        self.event_us[slots] = newer.event_us
        self.created_us[slots] = newer.created_us
        for name in self.columns:
            self.columns[name][slots] = newer.columns[name]
            self.valid[name][slots] = newer.valid[name]

    def _reserve(self, size: int) -> None:
        # Slot 0 is the absent row, whose values are the missing ones; growth doubles.
        if size <= len(self.event_us):
            return
        room = max(size, 2 * len(self.event_us))

        def grown(array: NDArray[Any]) -> NDArray[Any]:
            wide = np.full(room, array[0], array.dtype)
            wide[: len(array)] = array
            return wide

        self.event_us, self.created_us = grown(self.event_us), grown(self.created_us)
        self.columns = {name: grown(a) for name, a in self.columns.items()}
        self.valid = {name: grown(a) for name, a in self.valid.items()}

    def read(self, keys: Sequence[online_batch.Key], now_us: int, fields: Sequence[str]) -> ports.OnlineRows:
        get = self.index.get
        slots = np.array([get(key, 0) for key in keys], np.intp)
        event_us = self.event_us[slots]
        status = np.full(len(slots), ports.FeatureStatus.PRESENT, np.uint8)
        if self._ttl_us is not None:
            status[event_us < now_us - self._ttl_us] = ports.FeatureStatus.OUTSIDE_MAX_AGE
        status[(slots == 0) | (event_us > now_us)] = ports.FeatureStatus.NOT_FOUND
        event_us[status == ports.FeatureStatus.NOT_FOUND] = 0
        slots[status != ports.FeatureStatus.PRESENT] = 0
        return ports.OnlineRows(
            values={name: self.columns[name][slots] for name in fields},
            valid={name: self.valid[name][slots] for name in fields},
            status=status,
            event_us=event_us,
        )


def _unknown(resource: str, name: str, known: Sequence[str], *, where: str) -> errors.NotFound:
    close = tuple(difflib.get_close_matches(name, known, n=3))
    hint = f"did you mean `{close[0]}`" if close else f"known are {sorted(known)}"
    return errors.NotFound(
        f"{where} has no {resource} `{name}`; {hint}", resource=resource, name=name, did_you_mean=close
    )
