"""Request-time features: none, or a declared list of formulas that serving can compute without Python.

A project says `derive = staticmethod(derivation.nothing)` or `derive = DERIVATION`, and serving knows what that means without
running it. A function of a project's own is as good, but its predictions by entity are Python's to make.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mainspring.core import errors
from mainspring.core.features import formulas, schema
from mainspring.native import formulas as native

__all__ = ["Derivation", "nothing"]

_TYPES: Final[Mapping[str, tuple[str, tuple[type[np.generic], ...]]]] = {
    "whole": ("int64", (np.int64,)),
    "real": ("float32", (np.float32, np.float64)),
}


def nothing(columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """No derived columns, whatever the columns are."""
    return {}


class Derivation:
    """Columns as formulas over others. Immutable, thread-safe.

    >>> made = Derivation({schema.Column(name="km", dtype="float32"): formulas.real("miles") * 1.609344})
    >>> made({"miles": np.array([1.0, np.nan])})["km"].tolist()
    [1.6093440055847168, nan]
    """

    def __init__(self, columns: Mapping[schema.Column, formulas.Formula]) -> None:
        """int64 of a whole formula, float32 of any. Errors: InvalidRequest for another column."""
        for column, formula in columns.items():
            if column.dtype != "float32" and not (column.dtype == "int64" and formula.is_whole):
                raise errors.InvalidRequest(
                    f"column `{column.name}` is {column.dtype} of a {'whole' if formula.is_whole else 'real'} formula;"
                    " declare float32, or int64 of a whole one",
                    field=column.name,
                )
        self.columns: Final = tuple(columns)
        self._steps = formulas.Steps(list(columns.values()))
        if not self._steps.inputs:
            raise errors.InvalidRequest(
                "the formulas read no column; say `derivation.nothing`, or let one read a column",
                field="columns",
            )
        #: By derived column, the columns that it is computed from.
        self.derived_from: Final[Mapping[str, tuple[str, ...]]] = {
            column.name: self._steps.reads(i) for i, column in enumerate(self.columns)
        }
        #: Columns that are read, by name, each `whole` or `real`.
        self.inputs: Final = self._steps.inputs
        self._compiled: native.Formulas | None = None

    def __call__(self, columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The declared columns, each (n_rows,), computed in float64 and rounded once.

        Missing: NaN in, NaN out. Errors: SchemaMismatch for an absent or wrongly typed column. Values never raise.
        """
        made = self._steps.run(
            {name: _typed(columns, name, kind) for name, kind in self._steps.inputs.items()}
        )
        with np.errstate(all="ignore"):
            return {
                column.name: values.astype(column.numpy_dtype)
                if column.dtype == "int64"
                else values.astype(np.float64).astype(np.float32)
                for column, values in zip(self.columns, made, strict=True)
            }

    @property
    def compiled(self) -> native.Formulas:
        """The same without Python, made when it is first asked for."""
        if self._compiled is None:
            self._compiled = self._steps.compiled([(column.name, column.dtype) for column in self.columns])
        return self._compiled


def _typed(columns: Mapping[str, NDArray[Any]], name: str, kind: str) -> NDArray[Any]:
    column = columns.get(name)
    expected, types = _TYPES[kind]
    if column is None or column.dtype.type not in types:
        got = "no column" if column is None else f"type {column.dtype}"
        raise errors.SchemaMismatch(
            f"column `{name}` has {got}, the request-time features expect {expected}; send it, or read the feature"
            " service that has it",
            feature=name,
            expected=expected,
            got=got,
        )
    # float32 widens exactly: a stored float32 and a request's float64 of the same value agree.
    return column.astype(np.int64 if kind == "whole" else np.float64, copy=False)
