"""The newest row of every entity of one view, in memory: a dict from key to slot and one matrix per type.

`RowTable` is what the Feast plug-in asks. `native_table.NativeTable` is the implementation for keys of int and str,
`NumpyTable` the one for any keys. Here a batch is gathered by one fancy index per type: nothing is done per cell in Python.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from mainspring.core import errors, ports

__all__ = ["Field", "Found", "Group", "Kind", "NumpyTable", "Reader", "RowTable", "Rows", "fitted", "grouped"]

Kind = Literal["float32", "float64", "int64", "bool", "string", "bytes"]
Field = tuple[str, Kind]
#: One value, or a tuple of the values in the order of the key names.
Key = Any
#: What `RowTable.read_one` answers to a key and `newest_us`.
Reader = Callable[[Key, int], tuple[list[list[Any]], int, int]]

_NEVER: Final = np.iinfo(np.int64).min
_EMPTY: Final[Mapping[Kind, tuple[Any, npt.DTypeLike]]] = {
    "float32": (np.nan, np.float32),
    "float64": (np.nan, np.float64),
    "int64": (0, np.int64),
    "bool": (False, np.bool_),
    "string": (None, np.object_),
    "bytes": (None, np.object_),
}


@dataclass(frozen=True)
class Rows:
    """A batch: one key and two times (UTC microseconds) a row, and per field values and which of them are null.

    A NaN of a float field is null, too: that is how Feast, Polars and the native table pass on "no value".
    """

    keys: list[Key]
    event_us: NDArray[np.int64]
    created_us: NDArray[np.int64]
    values: Mapping[str, NDArray[Any]]
    nulls: Mapping[str, NDArray[np.bool_]]


@dataclass(frozen=True)
class Group:
    """The asked fields of one type: their columns in the type's matrix, None for all of them in order."""

    kind: Kind
    names: tuple[str, ...]
    columns: NDArray[np.intp] | None


@dataclass(frozen=True)
class Found:
    """Answers in the order of the keys. Shapes: `values[g]` and `nulls[g]` (n, fields of group g); status, event (n,).

    `nulls` is None where no answer has one. A row that is not PRESENT is all null; its event time is 0 if NOT_FOUND.
    """

    values: list[NDArray[Any]]
    nulls: list[NDArray[np.bool_]] | None
    status: NDArray[np.uint8]
    event_us: NDArray[np.int64]


class RowTable(Protocol):
    """One view's rows. Implementations are thread-safe; a reader never sees part of a row."""

    @property
    def fields(self) -> tuple[Field, ...]: ...

    def check(self, rows: Rows) -> None:
        """What :meth:`upsert` would refuse; asked before rows are made durable.

        Errors: SchemaMismatch for keys of another type, InvalidRequest for a row that is too large.
        """
        ...

    def upsert(self, rows: Rows) -> int:
        """Keep the newest row a key by (event, created), the later of equals; how many rows won."""
        ...

    def groups(self, names: Sequence[str]) -> tuple[Group, ...]:
        """Where the fields are, for :meth:`read`. Errors: NotFound."""
        ...

    def read(self, keys: Sequence[Key], groups: Sequence[Group], *, oldest_us: int, newest_us: int) -> Found:
        """The rows of `keys`: older than `oldest_us` is OUTSIDE_MAX_AGE, newer than `newest_us` NOT_FOUND.

        `oldest_us` is at most `newest_us`.
        """
        ...

    def read_one(
        self, key: Key, groups: Sequence[Group], *, oldest_us: int, newest_us: int
    ) -> tuple[list[list[Any]], int, int]:
        """One row as Python values by group (None is null), its status and its event time."""
        ...

    def reader(self, groups: Sequence[Group], age_us: int) -> Reader:
        """:meth:`read_one` of rows up to `age_us` old, as a function of a key and `newest_us` for many calls."""
        ...

    def rows(self) -> Rows:
        """Everything held, for a snapshot or a table with other fields."""
        ...

    def evolved(self, fields: Sequence[Field]) -> RowTable:
        """A table of other fields with these rows: a field of one name and type is kept, a new one is null."""
        ...


