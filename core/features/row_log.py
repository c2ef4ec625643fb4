"""Where the rows of `row_table` are durable: batches as Arrow IPC in one SQLite file, shared by several processes."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from mainspring.core import errors
from mainspring.core.features import row_table

__all__ = ["RowLog", "decode", "encode"]

_APPLICATION_ID: Final = 0x4D53524C  # "MSRL"
_LAYOUT: Final = 2
_ARROW: Final[Mapping[str, Any]] = {
    "float32": pa.float32(), "float64": pa.float64(), "int64": pa.int64(), "bool": pa.bool_(),
    "string": pa.string(), "bytes": pa.binary(),
}  # fmt: skip


class RowLog:
    """Batches in the order in which they were committed. A batch is fsynced when :meth:`append` returns.

    A batch without data says that the table was dropped. Order among batches of a table does not matter otherwise:
    the newest row wins whenever it comes, so a process catches up by applying what it has not seen.
    Threads: safe. Errors: DependencyDown when the disk refuses; CorruptArtifact for a file that is not ours.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._said():
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
            found = self._db.execute("PRAGMA application_id").fetchone()[0]
            if found not in (0, _APPLICATION_ID):
                self._db.close()
                raise errors.CorruptArtifact(
                    f"`{path}` is another application's database; give the online store a path of its own",
                    artifact=str(path),
                    expected=str(_APPLICATION_ID),
                    got=str(found),
                )
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            layout = self._db.execute("PRAGMA user_version").fetchone()[0]
            if found == _APPLICATION_ID and layout != _LAYOUT:
                self._db.close()
                raise errors.CorruptArtifact(
                    f"`{path}` has layout {layout}, this release reads {_LAYOUT}; move it away and materialise again",
                    artifact=str(path),
                    expected=str(_LAYOUT),
                    got=str(layout),
                )
            self._db.execute(f"PRAGMA user_version={_LAYOUT}")
            self._db.execute(f"PRAGMA application_id={_APPLICATION_ID}")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS batch (seq INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, data BLOB)"
            )

    def append(self, name: str, data: bytes | None) -> None:
        """Commit a batch of the table, or None: its end."""
        with self._lock, self._said():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                if data is None:
                    self._db.execute("DELETE FROM batch WHERE name = ?", (name,))
                self._db.execute("INSERT INTO batch (name, data) VALUES (?, ?)", (name, data))
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def since(self, seq: int) -> list[tuple[int, str, bytes | None]]:
        """What was committed after `seq`, by this process or another."""
        with self._lock, self._said():
            return self._db.execute(
                "SELECT seq, name, data FROM batch WHERE seq > ? ORDER BY seq", (seq,)
            ).fetchall()

    def replace(self, name: str, until: int, data: bytes) -> None:
        """Put one batch in the place of the table's batches up to `until`."""
        with self._lock, self._said():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.execute(
                    "DELETE FROM batch WHERE name = ? AND seq <= ? AND data IS NOT NULL", (name, until)
                )
                self._db.execute("INSERT INTO batch (name, data) VALUES (?, ?)", (name, data))
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def rewrite(self, name: str, edit: Callable[[bytes], bytes | None]) -> None:
        """Put what `edit` makes of each batch of the table in its place, or nothing for None; all or none. :meth:`tidy` follows.

        Other processes see the end of the table and then its batches, as they see any commit.
        """
        with self._lock, self._said():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                query = "SELECT data FROM batch WHERE name = ? AND data IS NOT NULL ORDER BY seq"
                edited = [edit(data) for (data,) in self._db.execute(query, (name,)).fetchall()]
                self._db.execute("DELETE FROM batch WHERE name = ?", (name,))
                rows = [(name, None), *((name, data) for data in edited if data is not None)]
                self._db.executemany("INSERT INTO batch (name, data) VALUES (?, ?)", rows)
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def tidy(self) -> None:
        """Leave no byte of batches of before on disk: free pages hold what was in them, and so does the write-ahead log.

        Errors: DependencyDown while another process reads what was before; then again.
        """
        with self._lock, self._said():
            self._db.execute("VACUUM")
            (is_busy, *_) = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if is_busy:
                raise errors.DependencyDown(
                    f"online store `{self._path}` is being read as it was before; try again",
                    name="online store",
                )

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._db.close()

    @contextlib.contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise errors.DependencyDown(
                f"online store `{self._path}` refuses: {error}; check the disk and write the batch again",
                name="online store",
            ) from error
        except sqlite3.DatabaseError as error:
            raise errors.CorruptArtifact(
                f"`{self._path}` is no online store: {error}; move it away and materialise again",
                artifact=str(self._path),
                expected="SQLite",
                got=str(error),
            ) from error


def encode(rows: row_table.Rows, fields: Sequence[row_table.Field]) -> bytes:
    """A batch as one Arrow IPC stream. Errors: SchemaMismatch for keys of several types."""
    is_tuple = bool(rows.keys) and isinstance(rows.keys[0], tuple)
    columns = list(zip(*rows.keys, strict=True)) if is_tuple else [rows.keys]
    try:
        arrays = [pa.array(list(column)) for column in columns]
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise errors.SchemaMismatch(
            f"keys of a batch have several types: {error}; cast them to one",
            feature="key",
            expected="one type a key",
            got=str(error),
        ) from error
    names = [f"k{i}" for i in range(len(arrays))]
    arrays += [pa.array(rows.event_us), pa.array(rows.created_us)]
    names += ["event_us", "created_us"]
    for name, kind in fields:
        values, nulls = rows.values[name], rows.nulls[name]
        arrays.append(pa.array(values, _ARROW[kind], mask=nulls))
        names.append(f"{kind}:{name}")
    batch = pa.record_batch(arrays, names)
    schema = batch.schema.with_metadata({"tuple": str(int(is_tuple))})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(batch.replace_schema_metadata(schema.metadata))
    return bytes(sink.getvalue())


def decode(data: bytes) -> tuple[row_table.Rows, tuple[row_table.Field, ...]]:
    """What :func:`encode` was given."""
    table = pa.ipc.open_stream(data).read_all()
    keys = [table[name].to_pylist() for name in table.column_names if name[0] == "k" and name[1:].isdigit()]
    values, nulls, fields = {}, {}, []
    for tagged in table.column_names:
        if ":" not in tagged:
            continue
        kind, name = tagged.split(":", 1)
        column = table[tagged].combine_chunks()
        nulls[name] = column.is_null().to_numpy(zero_copy_only=False)
        if kind in ("string", "bytes"):
            values[name] = np.empty(len(column), np.object_)
            values[name][:] = column.to_pylist()
        else:
            values[name] = column.fill_null(False if kind == "bool" else 0).to_numpy(zero_copy_only=False)
        fields.append((name, kind))
    rows = row_table.Rows(
        list(zip(*keys, strict=True)) if table.schema.metadata[b"tuple"] == b"1" else keys[0],
        table["event_us"].to_numpy().astype(np.int64),
        table["created_us"].to_numpy().astype(np.int64),
        values,
        nulls,
    )
    return rows, tuple(fields)
