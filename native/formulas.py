"""Request-time features computed without Python: steps over whole and real columns, as `core/features/formulas.py` declares them.

Bit for bit what NumPy makes of the same steps: whole numbers wrap, reals are IEEE doubles, sines and the like are tables.

    >>> import numpy as np
    >>> steps = [Step("whole_column", 0), Step("modulo", 0, whole=7), Step("widen", 1)]
    >>> formulas = Formulas([("day", "whole")], steps, [("weekday", "int64", 1), ("weekday_f", "float32", 2)])
    >>> [made.tolist() for made in formulas.run([np.array([-1, 8])])]
    [[6, 1], [6.0, 1.0]]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from mainspring.native import _native, status

__all__ = ["OPS", "Clock", "Formulas", "Step"]

#: In the order of `FormulaOp` in native/include/mainspring/formulas.h, which says what each means.
OPS: Final = (
    *("whole_column", "real_column", "whole_number", "real_number", "add_whole", "subtract_whole"),
    *("floor_divide", "modulo", "widen", "add", "subtract", "multiply", "divide", "ratio", "is_below"),
    *("local_minutes", "year", "entry", "real_entry"),
)


class Clock(NamedTuple):
    """Minutes ahead of UTC from each hour since 1970 on, until `end_hour`; nothing is known before the first."""

    from_hours: Sequence[int]
    minutes: Sequence[int]
    end_hour: int


class Step(NamedTuple):
    """`a` and `b` are places of earlier steps, or of columns the input's."""

    op: str
    a: int = -1
    b: int = -1
    real: float = 0.0
    whole: int = 0
    table: Sequence[float] = ()
    clock: Clock | None = None


@final
class Formulas:
    """Immutable, thread-safe. `native` is what a front computes with.

    Errors: NativeError `bad_spec` for steps that do not belong together.
    """

    def __init__(
        self,
        inputs: Sequence[tuple[str, str]],
        steps: Sequence[Step],
        outputs: Sequence[tuple[str, str, int]],
    ) -> None:
        """`inputs`: name, and `whole` or `real`; `outputs`: name, `int64` or `float32`, and the step that gives it."""
        for step in steps:
            if step.op not in OPS:
                raise status.NativeError(
                    "bad_spec", f"step `{step.op}` is not known; use one of {', '.join(OPS)}"
                )
        self.native: Final = _native.Formulas(
            [(name, kind == "whole") for name, kind in inputs],
            [(OPS.index(s.op), s.a, s.b, s.real, s.whole, list(s.table), s.clock) for s in steps],
            [(name, dtype == "int64", step) for name, dtype, step in outputs],
        )

    def run(self, columns: Sequence[NDArray[Any]]) -> list[NDArray[Any]] | None:
        """A column (n_rows,) for each output, of one for each input: int64, or float64 with NaN for missing.

        None: a time lies before 1970 or where its clock is not known. Errors: NativeError `bad_dtype`, `bad_shape`.
        """
        given = [np.ascontiguousarray(column) for column in columns]
        return self.native.run(given, len(given[0]) if given else 0)