class NumpyTable:
    """In the memory of this process. About 40 bytes a key and row beside its values, and the dict's entry."""

    def __init__(self, fields: Sequence[Field]) -> None:
        self._lock = threading.Lock()
        self._fields = tuple(fields)
        self._index: dict[Key, int] = {}
        self._event = np.full(1, _NEVER, np.int64)
        self._created = np.full(1, _NEVER, np.int64)
        self._has_null = np.ones(1, np.bool_)
        self._at: dict[str, tuple[Kind, int]] = {}
        widths: dict[Kind, int] = {}
        for name, kind in self._fields:
            self._at[name] = (kind, widths.get(kind, 0))
            widths[kind] = widths.get(kind, 0) + 1
        self._values = {kind: np.full((1, width), *_EMPTY[kind]) for kind, width in widths.items()}
        # Slot 0 is the absent row, all null.
        self._nulls = {kind: np.ones((1, width), np.bool_) for kind, width in widths.items()}

    @property
    def fields(self) -> tuple[Field, ...]:
        return self._fields

    def check(self, rows: Rows) -> None:
        """Any hashable value is a key here, and memory the only bound."""

    def upsert(self, rows: Rows) -> int:
        """Keep the newest row a key by (event, created), the later of equals; how many rows won."""
        with self._lock:
            slots = self._slots(rows.keys)
            event, created = rows.event_us, rows.created_us
            order = np.lexsort((np.arange(len(slots)), created, event, slots))
            is_last = np.ones(len(order), np.bool_)
            is_last[:-1] = slots[order[1:]] != slots[order[:-1]]
            wins = order[is_last]
            at = slots[wins]
            is_newer = (event[wins] > self._event[at]) | (
                (event[wins] == self._event[at]) & (created[wins] >= self._created[at])
            )
            wins, at = wins[is_newer], at[is_newer]
            has_null = np.zeros(len(wins), np.bool_)
            for name, (kind, column) in self._at.items():
                nulls, values = rows.nulls[name][wins], rows.values[name][wins]
                if kind in ("float32", "float64"):
                    nulls = nulls | np.isnan(values)
                self._values[kind][at, column] = values
                self._nulls[kind][at, column] = nulls
                has_null |= nulls
            self._has_null[at] = has_null
            self._event[at], self._created[at] = event[wins], created[wins]
            return len(wins)

    def _slots(self, keys: list[Key]) -> NDArray[np.intp]:
        index = self._index
        slots = np.empty(len(keys), np.intp)
        for i, key in enumerate(keys):
            slots[i] = index.setdefault(key, len(index) + 1)
        size = len(index) + 1
        if size > len(self._event):
            room = max(size, 2 * len(self._event))
            self._event, self._created = _grown(self._event, room), _grown(self._created, room)
            self._has_null = _grown(self._has_null, room)
            self._values = {kind: _grown(matrix, room) for kind, matrix in self._values.items()}
            self._nulls = {kind: _grown(matrix, room) for kind, matrix in self._nulls.items()}
        return slots

    def groups(self, names: Sequence[str]) -> tuple[Group, ...]:
        """Where the fields are, for :meth:`read`. Errors: NotFound."""
        return grouped(names, self._fields)

    def read(self, keys: Sequence[Key], groups: Sequence[Group], *, oldest_us: int, newest_us: int) -> Found:
        """The rows of `keys`: older than `oldest_us` is OUTSIDE_MAX_AGE, newer than `newest_us` NOT_FOUND."""
        with self._lock:
            slots = np.fromiter(map(self._index.get, keys, itertools.repeat(0)), np.intp, len(keys))
            event = self._event[slots]
            status = np.zeros(len(slots), np.uint8)
            is_old = event < oldest_us
            is_absent = (slots == 0) | (event > newest_us)
            if is_old.any() or is_absent.any():
                status[is_old] = ports.FeatureStatus.OUTSIDE_MAX_AGE
                status[is_absent] = ports.FeatureStatus.NOT_FOUND
                slots[is_old | is_absent] = 0
                event[is_absent] = 0
            has_null = bool(self._has_null[slots].any())
            values = [_take(self._values[g.kind], slots, g.columns) for g in groups]
            nulls = [_take(self._nulls[g.kind], slots, g.columns) for g in groups] if has_null else None
        return Found(values, nulls, status, event)

    def read_one(
        self, key: Key, groups: Sequence[Group], *, oldest_us: int, newest_us: int
    ) -> tuple[list[list[Any]], int, int]:
        """One row as Python values by group (None is null), its status and its event time."""
        with self._lock:
            slot = self._index.get(key, 0)
            event = int(self._event[slot])
            status = 0
            if slot == 0 or event > newest_us:
                slot, event, status = 0, 0, int(ports.FeatureStatus.NOT_FOUND)
            elif event < oldest_us:
                slot, status = 0, int(ports.FeatureStatus.OUTSIDE_MAX_AGE)
            has_null = self._has_null[slot]
            values = []
            for g in groups:
                row = self._values[g.kind][slot]
                row = row.tolist() if g.columns is None else row[g.columns].tolist()
                if has_null:
                    nulls = self._nulls[g.kind][slot]
                    nulls = nulls.tolist() if g.columns is None else nulls[g.columns].tolist()
                    row = [None if null else value for value, null in zip(row, nulls, strict=True)]
                values.append(row)
        return values, status, event

    def reader(self, groups: Sequence[Group], age_us: int) -> Reader:
        """:meth:`read_one` of rows up to `age_us` old, as a function of a key and `newest_us` for many calls."""

        def read(key: Key, newest_us: int) -> tuple[list[list[Any]], int, int]:
            return self.read_one(key, groups, oldest_us=newest_us - age_us, newest_us=newest_us)

        return read

    def rows(self) -> Rows:
        with self._lock:
            at = np.fromiter(self._index.values(), np.intp, len(self._index))
            return Rows(
                list(self._index),
                self._event[at],
                self._created[at],
                {name: self._values[kind][at, column] for name, (kind, column) in self._at.items()},
                {name: self._nulls[kind][at, column] for name, (kind, column) in self._at.items()},
            )

    def evolved(self, fields: Sequence[Field]) -> NumpyTable:
        rows = self.rows()
        table = NumpyTable(fields)
        table.upsert(fitted(rows, dict(self._fields), fields))
        return table


