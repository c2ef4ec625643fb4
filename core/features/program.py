"""A fitted plan, compiled: the one code that turns feature columns into model input, in training and in serving."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mainspring.core import errors, ports
from mainspring.core.features import ops, schema
from mainspring.native import dense

__all__ = ["Program"]

_TEXT: Final = frozenset({str, np.str_, type(None)})


class Program:
    """Immutable and thread-safe. Made by `FittedPlan.compile()`."""

    def __init__(
        self,
        inputs: Sequence[schema.Column],
        dense_outputs: Sequence[ops.DenseOutput],
        id_outputs: Sequence[ops.IdOutput],
    ) -> None:
        self._inputs = tuple(inputs)
        self._dense = tuple(dense_outputs)
        self._ids = tuple(id_outputs)
        self._sources = tuple(dict.fromkeys(o.source for o in self._dense))
        self._transform = self._compile_dense() if self._dense else None
        types = {c.name: c for c in self._inputs}
        self._lookups = tuple(_lookup(o, types[o.source]) for o in self._ids)

    def _compile_dense(self) -> dense.DenseTransform:
        position = {name: i for i, name in enumerate(self._sources)}
        return dense.DenseTransform(
            source=[position[o.source] for o in self._dense],
            indicator=[o.indicator for o in self._dense],
            fill=[o.fill for o in self._dense],
            lower=[-math.inf if o.lower is None else o.lower for o in self._dense],
            upper=[math.inf if o.upper is None else o.upper for o in self._dense],
            log1p=[o.log1p for o in self._dense],
            mean=[o.mean for o in self._dense],
            scale=[o.scale for o in self._dense],
        )

    @property
    def inputs(self) -> tuple[schema.Column, ...]:
        """What `run` wants, by name."""
        return self._inputs

    @property
    def dense_names(self) -> tuple[str, ...]:
        """Names of the dense matrix's columns, in order."""
        return tuple(o.name for o in self._dense)

    @property
    def id_names(self) -> tuple[str, ...]:
        """Names of the id matrix's columns, in order."""
        return tuple(o.name for o in self._ids)

    @property
    def id_sizes(self) -> tuple[int, ...]:
        """How many ids each id column has, missing and unknown included."""
        return tuple(o.size for o in self._ids)

    def run(self, columns: Mapping[str, NDArray[Any]]) -> ports.ModelInput:
        """Turn raw feature columns into the model's input.

        Shapes:  columns[name] (n_rows,); result dense (n_rows, len(dense_names)) float32 and ids
                 (n_rows, len(id_names)) int32, both C order. Columns the plan does not know are not read.
        Types:   exactly as `inputs` says; a string column is an object array of `str` or None, or a NumPy `U` array.
        Missing: NaN, None and "" are missing values; no dense output is ever NaN.
        Errors:  SchemaMismatch if a column is absent, of another type, of more than one dimension or of another
                 length than the rest, or holds anything but strings in a string column. Numbers never raise.
        Threads: safe to call at once from many threads.
        """
        checked, n_rows = self._check(columns)
        if self._transform is None:
            matrix = np.empty((n_rows, 0), np.float32)
        else:
            matrix = self._transform.run([checked[name] for name in self._sources])
        ids = np.empty((n_rows, len(self._ids)), np.int32)
        for j, (output, lookup) in enumerate(zip(self._ids, self._lookups, strict=True)):
            ids[:, j] = lookup(checked[output.source])
        return ports.ModelInput(dense=matrix, ids=ids)

    def _check(self, columns: Mapping[str, NDArray[Any]]) -> tuple[dict[str, NDArray[Any]], int]:
        checked: dict[str, NDArray[Any]] = {}
        n_rows = -1
        for want in self._inputs:
            column = columns.get(want.name)
            if column is None:
                raise _mismatch(want, "no column", "send it, or read the feature service that has it")
            array = np.asarray(column)
            if not _fits(array.dtype, want.dtype):
                got = "string" if array.dtype.kind in "OU" else str(array.dtype)
                raise _mismatch(want, f"type {got}", "cast it, or pin the plan that was fitted on that type")
            if array.ndim != 1:
                raise _mismatch(want, f"{array.ndim} dimensions", "send one value a row")
            if n_rows not in (-1, len(array)):
                raise _mismatch(want, f"{len(array)} rows beside {n_rows}", "send columns of one length")
            n_rows = len(array)
            checked[want.name] = np.ascontiguousarray(array)
        return checked, max(n_rows, 0)


def _fits(got: np.dtype[Any], want: ports.FieldType) -> bool:
    if want == "string":
        return got.kind in "OU"
    return got == np.dtype(want)


def _mismatch(want: schema.Column, got: str, next_step: str) -> errors.SchemaMismatch:
    return errors.SchemaMismatch(
        f"feature `{want.name}` has {got}, plan expects {want.dtype}; {next_step}",
        feature=want.name,
        expected=want.dtype,
        got=got,
    )


def _lookup(output: ops.IdOutput, want: schema.Column) -> Callable[[NDArray[Any]], list[int]]:
    # A dict per column: equal values get equal ids on every machine, whatever the hash seed is.
    table: dict[Any, int] = {value: ops.FIRST_VALUE_ID + i for i, value in enumerate(output.values)}
    table[None] = table[""] = ops.MISSING_ID
    get, unknown = table.get, ops.UNKNOWN_ID

    def ids_of(column: NDArray[Any]) -> list[int]:
        values = column.tolist()
        if column.dtype.kind == "O":
            others = set(map(type, values)) - _TEXT
            # NaN is how pandas writes a missing string, and the one value that differs from itself.
            if others == {float} and all(v != v for v in values if type(v) is float):
                values = [None if type(v) is float else v for v in values]
            elif others:
                names = ", ".join(sorted(t.__name__ for t in others))
                raise _mismatch(want, f"values of type {names}", "send strings, and null for a missing one")
        return [get(v, unknown) for v in values]

    return ids_of
