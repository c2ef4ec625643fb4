"""`row_table.RowTable` over the native online table: a batch is one call of compiled code, and readers wait for nobody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mainspring.core import errors
from mainspring.core.features import row_table
from mainspring.native import status as native_status
from mainspring.native import table as online_table

__all__ = ["NativeTable", "key_types", "make"]

_KEYS: Final[Mapping[type, online_table.KeyType]] = {int: "int64", str: "string"}
_DTYPES: Final[Mapping[row_table.Kind, Any]] = {
    "float32": np.float32, "float64": np.float64, "int64": np.int64, "bool": np.bool_
}  # fmt: skip
#: Set before a feature's or a key's name, so that a feature may be called as a key is.
_KEY, _FIELD = "k:", "f:"
_SCAN_ROWS: Final = 65_536
#: Of a row's key and strings in the native table (src/table/row_stager.cc).
_LARGEST_ROW: Final = 16 << 20
_BYTES_A_CHARACTER: Final = 4
#: From here on an age is none: no event is older.
_NO_AGE: Final = 1 << 61


def key_types(keys: Sequence[row_table.Key]) -> tuple[type, ...]:
    """The Python types of a key's parts, as the first key has them."""
    first = keys[0]
    return tuple(map(type, first)) if isinstance(first, tuple) else (type(first),)


def make(fields: Sequence[row_table.Field], keys: tuple[type, ...]) -> row_table.RowTable:
    """The table for such keys: a native one where every part is int or str, else one of NumPy."""
    if all(kind in _KEYS for kind in keys):
        return NativeTable(fields, keys)
    return row_table.NumpyTable(fields)


