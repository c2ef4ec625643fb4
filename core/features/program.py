"""A fitted plan, compiled: the one code that turns feature columns into model input, in training and in serving."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mainspring.core import errors, ports
from mainspring.core.features import ops, schema
from mainspring.native import program as native_program
from mainspring.native import status

__all__ = ["Program"]

_TEXT: Final = frozenset({str, np.str_, type(None)})


class Program:
    """Immutable and thread-safe. Made by `FittedPlan.compile()`; a native program does the work, of columns and of ids."""

    def __init__(
        self,
        inputs: Sequence[schema.Column],
        dense_outputs: Sequence[ops.DenseOutput],
        id_outputs: Sequence[ops.IdOutput],
    ) -> None:
        self._inputs = tuple(inputs)
        self._dense = tuple(dense_outputs)
        self._ids = tuple(id_outputs)
        self._compiled = native_program.Program(self.spec)

    @property
    def inputs(self) -> tuple[schema.Column, ...]:
        """What `run` wants, by name."""
        return self._inputs

    @property
    def compiled(self) -> native_program.Program:
        """What does the work, for what runs it without Python."""
        return self._compiled

    @property
    def dense_names(self) -> tuple[str, ...]:
        """Names of the dense matrix's columns, in order."""
        return tuple(o.name for o in self._dense)

    @property
    def id_names(self) -> tuple[str, ...]:
        """Names of the id matrix's columns, in order."""
        return tuple(o.name for o in self._ids)

    @property
    def dense_outputs(self) -> tuple[ops.DenseOutput, ...]:
        """The dense matrix's columns, in order: what each is made of."""
        return self._dense

    @property
    def id_outputs(self) -> tuple[ops.IdOutput, ...]:
        """The id matrix's columns, in order."""
        return self._ids

    @property
    def id_sizes(self) -> tuple[int, ...]:
        """How many ids each id column has, missing and unknown included."""
        return tuple(o.size for o in self._ids)

    @property
    def spec(self) -> dict[str, Any]:
        """What `mainspring.native.program` compiles: JSON values, enough to run the plan where there is no core."""
        return _spec(self._inputs, self._dense, self._ids)

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
        checked = self._check(columns)
        try:
            dense, ids = self._compiled.run(checked)
        except status.NativeError as error:  # of what passed the check only text that is no Unicode
            raise errors.SchemaMismatch(
                f"features {[c.name for c in self._inputs if c.dtype == 'string']}: {error}; send valid Unicode",
                feature="",
                expected="Unicode",
                got=str(error),
            ) from error
        # Native ids are feature-major; a model takes a row's ids side by side.
        return ports.ModelInput(dense=dense, ids=np.ascontiguousarray(ids.T))

    def _check(self, columns: Mapping[str, NDArray[Any]]) -> dict[str, native_program.Column]:
        checked: dict[str, native_program.Column] = {}
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
            checked[want.name] = (
                _texts(array, want) if want.dtype == "string" else np.ascontiguousarray(array)
            )
        return checked


def _spec(
    inputs: Sequence[schema.Column], dense: Sequence[ops.DenseOutput], ids: Sequence[ops.IdOutput]
) -> dict[str, Any]:
    """The native program's spec: what `mainspring.native` compiles for a CPU, and for a device where it can."""
    return {
        "version": 1,
        "inputs": [{"name": c.name, "type": c.dtype} for c in inputs],
        "dense": [
            {"op": "missing", "source": o.source}
            if o.indicator
            else {
                "op": "numeric",
                "source": o.source,
                "fill": o.fill,
                "lower": o.lower,
                "upper": o.upper,
                "log1p": o.log1p,
                "mean": o.mean,
                "scale": o.scale,
            }
            for o in dense
        ],
        "ids": [{"op": "vocabulary", "source": o.source, "values": list(o.values)} for o in ids],
    }


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


def _texts(column: NDArray[Any], want: schema.Column) -> list[str | None]:
    values: list[Any] = column.tolist()
    if column.dtype.kind == "O":
        others = set(map(type, values)) - _TEXT
        # NaN is how pandas writes a missing string, and the one value that differs from itself.
        if others == {float} and all(v != v for v in values if type(v) is float):
            values = [None if type(v) is float else v for v in values]
        elif others:
            names = ", ".join(sorted(t.__name__ for t in others))
            raise _mismatch(want, f"values of type {names}", "send strings, and null for a missing one")
    return values
