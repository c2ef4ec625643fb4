"""A table of online features: the newest row of every key, in memory, on disk, and for other processes to read.

    >>> import numpy as np
    >>> from mainspring.native import table
    >>> schema = table.Schema(
    ...     keys=(table.Key("user", "int64"),),
    ...     fields=(table.Field("clicks", "float32"), table.Field("city", "string")),
    ... )
    >>> users = table.OnlineTable(schema)
    >>> users.upsert([7, 9], event_us=[1000, 1000], columns={"clicks": [3.0, None], "city": ["Bern", "Rome"]}).changed
    2
    >>> rows = users.get([9, 7, 8], now_us=2000)
    >>> rows.values["clicks"].tolist(), rows.values["city"], rows.status.tolist()
    ([nan, 3.0, nan], ['Rome', 'Bern', None], [0, 0, 1])

Times are UTC microseconds. How rows are kept, shared and made durable: docs/adr/0005.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Literal, NamedTuple, Self, final, get_args

import numpy as np
from numpy.typing import NDArray

from mainspring.native import _native, status
from mainspring.native import program as programs

__all__ = [
    "NOT_FOUND", "OUTSIDE_MAX_AGE", "PRESENT", "Bound", "Field", "FieldType", "Key", "KeyType", "OnlineTable", "Rows",
    "Scanned", "Schema", "Stats", "Upserted",
]  # fmt: skip

#: The bytes of `status`. A row that lies after the moment asked about is not found, either.
PRESENT, NOT_FOUND, OUTSIDE_MAX_AGE = 0, 1, 2

KeyType = Literal["int64", "string"]
FieldType = Literal[
    "bool", "int32", "int64", "float32", "float64", "timestamp_us", "string", "bytes", "float32_vector"
]

# In the order of the compiled code's enumerations.
_KEY_TYPES: Final = get_args(KeyType)
_FIELD_TYPES: Final = get_args(FieldType)
_DTYPES: Final[Mapping[str, Any]] = {
    "bool": np.bool_, "int32": np.int32, "int64": np.int64, "float32": np.float32, "float64": np.float64,
    "timestamp_us": np.int64, "float32_vector": np.float32,
}  # fmt: skip
_ITSELF, _FLOAT32, _INT64 = 0, 1, 2
_NO_AGE: Final = -1

#: One column of a batch: an array of the field's dtype, or a list with None where the value is missing. With a mask of
#: what is there: (values, valid).
Column = NDArray[Any] | Sequence[Any] | tuple[NDArray[Any], NDArray[np.bool_]]

#: An int64 array, a list of int, str or None, or one int or str; of a key of several parts a tuple of such columns.
Keys = Any


@dataclass(frozen=True)
class Key:
    """One part of what identifies a row."""

    name: str
    type: KeyType


@dataclass(frozen=True)
class Field:
    """One value of a row; `width` floats of a vector."""

    name: str
    type: FieldType
    width: int = 1


@dataclass(frozen=True)
class Schema:
    """What every row looks like. `max_age_us`: a row whose event is older counts no more; equal is alive."""

    keys: tuple[Key, ...]
    fields: tuple[Field, ...]
    max_age_us: int | None = None


class Upserted(NamedTuple):
    """What became of a batch: keys that changed, rows that were older than what is there, a ticket for `wait`."""

    changed: int
    older: int
    ticket: int


class Stats(NamedTuple):
    """How large a table is. Bytes are those in use now; the log's, since the last snapshot."""

    rows: int
    row_bytes: int
    rows_bytes: int
    index_bytes: int
    heap_bytes: int
    replaced_rows: int
    older_rows: int
    log_bytes: int
    snapshots: int

    @property
    def bytes_per_row(self) -> float:
        """Everything in memory, for each row that is there."""
        return (self.rows_bytes + self.index_bytes + self.heap_bytes) / max(self.rows, 1)


@dataclass(frozen=True)
class Rows:
    """One answer per asked key, in the order asked.

    Shapes:  values[field] (n,) of the field's dtype, (n, width) of a vector, a list of n of a string or bytes field;
             valid[field] (n,) bool; status (n,) uint8; event_us (n,) int64, 0 where the row is not found.
    Missing: NaN, 0, False or None, as is every field of a row that is not PRESENT.
    """

    values: Mapping[str, Any]
    valid: Mapping[str, NDArray[np.bool_]]
    status: NDArray[np.uint8]
    event_us: NDArray[np.int64]


