"""The rows of one file, or of none, by table: in memory for reads, in a log for other processes and the next start."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final

from mainspring.core import errors
from mainspring.core.features import native_table, row_log, row_table

__all__ = ["Storage", "shared"]

#: A table's batches are joined into one when a process opens the file and finds more than this.
_BATCHES: Final = 256


class Storage:
    """The tables of one file (or of none), by name."""

    def __init__(self, path: Path | None) -> None:
        self.tables: dict[str, row_table.RowTable] = {}
        self.epoch = 0
        """Changes with every table that comes, goes or gets other fields: plans hold tables."""
        self._lock = threading.RLock()
        self._log = None if path is None else row_log.RowLog(path)
        self._seen = 0
        self.checked = 0.0
        if self._log is not None:
            self._catch_up(self._log, is_first=True)

    def table(self, name: str) -> row_table.RowTable | None:
        return self.tables.get(name)

    def reshape(self, name: str, fields: tuple[row_table.Field, ...]) -> row_table.RowTable | None:
        """The table with exactly these fields, if it has rows; those are kept as far as they go."""
        with self._lock:
            found = self.tables.get(name)
            if found is not None and found.fields != fields:
                found = self.tables[name] = found.evolved(fields)
                self.epoch += 1
            return found

    def write(self, name: str, fields: tuple[row_table.Field, ...], rows: row_table.Rows) -> int:
        """Durable, then visible. Errors: those of the log, SchemaMismatch of the keys; then neither."""
        batch = None if self._log is None else row_log.encode(rows, fields)
        # Under one lock: a drop that another process commits after this batch is seen after it, too.
        with self._lock:
            table = self.reshape(name, fields)
            if table is None:
                table = native_table.make(fields, native_table.key_types(rows.keys))
            table.check(rows)
            if self._log is not None:
                self._log.append(name, batch)
            if self.tables.get(name) is not table:
                self.tables[name] = table
                self.epoch += 1
            return table.upsert(rows)

    def drop(self, name: str) -> None:
        with self._lock:
            if self.tables.pop(name, None) is not None:
                self.epoch += 1
                if self._log is not None:
                    self._log.append(name, None)

    def refresh(self, now: float) -> None:
        """See what other processes committed; `now` is monotonic, and becomes `checked`."""
        self.checked = now
        if self._log is not None:
            self._catch_up(self._log)

    def _catch_up(self, log: row_log.RowLog, *, is_first: bool = False) -> None:
        with self._lock:
            batches = log.since(self._seen)
            counts: dict[str, int] = {}
            for seq, name, data in batches:
                self._seen = seq
                counts[name] = counts.get(name, 0) + 1
                if data is None:
                    if self.tables.pop(name, None) is not None:
                        self.epoch += 1
                    continue
                rows, fields = row_log.decode(data)
                self._apply(name, rows, fields)
            if is_first:
                for name, count in counts.items():
                    if count > _BATCHES and name in self.tables:
                        kept = self.tables[name]
                        log.replace(name, self._seen, row_log.encode(kept.rows(), kept.fields))

    def _apply(self, name: str, rows: row_table.Rows, fields: tuple[row_table.Field, ...]) -> None:
        table = self.tables.get(name)
        if table is not None:
            try:
                table.check(rows)
            except errors.SchemaMismatch:
                # Another process made the view anew with keys of another type: every process sees that in order.
                table = None
        if table is None:
            table = self.tables[name] = native_table.make(fields, native_table.key_types(rows.keys))
            self.epoch += 1
        table.upsert(row_table.fitted(rows, dict(fields), table.fields))


_open_lock = threading.Lock()
_open: dict[Path, Storage] = {}


def shared(path: Path) -> Storage:
    """The one storage of a file in this process, however many stores Feast makes."""
    with _open_lock:
        if path not in _open:
            _open[path] = Storage(path)
        return _open[path]