def grouped(names: Sequence[str], fields: Sequence[Field]) -> tuple[Group, ...]:
    """The fields `names` by type, each type's in the order of `fields`. Errors: NotFound."""
    widths: dict[Kind, int] = {}
    at: dict[str, tuple[Kind, int]] = {}
    for name, kind in fields:
        at[name] = (kind, widths.get(kind, 0))
        widths[kind] = widths.get(kind, 0) + 1
    by_kind: dict[Kind, list[tuple[int, str]]] = {}
    for name in names:
        if name not in at:
            raise errors.NotFound(
                f"no field `{name}` in the table; its fields are {list(at)}", resource="field", name=name
            )
        kind, column = at[name]
        by_kind.setdefault(kind, []).append((column, name))
    groups = []
    for kind, columns in by_kind.items():
        columns.sort()
        is_all = len(columns) == widths[kind]
        wanted = None if is_all else np.array([c for c, _ in columns], np.intp)
        groups.append(Group(kind, tuple(n for _, n in columns), wanted))
    return tuple(groups)


def fitted(rows: Rows, had: Mapping[str, Kind], fields: Sequence[Field]) -> Rows:
    """`rows` with exactly `fields`: those it has in that type, and nulls for the others."""
    n = len(rows.keys)
    is_kept = {name: had.get(name) == kind for name, kind in fields}
    return Rows(
        rows.keys,
        rows.event_us,
        rows.created_us,
        {name: rows.values[name] if is_kept[name] else np.full(n, *_EMPTY[kind]) for name, kind in fields},
        {name: rows.nulls[name] if is_kept[name] else np.ones(n, np.bool_) for name, _ in fields},
    )


def _take(matrix: NDArray[Any], slots: NDArray[np.intp], columns: NDArray[np.intp] | None) -> NDArray[Any]:
    taken = matrix[slots]
    return taken if columns is None else taken[:, columns]


def _grown(array: NDArray[Any], room: int) -> NDArray[Any]:
    wide = np.empty((room, *array.shape[1:]), array.dtype)
    wide[:] = array[0]  # the absent row
    wide[: len(array)] = array
    return wide