@dataclass(frozen=True)
class Scanned:
    """A batch of a scan, as `upsert` takes rows.

    Shapes:  keys[part] int64 (n,) or a list of str; event_us, created_us (n,) int64; ttl_seconds (n,) int32, 0 for none;
             values and valid as in `Rows`.
    """

    keys: Mapping[str, Any]
    event_us: NDArray[np.int64]
    created_us: NDArray[np.int64]
    ttl_seconds: NDArray[np.int32]
    values: Mapping[str, Any]
    valid: Mapping[str, NDArray[np.bool_]]


@final
class Bound:
    """A table and the buffers that its rows are read into: for reads that come again and again.

    `columns` by name, `matrix` (n, d) or None, `valid`, `status` and `event_us` hold the rows of the last `get` in their
    first places. Give `columns` to `Program.bind`, and rows go from the table into the program without a copy.
    """

    def __init__(
        self,
        reading: _native.Reading,
        columns: dict[str, NDArray[Any]],
        valid: dict[str, NDArray[np.bool_]],
        matrix: NDArray[np.float32] | None,
        row_status: NDArray[np.uint8],
        event_us: NDArray[np.int64],
    ) -> None:
        self.columns = columns
        self.valid = valid
        self.matrix = matrix
        self.status = row_status
        self.event_us = event_us
        self.strings = reading.strings
        self.get = reading.get
        """get(keys, now_us=None): read the newest row of each key into the buffers; returns how many keys there were.

        Shapes:  `keys` as in `Keys`, at most as many as rows are bound. `now_us` None: the clock's.
        Missing: as in `Rows`; in columns that are bound for a program NaN and -2^63.
        Errors:  NativeError `bad_dtype`, `bad_shape`, `busy`, `closed`. A key that is not there is data, never an error.
        Threads: one at a time; bind one set of buffers for each thread. The GIL is released from 8,192 keys on. Waits for
                 nobody, whoever writes.
        """


