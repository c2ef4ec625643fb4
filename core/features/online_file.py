"""The SQLite file behind an online store: one table a view, one row a key, a batch a transaction."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from mainspring.core import errors, ports
from mainspring.core.features import online_batch

__all__ = ["OnlineFile"]

#: In SQLite's header, so that another database is told from ours: "MSOF".
_APPLICATION_ID: Final = 0x4D534F46
_LAYOUT: Final = 1


class OnlineFile:
    """Not thread-safe by itself: the store's lock guards it.

    Durable: WAL with `synchronous=FULL`, so a batch is fsynced when :meth:`write` returns.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock_fd = _lock(path)
        try:
            self._db = self._open()
        except BaseException:
            os.close(self._lock_fd)
            raise
        self._tables: dict[str, str] = {}

    def _open(self) -> sqlite3.Connection:
        # The store serialises access, from whichever thread.
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        try:
            fresh = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
            if not fresh:
                found = (
                    db.execute("PRAGMA application_id").fetchone()[0],
                    db.execute("PRAGMA user_version").fetchone()[0],
                )
                if found != (_APPLICATION_ID, _LAYOUT):
                    raise self._corrupt(f"application id and layout {found}")
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            if fresh:
                db.execute(f"PRAGMA application_id={_APPLICATION_ID}")
                db.execute(f"PRAGMA user_version={_LAYOUT}")
                db.execute(
                    "CREATE TABLE view (id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, definition TEXT NOT NULL)"
                )
        except sqlite3.DatabaseError as error:
            db.close()
            raise self._corrupt(str(error)) from error
        except BaseException:
            db.close()
            raise
        return db

    def views(self) -> tuple[ports.ViewSchema, ...]:
        """The views registered in the file. Errors: CorruptArtifact."""
        with self._reading():
            found = self._db.execute("SELECT id, definition FROM view ORDER BY id").fetchall()
            views = []
            for number, definition in found:
                view = _from_json(json.loads(definition))
                self._tables[view.name] = f"rows_{number}"
                views.append(view)
            return tuple(views)

    def add_view(self, view: ports.ViewSchema) -> None:
        """Register a view; all or nothing. Errors: DependencyDown."""
        with self._transaction():
            cursor = self._db.execute(
                "INSERT INTO view (name, definition) VALUES (?, ?)", (view.name, json.dumps(_to_json(view)))
            )
            table = f"rows_{cursor.lastrowid}"
            keys = [f"k{i}" for i in range(len(view.join_keys))]
            fields = [f"f{i}" for i in range(len(view.fields))]
            # No column types: SQLite then keeps every value as it came, int apart from text.
            self._db.execute(
                f"CREATE TABLE {table} ({', '.join(keys)}, event_us INTEGER NOT NULL, created_us INTEGER NOT NULL,"
                f" {', '.join(fields)}, PRIMARY KEY ({', '.join(keys)})) WITHOUT ROWID"
            )
        self._tables[view.name] = table

    def rows(self, view: ports.ViewSchema) -> online_batch.Batch:
        """Every row of a view. Errors: CorruptArtifact."""
        with self._reading():
            found = self._db.execute(f"SELECT * FROM {self._tables[view.name]}").fetchall()
            n_keys = len(view.join_keys)
            by_column: list[tuple[Any, ...]] = list(zip(*found, strict=True))
            if not found:
                by_column = [()] * (n_keys + 2 + len(view.fields))
            times = [np.array(column, np.int64) for column in by_column[n_keys : n_keys + 2]]
            values = {
                name: [bool(v) if kind == "bool" and v is not None else v for v in column]
                for (name, kind), column in zip(view.fields, by_column[n_keys + 2 :], strict=True)
            }
            keys = dict(zip(view.join_keys, by_column[:n_keys], strict=True))
            return online_batch.parse(view, keys, times[0], times[1], values)

    def write(self, view: ports.ViewSchema, batch: online_batch.Batch) -> None:
        """Put the rows in one transaction, fsynced. Errors: DependencyDown, and then none of them is kept."""
        columns = [
            [
                v if there else None
                for v, there in zip(batch.columns[n].tolist(), batch.valid[n].tolist(), strict=True)
            ]
            for n in view.field_names
        ]
        times = (batch.event_us.tolist(), batch.created_us.tolist())
        rows = zip(*zip(*batch.keys, strict=True), *times, *columns, strict=True)
        places = ", ".join("?" * (len(view.join_keys) + 2 + len(view.fields)))
        with self._transaction():
            self._db.executemany(f"INSERT OR REPLACE INTO {self._tables[view.name]} VALUES ({places})", rows)

    def close(self) -> None:
        """Close the file and let go of its lock; twice is once."""
        if self._lock_fd >= 0:
            self._db.close()
            os.close(self._lock_fd)
            self._lock_fd = -1

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise errors.DependencyDown(
                f"online store `{self._path}` did not take the batch: {error}; check the disk and push it again",
                name="online store",
            ) from error

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.DatabaseError, ValueError, KeyError, TypeError, errors.SchemaMismatch) as error:
            raise self._corrupt(str(error)) from error

    def _corrupt(self, got: str) -> errors.CorruptArtifact:
        return errors.CorruptArtifact(
            f"`{self._path}` is not an online store this release reads: {got};"
            " move it away, and the features are pushed again",
            artifact=str(self._path),
            expected=f"online store layout {_LAYOUT}",
            got=got,
        )


def _lock(path: Path) -> int:
    fd = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        raise errors.Conflict(
            f"online store `{path}` is open already; push to the process that has it, or stop that one",
            resource="online store",
            name=str(path),
        ) from error
    return fd


def _to_json(view: ports.ViewSchema) -> dict[str, Any]:
    return {
        "name": view.name,
        "join_keys": list(view.join_keys),
        "fields": [list(field) for field in view.fields],
        "ttl_seconds": view.ttl_seconds,
    }


def _from_json(value: dict[str, Any]) -> ports.ViewSchema:
    return ports.ViewSchema(
        name=value["name"],
        join_keys=tuple(value["join_keys"]),
        fields=tuple((name, kind) for name, kind in value["fields"]),
        ttl_seconds=value["ttl_seconds"],
    )
