from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

@final
class DenseTransform:
    """Compiled dense program. Immutable, thread-safe.

    Output column j reads input column `source[j]`. Where `indicator[j]` is set it is 1.0 for NaN and 0.0 otherwise and
    the other parameters are not read. Otherwise NaN becomes `fill`, the value is clipped to [`lower`, `upper`]
    (-inf and inf: no bound), `log1p(max(y, 0))` is taken where set, and `(y - mean) / scale` is the result.

    All lists have one entry per output column. `fill`, `lower`, `upper` are rounded to float32; `mean` and `scale` are
    taken in double precision. `target` is a name from `targets.available()`; None: the best, or what
    MAINSPRING_FORCE_TARGET says.

    Errors:  NativeError `bad_spec` (lengths, NaN, lower > upper, scale outside 2^-126 .. 2^126, ...), `unknown_target`.
    """

    def __init__(
        self,
        *,
        source: Sequence[int],
        indicator: Sequence[bool],
        fill: Sequence[float],
        lower: Sequence[float],
        upper: Sequence[float],
        log1p: Sequence[bool],
        mean: Sequence[float],
        scale: Sequence[float],
        target: str | None = None,
    ) -> None: ...
    @property
    def width(self) -> int:
        """Output columns."""
    @property
    def n_sources(self) -> int:
        """Input columns that `run` expects: the largest `source` and one."""
    @property
    def target(self) -> str:
        """The instruction set in force."""
    def run(
        self, columns: Sequence[NDArray[np.float32]], out: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Transform one batch.

        Shapes:  columns[i] (n_rows,) float32, C-contiguous; result (n_rows, width) float32, C order. Without `out` a new
                 matrix, 64-byte aligned; `out` itself otherwise.
        Missing: NaN in, never NaN out. Infinities pass where no finite bound stops them.
        Errors:  NativeError `bad_shape`, `bad_dtype`, `not_contiguous`, `not_writable`, `overlap`: arrays are refused
                 rather than copied. Values never raise. `out` is not touched when an error is raised.
        Threads: safe to call at once from many threads, each with its own `out`. The GIL is released from 1,048,576
                 values (rows x width) on, from 32,768 on the generic target: below, getting it back from a busy thread
                 can cost more than the run. Denormals count whatever the thread's flush-to-zero setting says.
        """

@final
class Program:
    """Private; see mainspring.native.program. The lists are those of mainspring.native.spec.Decoded."""

    def __init__(
        self,
        floats: list[str],
        ints: list[str],
        events: list[str],
        windows: Sequence[tuple[int, int, int, int]],
        dense: Sequence[tuple[int, int, float, float, float, bool, float, float]],
        ids: Sequence[tuple[int, list[int], int, int, int, list[int], list[float], bool]],
        target: str | None,
    ) -> None: ...
    @property
    def width(self) -> int: ...
    @property
    def n_ids(self) -> int: ...
    @property
    def target(self) -> str: ...
    def run(
        self,
        columns: Mapping[str, Any],
        dense: NDArray[np.float32] | None,
        ids: NDArray[np.int32] | None,
        threads: int,
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]: ...
    def bind(
        self,
        columns: Mapping[str, Any],
        dense: NDArray[np.float32] | None,
        ids: NDArray[np.int32] | None,
        threads: int,
    ) -> Bound: ...
    def row(self) -> Row: ...

@final
class Row:
    """One row at a time, into its own outputs; made by `mainspring.native.program.Program.row`.

    Errors:  NativeError; the outputs are then those of the row before.
    Threads: one row object for each thread. The GIL is kept. Nothing is allocated.
    """

    def run_packed(self, packed: bytes | bytearray | memoryview | NDArray[Any], /) -> None:
        """Transform a row that `Program.pack` wrote.

        Errors: NativeError `bad_dtype` (no buffer), `bad_shape` (length), `not_contiguous` (not at a multiple of 8).
        """
    def run_fields(self, fields: Mapping[str, Any], /) -> None:
        """Transform a dict: a number, an int64 or (times, values) for each input, None for a missing one.

        Numbers are rounded to float32, so what is beyond its range becomes infinite. Fastest where the dict has the
        inputs in the spec's order by type: floats, ints, event lists. Fields that the spec does not name are not read.
        Errors: NativeError `missing_column`, `bad_dtype`, `bad_shape`, `not_contiguous`.
        """
    @property
    def dense(self) -> NDArray[np.float32]:
        """(1, width): of the last row."""
    @property
    def ids(self) -> NDArray[np.int32]:
        """(n_ids, 1): of the last row."""

@final
class Bound:
    """Private; see mainspring.native.program."""

    def run(self, rows: int) -> None: ...
    @property
    def rows(self) -> int: ...
    @property
    def dense(self) -> NDArray[np.float32]: ...
    @property
    def ids(self) -> NDArray[np.int32]: ...

def available_targets() -> tuple[str, ...]: ...
def best_target() -> str: ...
def choose_target(name: str | None = None) -> str: ...