class NativeTable:
    """In compiled memory of this process; `table.stats().bytes_per_row` says how much.

    Threads: safe; a reader sees whole batches and takes no lock.
    Errors:  SchemaMismatch for keys of another type than the table's.
    """

    def __init__(self, fields: Sequence[row_table.Field], keys: tuple[type, ...]) -> None:
        self._fields = tuple(fields)
        self._keys = keys
        self._kinds = dict(self._fields)
        self.table = online_table.OnlineTable(
            online_table.Schema(
                tuple(online_table.Key(f"{_KEY}{i}", _KEYS[kind]) for i, kind in enumerate(keys)),
                tuple(online_table.Field(_FIELD + name, kind) for name, kind in self._fields),
            )
        )

    @property
    def fields(self) -> tuple[row_table.Field, ...]:
        return self._fields

    def check(self, rows: row_table.Rows) -> None:
        """What :meth:`upsert` would refuse.

        Errors: SchemaMismatch unless every key has exactly the table's types (None is no key); InvalidRequest if a row's
        key and strings are too large together.
        """
        columns: list[Any] = [rows.keys] if len(self._keys) == 1 else list(zip(*rows.keys, strict=True))
        for wanted, column in zip(self._keys, columns, strict=True):
            if set(map(type, column)) - {wanted}:
                strange = next(value for value in column if type(value) is not wanted)
                raise self._said(f"got {type(strange).__name__} `{strange}`")
        texts = [column for wanted, column in zip(self._keys, columns, strict=True) if wanted is str]
        texts += [rows.values[name].tolist() for name, kind in self._fields if kind not in _DTYPES]
        _check_sizes(texts)

    def upsert(self, rows: row_table.Rows) -> int:
        """Keep the newest row a key by (event, created), the later of equals; how many keys have another row now."""
        columns: dict[str, Any] = {}
        for name, kind in self._fields:
            values, nulls = rows.values[name], rows.nulls[name]
            if kind in _DTYPES:
                columns[_FIELD + name] = (np.ascontiguousarray(values), np.ascontiguousarray(~nulls))
            else:
                columns[_FIELD + name] = [
                    None if null else value
                    for value, null in zip(values.tolist(), nulls.tolist(), strict=True)
                ]
        try:
            done = self.table.upsert(
                self._asked(rows.keys), rows.event_us, columns, created_us=rows.created_us
            )
        except native_status.NativeError as error:
            raise self._said(error) from error
        return done.changed

    def groups(self, names: Sequence[str]) -> tuple[row_table.Group, ...]:
        """Where the fields are, for :meth:`read`. Errors: NotFound."""
        return _Groups(row_table.grouped(names, self._fields))

    def read(
        self,
        keys: Sequence[row_table.Key],
        groups: Sequence[row_table.Group],
        *,
        oldest_us: int,
        newest_us: int,
    ) -> row_table.Found:
        """The rows of `keys`: older than `oldest_us` is OUTSIDE_MAX_AGE, newer than `newest_us` NOT_FOUND."""
        buffers, place = self._get(keys, groups, oldest_us, newest_us)
        found = buffers.found(len(keys))
        place.append(buffers)
        return found

    def read_one(
        self, key: row_table.Key, groups: Sequence[row_table.Group], *, oldest_us: int, newest_us: int
    ) -> tuple[list[list[Any]], int, int]:
        """One row as Python values by group (None is null), its status and its event time."""
        return self.reader(groups, newest_us - oldest_us)(key, newest_us)

    def reader(self, groups: Sequence[row_table.Group], age_us: int) -> row_table.Reader:
        """:meth:`read_one` of rows up to `age_us` old, as a function of a key and `newest_us` for many calls."""
        # Written out: at a microsecond a call, each line counts.
        assert isinstance(groups, _Groups)
        age_us = min(age_us, _NO_AGE)
        found = groups.single.get(age_us)
        if found is not None:
            return found
        place: list[_Buffers] = []

        def read(key: row_table.Key, newest_us: int) -> tuple[list[list[Any]], int, int]:
            try:
                buffers = place.pop()
            except IndexError:
                buffers = _Buffers(self.table, groups, 1, age_us)
            try:
                buffers.get(key if type(key) in _KEYS else self._asked((key,)), newest_us)
            except native_status.NativeError as error:
                raise self._said(error) from error
            one = buffers.one()
            place.append(buffers)
            return one

        groups.single[age_us] = read
        return read

    def rows(self) -> row_table.Rows:
        """Everything held, as of one moment."""
        parts = list(self.table.scan(_SCAN_ROWS))
        keys: list[Any] = []
        for part in parts:
            columns = [c if isinstance(c, list) else c.tolist() for c in part.keys.values()]
            keys += columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))
        values, nulls = {}, {}
        for name, kind in self._fields:
            given = [part.values[_FIELD + name] for part in parts]
            if kind in _DTYPES:
                values[name] = np.concatenate([np.empty(0, _DTYPES[kind]), *given])
            else:
                values[name] = _objects([value for column in given for value in column])
            nulls[name] = ~np.concatenate([np.empty(0, np.bool_), *(p.valid[_FIELD + name] for p in parts)])
        return row_table.Rows(
            keys,
            np.concatenate([np.empty(0, np.int64), *(p.event_us for p in parts)]),
            np.concatenate([np.empty(0, np.int64), *(p.created_us for p in parts)]),
            values,
            nulls,
        )

    def evolved(self, fields: Sequence[row_table.Field]) -> row_table.RowTable:
        table = NativeTable(fields, self._keys)
        table.upsert(row_table.fitted(self.rows(), self._kinds, fields))
        return table

    def _asked(self, keys: Sequence[row_table.Key]) -> Any:
        if len(self._keys) == 1:
            return keys if type(keys) is list else list(keys)
        try:
            return tuple(list(part) for part in zip(*keys, strict=True)) or ([],) * len(self._keys)
        except (TypeError, ValueError) as error:
            raise self._said(error) from error

    def _get(
        self, keys: Sequence[row_table.Key], groups: Sequence[row_table.Group], oldest_us: int, newest_us: int
    ) -> tuple[_Buffers, list[_Buffers]]:
        """Buffers that hold the rows, and where they are to be put once they are read."""
        n = len(keys)
        assert isinstance(groups, _Groups)
        # Without an age every call would have another one, and buffers of its own.
        age = min(newest_us - oldest_us, _NO_AGE)
        place = groups.idle.setdefault((_room(n), age), [])
        try:
            buffers = place.pop()
        except IndexError:
            buffers = _Buffers(self.table, groups, n, age)
        try:
            buffers.get(self._asked(keys), newest_us)
        except native_status.NativeError as error:
            raise self._said(error) from error
        return buffers, place

    def _said(self, error: Exception | str) -> errors.SchemaMismatch:
        expected = ", ".join(kind.__name__ for kind in self._keys)
        return errors.SchemaMismatch(
            f"keys of this table are {expected}, {error}; cast them, or give the view another name",
            feature="key",
            expected=expected,
            got=str(error),
        )


