"""One view of an online store and its native table; `online.py` has the store."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mainspring.core import errors, ports
from mainspring.core.features import online_batch
from mainspring.native import status as native_status
from mainspring.native import table as native_table

__all__ = ["Access", "OnlineView", "unknown"]

#: `own`: this process alone; `share`: it writes and others read; `read`: another one writes.
Access: TypeAlias = Literal["own", "share", "read"]

_US: Final = 1_000_000
#: Beyond any moment and any age.
_NO_AGE: Final = 1 << 61
#: Different questions a view whose buffers are kept for the next one.
_KEPT: Final = 64
_KEY_TYPES: Final[Mapping[str, native_table.KeyType]] = {"int64": "int64", "string": "string"}


class OnlineView:
    """A view and its table, which the first key makes: only rows tell the types of keys."""

    def __init__(
        self, view: ports.ViewSchema, folder: Path | None, made: Callable[[], None], access: Access
    ) -> None:
        """`made` is called without a lock once the table is there."""
        self.view = view
        self._access = access
        self._has_made = made
        self._kinds = dict(view.fields)
        self._folder = folder
        self._lock = threading.Lock()
        self.table: native_table.OnlineTable | None = None
        self._is_closed = False
        #: Buffers that reads have left, by fields and rows: few, as callers choose both. Lists' pop and append are atomic.
        self._idle: dict[tuple[tuple[str, ...], int], list[native_table.Bound]] = {}
        if access != "read" and folder is not None and folder.exists():
            self.table = self._open(folder, None)

    def upsert(self, batch: online_batch.Batch) -> int:
        """The batch, parsed, into the table."""
        if not batch.keys[0]:
            return 0
        is_first = self.table is None
        with self._lock:
            table = self._made(batch.key_types)
        if is_first:
            self._has_made()
        columns: dict[str, native_table.Column] = {}
        for name, kind in self.view.fields:
            values, valid = batch.columns[name], batch.valid[name]
            if kind == "string":
                columns[name] = [v if there else None for v, there in zip(values, valid, strict=True)]
            else:
                columns[name] = (values, valid)
        try:
            return table.upsert(
                _asked(batch.keys), batch.event_us, columns, created_us=batch.created_us
            ).changed
        except native_status.NativeError as error:
            self._refuse(error)

    def read(self, keys: ports.AskedKeys, now_us: int, fields: Sequence[str] | None) -> ports.OnlineRows:
        """The rows of the keys, in arrays of their own."""
        wanted = self.view.field_names if fields is None else tuple(fields)
        for name in wanted:
            if name not in self._kinds:
                raise unknown("field", name, self.view.field_names, where=f"view `{self.view.name}`")
        columns, types = online_batch.parse_keys(self.view, keys, null_allowed=True)
        n = len(columns[0])
        table = self.table
        if table is None and self._access == "read":
            table = self.found()
        if table is None:
            return self._absent(wanted, n)
        self._check_types(table, types)
        place = self._buffers((wanted, _room(n)))
        try:
            try:
                bound = place.pop()
            except IndexError:
                bound = table.bind(_room(n), fields=wanted, matrix=self._is_matrix(wanted))
            bound.get(_asked(columns), now_us)
        except native_status.NativeError as error:
            raise errors.DependencyDown(
                f"view `{self.view.name}` of the online store cannot be read: {error}; open the store again",
                name="online store",
            ) from error
        rows = self._copied(bound, wanted, n)
        place.append(bound)
        return rows

    def keys_of(self, columns: Collection[str], key: str) -> list[tuple[Any, ...]]:
        """The keys of which one of the parts `columns` is `key` (whole numbers in digits), whatever the rows' age.

        Where that is the whole key it is one look-up; else all rows are gone through: 1 s a million (one busy core, 2026-11).
        """
        table = self.table
        parts = [name for name in self.view.join_keys if name in columns]
        if table is None or not parts:
            return []
        types = {k.name: k.type for k in table.schema.keys}
        wanted = {name: _typed(key, types[name]) for name in parts}
        asked = {name: value for name, value in wanted.items() if value is not None}
        if not asked:
            return []
        try:
            if len(self.view.join_keys) == 1:
                (value,) = asked.values()
                found = table.get([value], fields=[], max_age_us=_NO_AGE, now_us=_NO_AGE)
                return [] if found.status[0] == ports.FeatureStatus.NOT_FOUND else [(value,)]
            keys: list[tuple[Any, ...]] = []
            for part in table.scan():
                columns_of = [
                    c if isinstance(c, list) else c.tolist()
                    for c in (part.keys[n] for n in self.view.join_keys)
                ]
                for row in zip(*columns_of, strict=True):
                    named = zip(self.view.join_keys, row, strict=True)
                    if any(name in asked and asked[name] == value for name, value in named):
                        keys.append(row)
            return keys
        except native_status.NativeError as error:
            self._refuse(error)

    def forget(self, columns: Collection[str], key: str) -> int:
        """Delete the rows of :meth:`keys_of`, from memory and from the disk; how many those were.

        All rows are written anew once: what is deleted stays in the log of before until then.
        """
        keys = self.keys_of(columns, key)
        if keys:
            assert self.table is not None
            given = [list(part) for part in zip(*keys, strict=True)]
            try:
                self.table.delete(given[0] if len(given) == 1 else tuple(given))
                if self._folder is not None:
                    self.table.snapshot()
            except native_status.NativeError as error:
                self._refuse(error)
        return len(keys)

    def rows(self) -> int:
        return 0 if self.table is None else self.table.stats().rows

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            if self.table is not None:
                try:
                    self.table.close()
                except native_status.NativeError as error:
                    self._refuse(error)

    def found(self) -> native_table.OnlineTable | None:
        """The table that another process has made meanwhile; None if there is none. Costs a look at the folder.

        Errors: DependencyDown if it is there and nobody shares it: no rows is another answer than not knowing.
        """
        assert self._folder is not None
        if not self._folder.exists():
            return None
        with self._lock:
            if self.table is not None:
                return self.table
            self.table = self._open(self._folder, None)
        self._has_made()
        return self.table

    def _made(self, types: tuple[str, ...]) -> native_table.OnlineTable:
        if self._is_closed:
            raise errors.DependencyDown(
                "the online store is closed; open it again and push the batch once more", name="online store"
            )
        if self.table is None:
            schema = native_table.Schema(
                tuple(
                    native_table.Key(name, _KEY_TYPES[kind])
                    for name, kind in zip(self.view.join_keys, types, strict=True)
                ),
                tuple(native_table.Field(name, kind) for name, kind in self.view.fields),
                None if self.view.ttl_seconds is None else round(self.view.ttl_seconds * _US),
            )
            self.table = (
                native_table.OnlineTable(schema) if self._folder is None else self._open(self._folder, schema)
            )
        self._check_types(self.table, types)
        return self.table

    def _open(self, folder: Path, schema: native_table.Schema | None) -> native_table.OnlineTable:
        try:
            if self._access == "read":
                table = native_table.OnlineTable.open_reader(folder)
            else:
                table = native_table.OnlineTable.open(folder, schema, shared=self._access == "share")
        except native_status.NativeError as error:
            self._refuse(error)
        held = tuple((field.name, field.type) for field in table.schema.fields)
        if held != self.view.fields or tuple(k.name for k in table.schema.keys) != self.view.join_keys:
            table.close()
            raise errors.CorruptArtifact(
                f"`{folder}` holds rows of fields {held}, its view has {self.view.fields};"
                " move the view's folder away, and its features are pushed again",
                artifact=str(folder),
                expected=str(self.view.fields),
                got=str(held),
            )
        return table

    def _check_types(self, table: native_table.OnlineTable, types: tuple[str, ...]) -> None:
        """SchemaMismatch if keys are not of the types of the rows: `7` and `"7"` would never meet."""
        for key, got in zip(table.schema.keys, types, strict=True):
            if got not in ("", key.type):
                raise errors.SchemaMismatch(
                    f"key `{key.name}` of view `{self.view.name}` has type {got}, its rows have {key.type};"
                    f" send it as {key.type}",
                    feature=key.name,
                    expected=key.type,
                    got=got,
                )

    def _buffers(self, key: tuple[tuple[str, ...], int]) -> list[native_table.Bound]:
        found = self._idle.get(key)
        if found is None:
            with self._lock:
                while len(self._idle) >= _KEPT:
                    self._idle.pop(next(iter(self._idle)))
                found = self._idle.setdefault(key, [])
        return found

    def _is_matrix(self, wanted: tuple[str, ...]) -> bool:
        return bool(wanted) and all(self._kinds[name] == "float32" for name in wanted)

    def _copied(self, bound: native_table.Bound, wanted: tuple[str, ...], n: int) -> ports.OnlineRows:
        status, event_us = bound.status[:n].copy(), bound.event_us[:n].copy()
        values: dict[str, NDArray[Any]] = {}
        if bound.matrix is not None:
            block = bound.matrix[:n].T.copy()
            there = ~np.isnan(block)
            values.update(zip(wanted, block, strict=True))
            return ports.OnlineRows(values, dict(zip(wanted, there, strict=True)), status, event_us)
        for j, name in enumerate(wanted):
            if self._kinds[name] == "string":
                texts = bound.strings(j, True)
                values[name] = np.array(["" if text is None else text for text in texts], np.object_)
            else:
                values[name] = bound.columns[name][:n].copy()
        valid = {name: bound.valid[name][:n].copy() for name in wanted}
        return ports.OnlineRows(values, valid, status, event_us)

    def _absent(self, wanted: tuple[str, ...], n: int) -> ports.OnlineRows:
        return ports.OnlineRows(
            {name: np.full(n, *online_batch.empty(self._kinds[name])) for name in wanted},
            {name: np.zeros(n, np.bool_) for name in wanted},
            np.full(n, ports.FeatureStatus.NOT_FOUND, np.uint8),
            np.zeros(n, np.int64),
        )

    def _refuse(self, error: native_status.NativeError) -> NoReturn:
        place = f"view `{self.view.name}` of the online store"
        if error.code in ("corrupt", "bad_spec"):
            raise errors.CorruptArtifact(
                f"{place} cannot be read: {error}; move its folder away, and its features are pushed again",
                artifact=str(self._folder),
                expected="a table of this release",
                got=str(error),
            ) from error
        if self._access == "read":
            raise errors.DependencyDown(
                f"{place} cannot be read here: {error}; wait for the process that writes it, or look at its log",
                name="online store",
            ) from error
        raise errors.DependencyDown(
            f"{place} did not take the batch: {error}; check the disk and push it again", name="online store"
        ) from error


def _typed(key: str, kind: str) -> str | int | None:
    """A key as its column has it; None: no row can have it."""
    if kind == "string":
        return key
    try:
        number = int(key)
    except ValueError:
        return None
    return number if str(number) == key and -(1 << 63) <= number < 1 << 63 else None


def _room(rows: int) -> int:
    """The next power of two, so that few sizes are kept."""
    return 1 if rows < 2 else 1 << (rows - 1).bit_length()


def _asked(columns: list[online_batch.KeyColumn]) -> native_table.Keys:
    return columns[0] if len(columns) == 1 else tuple(columns)


def unknown(resource: str, name: str, known: Sequence[str], *, where: str) -> errors.NotFound:
    close = tuple(difflib.get_close_matches(name, known, n=3))
    hint = f"did you mean `{close[0]}`" if close else f"known are {sorted(known)}"
    return errors.NotFound(
        f"{where} has no {resource} `{name}`; {hint}", resource=resource, name=name, did_you_mean=close
    )