@final
class OnlineTable:
    """The newest row of every key, by (event time, created time). Thread-safe.

    Made by the constructor it lives in this process's memory; `open` keeps it in a directory, and `open_reader` reads
    what another process of this host has opened with `shared=True`.

    `rows`: how many to prepare for; `max_rows` bounds addresses, not memory. `seed` is that of the hash; None: random,
    so that nobody can choose keys that collide.
    Do not fork while a table is open for writing: the child would lack the thread that brings rows to the disk.
    """

    def __init__(
        self, schema: Schema, *, rows: int = 0, max_rows: int = 1 << 27, seed: int | None = None
    ) -> None:
        self._adopt(_native.OnlineTable.create(_encode(schema), _options(rows, max_rows, seed)), schema)

    @classmethod
    def open(
        cls,
        directory: str | os.PathLike[str],
        schema: Schema | None = None,
        *,
        shared: bool = False,
        memory_directory: str | os.PathLike[str] | None = None,
        group_seconds: float = 0.010,
        snapshot_log_bytes: int = 256 << 20,
        rows: int = 0,
        max_rows: int = 1 << 27,
        seed: int | None = None,
    ) -> OnlineTable:
        """Open the table of a directory for writing; with a `schema` it is made where it is not there.

        `shared`: other processes may read; the rows then lie in a file of `memory_directory` (None: /dev/shm where that
        is, else the directory itself). `group_seconds`: rows that nobody waits for are on disk and visible within this.
        `snapshot_log_bytes`: after so much log all rows are written anew, and the log begins again.

        Errors: NativeError `busy` (another process writes it), `bad_spec` (another schema), `corrupt` (names file and
                byte; what a crash left at the end of the log is no corruption and is cut off), `io`, `full`.
        """
        place = os.fspath(memory_directory) if memory_directory is not None else ""
        if shared and memory_directory is None and os.access("/dev/shm", os.W_OK):
            place = "/dev/shm"
        options = _options(rows, max_rows, seed) | {
            "is_shared": shared, "memory_directory": place, "group_us": round(group_seconds * 1e6),
            "snapshot_log_bytes": snapshot_log_bytes,
        }  # fmt: skip
        encoded = _encode(schema) if schema is not None else None
        self = cls.__new__(cls)
        self._adopt(_native.OnlineTable.open(os.fspath(directory), encoded, options))
        return self

    @classmethod
    def open_reader(cls, directory: str | os.PathLike[str]) -> OnlineTable:
        """Read what another process shares; follows it when it grows, ends and starts anew.

        Where the writer is gone, the rows it had stay readable.
        Errors: NativeError `io` (nobody shares it). Writing raises `not_writable`.
        """
        self = cls.__new__(cls)
        self._adopt(_native.OnlineTable.open_reader(os.fspath(directory)))
        return self

    def _adopt(self, table: _native.OnlineTable, schema: Schema | None = None) -> None:
        self._table = table
        self.schema = schema if schema is not None else _decode(table.schema)
        self._places = {field.name: i for i, field in enumerate(self.schema.fields)}

    @property
    def native(self) -> _native.OnlineTable:
        """The compiled table, for what reads it without Python."""
        return self._table

    def upsert(
        self,
        keys: Keys,
        event_us: NDArray[np.int64] | Sequence[int],
        columns: Mapping[str, Column],
        *,
        created_us: NDArray[np.int64] | Sequence[int] | None = None,
        ttl_seconds: NDArray[np.int32] | Sequence[int] | None = None,
        wait: bool = True,
    ) -> Upserted:
        """Keep the newest row of each key by (event time, created time); on equal times the later one wins.

        Shapes:  every column has one value for each key; `columns` has every field of the schema.
        Units:   `created_us` None: now. `ttl_seconds`: how long the row counts from its event on, 0 for ever; None: all 0.
        Missing: None, and NaN of a float field.
        Errors:  NativeError `bad_shape` (also: a null key), `bad_dtype`, `missing_column`, `full`, `io`, `closed`,
                 `not_writable`. Readers see all of the batch or nothing, and after an error nothing is changed.
        Threads: one batch at a time, others wait; the GIL is released. With `wait` returns when the batch is on disk and
                 visible; else `wait(ticket)` or `flush` tell.
        """
        self._refuse_missing(columns)
        n = _length(keys, len(self.schema.keys))
        given = [_column(field, columns[field.name], n) for field in self.schema.fields]
        events = _times("event_us", event_us)
        if created_us is None:
            created = np.full(len(events), time.time_ns() // 1000, np.int64)
        else:
            created = _times("created_us", created_us)
        ttl = None if ttl_seconds is None else np.ascontiguousarray(ttl_seconds, np.int32)
        done = self._table.upsert(keys, events, created, ttl, [v for v, _ in given], [m for _, m in given])
        if wait:
            self._table.wait(done[2])
        return Upserted(*done)

    def delete(self, keys: Keys, *, wait: bool = True) -> Upserted:
        """Forget keys, whatever their times: the next row of such a key is its first. Errors as in `upsert`."""
        done = self._table.delete(keys)
        if wait:
            self._table.wait(done[2])
        return Upserted(*done)

    def wait(self, ticket: int) -> None:
        """Return when that batch is on disk and visible. NativeError `io` or `full`: it is neither, and was undone."""
        self._table.wait(ticket)

    def flush(self) -> None:
        """Wait for all that was upserted before. An error that nobody has waited for is raised here, once."""
        self._table.flush()

    def snapshot(self) -> None:
        """Write all rows to a new file, so that opening need not replay the log. Others go on meanwhile."""
        self._table.snapshot()

    def close(self) -> None:
        """Flush, leave a snapshot where the log has anything, and let go of the directory. Again: nothing."""
        self._table.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def get(
        self,
        keys: Keys,
        *,
        fields: Sequence[str] | None = None,
        now_us: int | None = None,
        max_age_us: int | None = None,
    ) -> Rows:
        """The newest row of each key into new arrays; `bind` spares making them.

        `fields` None: all. `max_age_us` None: the schema's. Each 4,096 keys are answered as of one moment.
        Errors: NativeError `missing_column` (unknown field), `bad_dtype`, `bad_shape`, `closed`.
        """
        names = [f.name for f in self.schema.fields] if fields is None else list(fields)
        n = _length(keys, len(self.schema.keys))
        bound = self.bind(n, fields=names, max_age_us=max_age_us)
        bound.get(keys, now_us)
        values: dict[str, Any] = dict(bound.columns)
        for j, name in enumerate(names):
            kind = self.schema.fields[self._places[name]].type
            if kind in ("string", "bytes"):
                values[name] = bound.strings(j, kind == "string")
        return Rows({name: values[name] for name in names}, bound.valid, bound.status, bound.event_us)

    def bind(
        self,
        rows: int,
        *,
        fields: Sequence[str] | None = None,
        matrix: bool = False,
        max_age_us: int | None = None,
    ) -> Bound:
        """Buffers for up to `rows` rows at once.

        `matrix`: one float32 matrix (rows, d) of all fields side by side in the place of columns, the fastest; every
        field must be float32 or a vector. Errors as in `get`, and `bad_spec`.
        """
        names = [f.name for f in self.schema.fields] if fields is None else list(fields)
        places = self._find(names)
        chosen = [self.schema.fields[i] for i in places]
        if matrix:
            width = sum(field.width for field in chosen)
            return self._bind(rows, places, {}, {}, [], np.empty((rows, width), np.float32), max_age_us)
        columns = {
            f.name: np.empty((rows, f.width) if f.type == "float32_vector" else rows, _DTYPES[f.type])
            for f in chosen
            if f.type in _DTYPES
        }
        valid = {f.name: np.empty(rows, np.bool_) for f in chosen}
        outputs = [(columns.get(f.name), valid[f.name], _ITSELF) for f in chosen]
        return self._bind(rows, places, columns, valid, outputs, None, max_age_us)

    def bind_for(self, program: programs.Program, rows: int, *, max_age_us: int | None = None) -> Bound:
        """Buffers of the types that `program` reads, for those of its inputs that are fields of this table.

        Numbers, bools and times become float32 or int64 as the program wants; missing is NaN or -2^63. Inputs that the
        table lacks are the caller's to add before `program.bind`.
        Errors: NativeError `bad_dtype`: a field cannot become what the program wants.
        """
        wanted = {c.name: c.type for c in program.inputs if c.name in self._places}
        places = self._find(list(wanted))
        columns: dict[str, NDArray[Any]] = {}
        outputs = []
        for place, (name, kind) in zip(places, wanted.items(), strict=True):
            field = self.schema.fields[place]
            whole = field.type in ("bool", "int32", "int64", "timestamp_us")
            if kind not in ("float32", "int64") or not (
                whole or (kind == "float32" and field.type in ("float32", "float64"))
            ):
                raise status.NativeError(
                    "bad_dtype",
                    f"field `{name}` is {field.type}, the program reads it as {kind}; change one of the two",
                )
            columns[name] = np.empty(rows, np.float32 if kind == "float32" else np.int64)
            outputs.append((columns[name], None, _FLOAT32 if kind == "float32" else _INT64))
        return self._bind(rows, places, columns, {}, outputs, None, max_age_us)

    def _bind(
        self,
        rows: int,
        places: list[int],
        columns: dict[str, NDArray[Any]],
        valid: dict[str, NDArray[np.bool_]],
        outputs: list[tuple[Any, Any, int]],
        matrix: NDArray[np.float32] | None,
        max_age_us: int | None,
    ) -> Bound:
        row_status, event_us = np.empty(rows, np.uint8), np.empty(rows, np.int64)
        age = self.schema.max_age_us if max_age_us is None else max_age_us
        reading = self._table.bind(
            rows, places, outputs, matrix, row_status, event_us, _NO_AGE if age is None else age
        )
        return Bound(reading, columns, valid, matrix, row_status, event_us)

    def scan(self, batch_rows: int = 65_536) -> Iterator[Scanned]:
        """Every row that is visible when the first batch is asked for, of any age, in no order.

        For exports and for tables of another schema. While the iterator lives the memory of replaced rows is not used
        again, so do not leave it half read. Errors: NativeError `closed`; `not_writable` of a reader.
        Threads: one at a time; writers and readers go on.
        """
        if batch_rows < 1:
            raise status.NativeError(
                "bad_shape", f"`batch_rows` must be at least 1, got {batch_rows}; raise it"
            )
        scan = self._table.scan()
        while (rows := scan.next(batch_rows)) is not None:
            keys, event_us, created_us, ttl_seconds, values, valid = rows
            yield Scanned(
                {key.name: column for key, column in zip(self.schema.keys, keys, strict=True)},
                event_us,
                created_us,
                ttl_seconds,
                {field.name: column for field, column in zip(self.schema.fields, values, strict=True)},
                {field.name: column for field, column in zip(self.schema.fields, valid, strict=True)},
            )

    def stats(self) -> Stats:
        """Rows and bytes; a reader knows only `rows` and `row_bytes`."""
        return Stats(**self._table.stats())

    def _find(self, names: Sequence[str]) -> list[int]:
        self._refuse_unknown(names)
        return [self._places[name] for name in names]

    def _refuse_unknown(self, names: Sequence[str]) -> None:
        for name in names:
            if name not in self._places:
                raise status.NativeError(
                    "missing_column", f"field `{name}` is unknown; known are {list(self._places)}"
                )

    def _refuse_missing(self, columns: Mapping[str, Column]) -> None:
        self._refuse_unknown(list(columns))
        for name in self._places:
            if name not in columns:
                raise status.NativeError(
                    "missing_column", f"field `{name}` is missing; pass every field of the schema"
                )


def _encode(schema: Schema) -> tuple[list[tuple[str, int]], list[tuple[str, int, int]], int]:
    names = [key.name for key in schema.keys] + [field.name for field in schema.fields]
    for name in names:
        if names.count(name) > 1:
            raise status.NativeError("bad_spec", f"names must be different, got `{name}` twice; rename one")
    for kind, known in [(k.type, _KEY_TYPES) for k in schema.keys] + [
        (f.type, _FIELD_TYPES) for f in schema.fields
    ]:
        if kind not in known:
            raise status.NativeError("bad_spec", f"a type must be one of {known}, got `{kind}`; correct it")
    age = schema.max_age_us
    if age is not None and age < 0:
        raise status.NativeError(
            "bad_spec", f"`max_age_us` must not be negative, got {age}; or None for no age"
        )
    return (
        [(key.name, _KEY_TYPES.index(key.type)) for key in schema.keys],
        [(field.name, _FIELD_TYPES.index(field.type), field.width) for field in schema.fields],
        _NO_AGE if age is None else age,
    )


def _decode(encoded: tuple[list[tuple[str, int]], list[tuple[str, int, int]], int]) -> Schema:
    keys, fields, age = encoded
    return Schema(
        tuple(Key(name, _KEY_TYPES[kind]) for name, kind in keys),
        tuple(Field(name, _FIELD_TYPES[kind], width) for name, kind, width in fields),
        None if age == _NO_AGE else age,
    )


def _options(rows: int, max_rows: int, seed: int | None) -> dict[str, Any]:
    return {"rows": rows, "max_rows": max_rows, "seed": secrets.randbits(64) if seed is None else seed}


def _length(keys: Keys, n_parts: int) -> int:
    first = keys[0] if n_parts > 1 and isinstance(keys, tuple) and keys else keys
    return 1 if isinstance(first, (int, str)) else len(first)


def _times(name: str, values: NDArray[np.int64] | Sequence[int]) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.dtype.kind == "M":
        return np.ascontiguousarray(array.astype("datetime64[us]")).view(np.int64)
    if array.size and array.dtype.kind not in "iu":
        raise status.NativeError(
            "bad_dtype", f"`{name}` must be int64 microseconds, got {array.dtype}; convert it before"
        )
    return np.ascontiguousarray(array, np.int64)


def _column(field: Field, column: Column, n: int) -> tuple[Any, NDArray[np.bool_] | None]:
    """Values and validity as the compiled code takes them."""
    if isinstance(column, tuple):
        return column
    if field.type in ("string", "bytes"):
        return column if isinstance(column, list) else list(column), None
    if isinstance(column, np.ndarray):
        if column.dtype.kind != "M":
            return column, None
        return _times(field.name, column), ~np.isnat(column)
    dtype = _DTYPES[field.type]
    there = np.fromiter((value is not None for value in column), np.bool_, len(column))
    empty = [0.0] * field.width if field.type == "float32_vector" else 0
    try:
        values = np.array([empty if value is None else value for value in column], dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise status.NativeError(
            "bad_dtype", f"`{field.name}` must hold {field.type} or None, got {error}; convert it before"
        ) from None
    if field.type == "float32_vector" and n == 0:
        values = values.reshape(0, field.width)
    return values, None if there.all() else there