class _Groups(tuple[row_table.Group, ...]):
    """Groups with what reads of them have left: buffers by (rows, age), and readers of one row by age.

    Lists' pop and append are atomic.
    """

    idle: dict[tuple[int, int], list[_Buffers]]
    single: dict[int, row_table.Reader]

    def __new__(cls, groups: Sequence[row_table.Group]) -> _Groups:
        made = super().__new__(cls, groups)
        made.idle, made.single = {}, {}
        return made


class _Buffers:
    """Where one read's rows are put. Of one float32 group a matrix, the fastest; otherwise columns."""

    def __init__(self, table: online_table.OnlineTable, groups: _Groups, rows: int, age_us: int) -> None:
        self._groups = groups
        self._is_matrix = len(groups) == 1 and groups[0].kind == "float32"
        names = [_FIELD + name for group in groups for name in group.names]
        self._bound = table.bind(
            _room(rows), fields=names, matrix=self._is_matrix, max_age_us=age_us if age_us < _NO_AGE else None
        )
        self.get = self._bound.get
        self._status, self._event = self._bound.status, self._bound.event_us
        self._row = self._bound.matrix[0] if self._bound.matrix is not None else None

    def found(self, n: int) -> row_table.Found:
        """The first `n` rows, in arrays of their own."""
        bound = self._bound
        status, event = bound.status[:n].copy(), bound.event_us[:n].copy()
        if self._is_matrix:
            assert bound.matrix is not None
            matrix = bound.matrix[:n].copy()
            is_null = np.isnan(matrix)
            return row_table.Found([matrix], [is_null] if is_null.any() else None, status, event)
        values: list[NDArray[Any]] = []
        nulls: list[NDArray[np.bool_]] = []
        at = 0
        for group in self._groups:
            names = [_FIELD + name for name in group.names]
            if group.kind in _DTYPES:
                values.append(np.array([bound.columns[name][:n] for name in names]).T)
            else:
                columns = [bound.strings(at + j, group.kind == "string") for j in range(len(names))]
                values.append(_objects([v for c in columns for v in c]).reshape(len(names), n).T)
            nulls.append(~np.array([bound.valid[name][:n] for name in names]).T)
            at += len(names)
        has_null = any(part.any() for part in nulls)
        return row_table.Found(values, nulls if has_null else None, status, event)

    def one(self) -> tuple[list[list[Any]], int, int]:
        """The first row as Python values."""
        status, event = self._status.item(0), self._event.item(0)
        if status != 0:  # PRESENT
            return [[None] * len(group.names) for group in self._groups], status, event
        if self._row is not None:
            row = self._row.tolist()
            total = sum(row)
            # A NaN makes the sum one; so do infinities of both signs, for which the nulls are looked for in vain.
            return [row if total == total else [None if v != v else v for v in row]], status, event
        bound = self._bound
        rows: list[list[Any]] = []
        at = 0
        for group in self._groups:
            names = [_FIELD + name for name in group.names]
            if group.kind in _DTYPES:
                rows.append([bound.columns[n].item(0) if bound.valid[n].item(0) else None for n in names])
            else:
                rows.append([bound.strings(at + j, group.kind == "string")[0] for j in range(len(names))])
            at += len(names)
        return rows, status, event


def _check_sizes(columns: Sequence[Sequence[str | bytes | None]]) -> None:
    # Bounds first: rows that could be too large are rare, and only their bytes are counted.
    longest = (max((len(v) for v in column if v is not None), default=0) for column in columns)
    if _BYTES_A_CHARACTER * sum(longest) <= _LARGEST_ROW:
        return
    for i, row in enumerate(zip(*columns, strict=True)):
        size = sum(len(v.encode() if isinstance(v, str) else v) for v in row if v is not None)
        if size > _LARGEST_ROW:
            raise errors.InvalidRequest(
                f"row {i} has {size} bytes of key and strings, a row may have {_LARGEST_ROW};"
                " store a reference in the place of the value",
                field="rows",
            )


def _room(rows: int) -> int:
    """The next power of two, so that few sizes are kept."""
    return 1 if rows < 2 else 1 << (rows - 1).bit_length()


def _objects(values: list[Any]) -> NDArray[Any]:
    array = np.empty(len(values), np.object_)
    array[:] = values
    return array
