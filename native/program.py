"""A feature program: typed columns and event lists in, a dense matrix and ids out, in one pass of compiled code.

    >>> import numpy as np
    >>> from mainspring.native import program
    >>> spec = {
    ...     "version": 1,
    ...     "inputs": [{"name": "price", "type": "float32"}, {"name": "user", "type": "int64"}],
    ...     "dense": [{"op": "numeric", "source": "price", "fill": 2.0}, {"op": "missing", "source": "price"}],
    ...     "ids": [{"op": "vocabulary", "source": "user", "values": [30, 50]}],
    ... }
    >>> compiled = program.Program(spec)
    >>> price, user = np.array([1.5, np.nan], np.float32), np.array([50, 7], np.int64)
    >>> dense, ids = compiled.run({"price": price, "user": user})
    >>> dense
    array([[1.5, 0. ],
           [2. , 1. ]], dtype=float32)
    >>> ids
    array([[3, 1]], dtype=int32)

The spec is described in `mainspring.native.spec`; what every operation means, to the last bit, in
`mainspring.native.reference`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol, Self, final

import numpy as np
from numpy.typing import NDArray

from mainspring.native import _native, status
from mainspring.native import spec as specs

__all__ = ["Bags", "Bound", "Column", "Outputs", "Program", "Row"]

Row = _native.Row


class ArrowStream(Protocol):
    """A Polars Series or DataFrame, a PyArrow ChunkedArray or Table, a relation of DuckDB."""

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any: ...


class ArrowArray(Protocol):
    """A PyArrow Array or RecordBatch."""

    def __arrow_c_array__(self, requested_schema: Any = None) -> Any: ...


Arrow = ArrowStream | ArrowArray
_MISSING: Final = -(1 << 63)

#: A float32 or int64 array (n_rows,); of an event list (offsets, times, values): int32 or int64 (n_rows + 1,), int64
#: and float32 (n_events,), where row i has the events offsets[i] .. offsets[i + 1] - 1; of a list of int64 the same
#: (offsets, values); of a string input a list of str or None, of a list of strings a list of such lists, or None.
#: Or of any of them an object with `__arrow_c_stream__` or `__arrow_c_array__`: see `Program.run`.
Column = (
    NDArray[Any]
    | tuple[NDArray[Any], NDArray[np.int64], NDArray[np.float32]]
    | tuple[NDArray[Any], NDArray[np.int64]]
    | Sequence[str | None]
    | Sequence[Sequence[str | None] | None]
    | Arrow
)


class Bags(NamedTuple):
    """The ids of all bags, as embedding bags take them: bag after bag, within one row after row.

    Row i of bag j of a batch of n rows has the ids values[offsets[j * n + i]] .. values[offsets[j * n + i + 1] - 1].
    What lies behind values[offsets[-1]] is not touched.
    """

    values: NDArray[np.int32]  # (capacity,)
    offsets: NDArray[np.int32]  # (n_bags * n_rows + 1,)


class _Columns(NamedTuple):
    dense: NDArray[np.float32]
    ids: NDArray[np.int32]


class Outputs(_Columns):
    """What a run fills: a pair `dense, ids`, and beside it `bags`, None where the spec has none.

    Ids are feature-major: each column's ids lie side by side.
    """

    # dense: (n_rows, width), ids: (n_ids, n_rows); C order
    bags: Bags | None

    def __new__(cls, dense: NDArray[np.float32], ids: NDArray[np.int32], bags: Bags | None = None) -> Self:
        self = super().__new__(cls, dense, ids)
        self.bags = bags
        return self


def _outputs(
    dense: NDArray[np.float32],
    ids: NDArray[np.int32],
    bags: tuple[NDArray[np.int32], NDArray[np.int32]] | None = None,
) -> Outputs:
    return Outputs(dense, ids, None if bags is None else Bags(*bags))


@final
class Bound:
    """A program and the buffers it reads and writes, checked once: for batches that come again and again."""

    def __init__(self, bound: _native.Bound) -> None:
        self._bound = bound
        self.outputs = _outputs(bound.dense, bound.ids, bound.bags)
        self.run = bound.run
        """Transform the first `rows` rows that lie in the buffers now.

        Bags:    of n rows the first n_bags * n + 1 offsets are written, as of a batch of n rows.
        Missing: as in `Program.run`.
        Errors:  NativeError `bad_shape` (more rows than are bound; offsets that do not rise or leave their list: the
                 outputs are then not complete), `busy`, `full` as in `Program.run`. Values never raise.
        Threads: one at a time; bind one set of buffers for each thread. The GIL is released above about half a
                 millisecond of work. Nothing is allocated.
        """

    @property
    def rows(self) -> int:
        """How many rows the buffers hold."""
        return self._bound.rows


@final
class Program:
    """A compiled spec. Immutable, thread-safe.

    `target` is a name from `targets.available()`; None: the best, or what MAINSPRING_FORCE_TARGET says.

    Errors:  NativeError `bad_spec`, `unknown_target`.
    """

    def __init__(self, spec: Mapping[str, Any], *, target: str | None = None) -> None:
        decoded = specs.decode(spec)
        self._inputs = decoded.inputs
        self._id_sizes, self._bag_sizes = tuple(decoded.id_sizes), tuple(decoded.bag_sizes)
        self._compiled = _native.Program(
            decoded.names("float32"),
            decoded.names("int64"),
            decoded.names("events"),
            decoded.names("string"),
            decoded.names("int64_list"),
            decoded.names("string_list"),
            decoded.vocabularies,
            decoded.derived,
            decoded.derived_lists,
            decoded.windows,
            decoded.dense,
            decoded.ids,
            decoded.bags,
            target,
        )

    @property
    def native(self) -> _native.Program:
        """The compiled program, for what runs it without Python."""
        return self._compiled

    @property
    def inputs(self) -> tuple[specs.Column, ...]:
        """What `run` wants, by name."""
        return self._inputs

    @property
    def width(self) -> int:
        """Columns of the dense matrix."""
        return self._compiled.width

    @property
    def n_ids(self) -> int:
        """Id columns."""
        return self._compiled.n_ids

    @property
    def id_sizes(self) -> tuple[int, ...]:
        """How many ids each id column has, missing, unknown and NaN's included; they begin at its `offset`."""
        return self._id_sizes

    @property
    def n_bags(self) -> int:
        """Bags."""
        return self._compiled.n_bags

    @property
    def bag_sizes(self) -> tuple[int, ...]:
        """As `id_sizes`, of the bags."""
        return self._bag_sizes

    @property
    def target(self) -> str:
        """The instruction set in force."""
        return self._compiled.target

    def run(
        self, columns: Mapping[str, Column] | Arrow, out: Outputs | None = None, *, threads: int = 1
    ) -> Outputs:
        """Transform one batch.

        Shapes:  columns[name] as `Column` says, C-contiguous; columns that the spec does not name are not read.
                 Without `out` new arrays, 64-byte aligned; `out` itself otherwise. The new values of bags have the
                 length they need; those of `out` may be longer.
        Arrow:   a column, or all of `columns` as one table, may come through Arrow's C data interface, in chunks or
                 sliced. float32 and int64 (timestamps, dates and durations too, in their own unit) without nulls and
                 in one chunk are read where they lie; float64 is rounded to float32, bool and shorter integers are
                 widened, nulls become missing, and the copy lives as long as the call. Strings: utf8, large_utf8,
                 string_view. Events: a list of a struct of time and value. Lists: list or large_list of what the
                 values may be; a null list is empty, a null in a list a missing value.
        Units:   times, `as_of` and `width` share one unit, whichever.
        Missing: NaN; in int64 columns -2^63; of strings None and the empty one. No dense output is ever NaN, but those of `pass`.
                 A missing value in a list has the id of a missing value, an empty list has none.
        Errors:  NativeError `missing_column`, `bad_shape`, `bad_dtype`, `not_contiguous`, `not_writable`, `overlap`:
                 NumPy arrays are refused rather than copied. Values never raise, but strings of no valid Unicode. `bad_spec` if `threads` is not 1 .. 8.
                 `full`, a `status.NoRoom` that says how many are needed: `out.bags.values` is too short; nothing
                 was written. Nor is anything where the offsets of a list are damaged (`bad_shape`), or a batch's bags
                 have more than 2^31 - 1 ids (`out_of_range`).
        Threads: safe to call at once from many threads, each with its own `out`. The GIL is released above about half
                 a millisecond of work. Up to `threads`, the caller among them, share a batch that is worth it (of the
                 plan CTR-48: 12,000 rows, or 400 in a loop); the bits are the same. The others are the process's own
                 and stay, asleep (a forked child starts its own); whoever finds them at work goes on alone.
        """
        if out is None:
            return _outputs(*self._compiled.run(columns, None, None, None, threads))
        self._compiled.run(columns, out.dense, out.ids, out.bags, threads)
        return out

    def bind(
        self, columns: Mapping[str, Column] | Arrow, out: Outputs | None = None, *, threads: int = 1
    ) -> Bound:
        """Check `columns` and `out` as `run` does, and keep them: their values are read when the result runs.

        Arrow data that had to be converted, and strings, keep the values that they had here. Without `out` there is room
        for every value of the lists in each of their bags.
        """
        dense, ids, bags = (None, None, None) if out is None else (out.dense, out.ids, out.bags)
        return Bound(self._compiled.bind(columns, dense, ids, bags, threads))

    def row(self, *, bag_capacity: int = 1024) -> Row:
        """A place to run single rows: buffers bound once, then a call of a tenth of a microsecond for each row.

        `bag_capacity`: how many ids all bags of a row may hold together.
        """
        return self._compiled.row(bag_capacity)

    def pack(self, fields: Mapping[str, Any]) -> bytes:
        """One row as bytes for `Row.run_packed`: the fields that `Row.run_fields` takes.

        Little-endian, in the order of the inputs of each type: the int64 values (-2^63: missing), then what this program
        makes of the strings, an int64 for each use (so the bytes are for this program only); the float32 values
        (NaN: missing), one uint32 count for each event list, then one for each list of int64 and for what becomes of each
        list of strings, padding to 8 bytes; then each event list's int64 times, its float32 values, padding to 8 bytes;
        then each list's int64 values.
        Errors: NativeError `missing_column`; whatever NumPy raises for a value that is no number.
        """
        try:
            values = {
                c.type: [fields[o.name] for o in self._inputs if o.type == c.type] for c in self._inputs
            }
        except KeyError as error:
            raise status.NativeError(
                "missing_column", f"field `{error.args[0]}` is missing; pass every input of the spec"
            ) from None
        ints = np.array([_MISSING if v is None else v for v in values.get("int64", [])], "<i8")
        floats = np.array([np.nan if v is None else v for v in values.get("float32", [])], "<f4")
        events = [((), ()) if v is None else v for v in values.get("events", [])]
        lists = [
            np.array([_MISSING if v is None else v for v in ([] if given is None else given)], "<i8")
            for given in values.get("int64_list", [])
        ]
        derived = self._compiled.derive_lists(values.get("string_list", []))
        lists += [np.array(made, "<i8") for made in derived]
        ints = np.append(ints, np.array(self._compiled.derive(values.get("string", [])), "<i8"))
        counts = np.array([*(len(times) for times, _ in events), *map(len, lists)], "<u4")
        parts = [ints.tobytes() + floats.tobytes() + counts.tobytes()]
        for times, amounts in events:
            parts += [np.asarray(times, "<i8").tobytes(), np.asarray(amounts, "<f4").tobytes()]
        parts += [made.tobytes() for made in lists]
        return b"".join(part + bytes(-len(part) % 8) for part in parts)

    def __repr__(self) -> str:
        return f"Program(width={self.width}, n_ids={self.n_ids}, target='{self.target}')"
