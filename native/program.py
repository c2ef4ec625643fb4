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
from typing import Any, Final, NamedTuple, Protocol, final

import numpy as np
from numpy.typing import NDArray

from mainspring.native import _native, status
from mainspring.native import spec as specs

__all__ = ["Bound", "Column", "Outputs", "Program", "Row"]

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
#: and float32 (n_events,), where row i has the events offsets[i] .. offsets[i + 1] - 1; of a string input a list of str
#: or None. Or of any of them an object with `__arrow_c_stream__` or `__arrow_c_array__`: see `Program.run`.
Column = (
    NDArray[Any] | tuple[NDArray[Any], NDArray[np.int64], NDArray[np.float32]] | Sequence[str | None] | Arrow
)


class Outputs(NamedTuple):
    """What a run fills. Ids are feature-major: each column's ids lie side by side."""

    dense: NDArray[np.float32]  # (n_rows, width), C order
    ids: NDArray[np.int32]  # (n_ids, n_rows), C order


@final
class Bound:
    """A program and the buffers it reads and writes, checked once: for batches that come again and again."""

    def __init__(self, bound: _native.Bound) -> None:
        self._bound = bound
        self.outputs = Outputs(bound.dense, bound.ids)
        self.run = bound.run
        """Transform the first `rows` rows that lie in the buffers now.

        Missing: as in `Program.run`.
        Errors:  NativeError `bad_shape` (more rows than are bound; offsets that do not rise or leave their list: the
                 outputs are then not complete), `busy`. Values never raise.
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
        self._id_sizes = tuple(decoded.id_sizes)
        floats, ints, events, strings = (
            decoded.names(kind) for kind in ("float32", "int64", "events", "string")
        )
        self._compiled = _native.Program(
            floats,
            ints,
            events,
            strings,
            decoded.vocabularies,
            decoded.derived,
            decoded.windows,
            decoded.dense,
            decoded.ids,
            target,
        )

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
    def target(self) -> str:
        """The instruction set in force."""
        return self._compiled.target

    def run(
        self, columns: Mapping[str, Column] | Arrow, out: Outputs | None = None, *, threads: int = 1
    ) -> Outputs:
        """Transform one batch.

        Shapes:  columns[name] as `Column` says, C-contiguous; columns that the spec does not name are not read.
                 Without `out` new arrays, 64-byte aligned; `out` itself otherwise.
        Arrow:   a column, or all of `columns` as one table, may come through Arrow's C data interface, in chunks or
                 sliced. float32 and int64 (timestamps, dates and durations too, in their own unit) without nulls and
                 in one chunk are read where they lie; float64 is rounded to float32, bool and shorter integers are
                 widened, nulls become missing, and the copy lives as long as the call. Strings: utf8, large_utf8,
                 string_view. Events: a list of a struct of time and value.
        Units:   times, `as_of` and `width` share one unit, whichever.
        Missing: NaN; in int64 columns -2^63; of strings None and the empty one. No dense output is ever NaN, but those of `pass`.
        Errors:  NativeError `missing_column`, `bad_shape`, `bad_dtype`, `not_contiguous`, `not_writable`, `overlap`:
                 NumPy arrays are refused rather than copied. Values never raise, but strings of no valid Unicode. `bad_spec` if `threads` is not 1 .. 8.
        Threads: safe to call at once from many threads, each with its own `out`. The GIL is released above about half
                 a millisecond of work. Up to `threads`, the caller among them, share a batch that is worth it (of the
                 plan CTR-48: 12,000 rows, or 400 in a loop); the bits are the same. The others are the process's own
                 and stay, asleep (a forked child starts its own); whoever finds them at work goes on alone.
        """
        dense, ids = (None, None) if out is None else out
        made = self._compiled.run(columns, dense, ids, threads)
        return Outputs(*made) if out is None else out

    def bind(
        self, columns: Mapping[str, Column] | Arrow, out: Outputs | None = None, *, threads: int = 1
    ) -> Bound:
        """Check `columns` and `out` as `run` does, and keep them: their values are read when the result runs.

        Arrow data that had to be converted, and strings, keep the values that they had here.
        """
        dense, ids = (None, None) if out is None else out
        return Bound(self._compiled.bind(columns, dense, ids, threads))

    def row(self) -> Row:
        """A place to run single rows: buffers bound once, then a call of a tenth of a microsecond for each row."""
        return self._compiled.row()

    def pack(self, fields: Mapping[str, Any]) -> bytes:
        """One row as bytes for `Row.run_packed`: the fields that `Row.run_fields` takes.

        Little-endian, in the order of the inputs of each type: the int64 values (-2^63: missing), then what this program
        makes of the strings, an int64 for each use (so the bytes are for this program only); the float32 values
        (NaN: missing), one uint32 count for each event list, padding to 8 bytes; then each list's int64 times, its
        float32 values, padding to 8 bytes.
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
        lists = [((), ()) if v is None else v for v in values.get("events", [])]
        ints = np.append(ints, np.array(self._compiled.derive(values.get("string", [])), "<i8"))
        counts = np.array([len(times) for times, _ in lists], "<u4")
        parts = [ints.tobytes() + floats.tobytes() + counts.tobytes()]
        for times, amounts in lists:
            parts += [np.asarray(times, "<i8").tobytes(), np.asarray(amounts, "<f4").tobytes()]
        return b"".join(part + bytes(-len(part) % 8) for part in parts)

    def __repr__(self) -> str:
        return f"Program(width={self.width}, n_ids={self.n_ids}, target='{self.target}')"
