from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, final

import numpy as np
from numpy.typing import NDArray

#: What jagged rows may consist of; offsets and indices are integers.
_T = TypeVar("_T", np.float32, np.int32, np.int64)
_Integers = NDArray[np.int32] | NDArray[np.int64]
_Schema = tuple[list[tuple[str, int]], list[tuple[str, int, int]], int]

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
        strings: list[str],
        lists: list[str],
        string_lists: list[str],
        vocabularies: Sequence[Sequence[str]],
        derived: Sequence[tuple[int, int, int]],
        derived_lists: Sequence[tuple[int, int, int]],
        windows: Sequence[tuple[int, int, int, int]],
        dense: Sequence[tuple[int, int, float, float, float, bool, float, float]],
        ids: Sequence[tuple[int, list[int], int, int, int, list[int], list[float], bool]],
        bags: Sequence[tuple[int, list[int], int, int, int, list[int], list[float], bool]],
        target: str | None,
    ) -> None: ...
    @property
    def width(self) -> int: ...
    @property
    def n_ids(self) -> int: ...
    @property
    def target(self) -> str: ...
    @property
    def n_bags(self) -> int: ...
    def derive(self, strings: Sequence[str | None]) -> list[int]: ...
    def derive_lists(self, lists: Sequence[Sequence[str | None] | None]) -> list[list[int]]: ...
    def run(
        self,
        columns: Any,
        dense: NDArray[np.float32] | None,
        ids: NDArray[np.int32] | None,
        bags: tuple[NDArray[np.int32], NDArray[np.int32]] | None,
        threads: int,
    ) -> tuple[Any, ...]:
        """(dense, ids), and where there are bags (values, offsets)."""
    def bind(
        self,
        columns: Any,
        dense: NDArray[np.float32] | None,
        ids: NDArray[np.int32] | None,
        bags: tuple[NDArray[np.int32], NDArray[np.int32]] | None,
        threads: int,
    ) -> Bound: ...
    def row(self, bag_capacity: int) -> Row: ...

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
        """Transform a dict: a number, an int64, (times, values) or a str for each input, None for a missing one.

        For a list of int64 an array or a list with None for the missing, for one of strings a list of str or None.

        Numbers are rounded to float32, so what is beyond its range becomes infinite. Fastest where the dict has the
        inputs in the spec's order by type: floats, ints, event lists, strings, lists of int64, lists of strings. Fields
        that the spec does not name are not read.
        Errors: NativeError `missing_column`, `bad_dtype`, `bad_shape`, `not_contiguous`, `full` (NoRoom).
        """
    @property
    def dense(self) -> NDArray[np.float32]:
        """(1, width): of the last row."""
    @property
    def ids(self) -> NDArray[np.int32]:
        """(n_ids, 1): of the last row."""
    @property
    def bag_values(self) -> NDArray[np.int32]:
        """(bag_capacity,): of the last row, the first `bag_offsets[-1]`."""
    @property
    def bag_offsets(self) -> NDArray[np.int32]:
        """(n_bags + 1,): of the last row."""

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
    @property
    def bags(self) -> tuple[NDArray[np.int32], NDArray[np.int32]] | None: ...

@final
class Batcher:
    """Joins concurrent requests into batches. See `mainspring.native.batcher`.

    `columns`: (name, "float32" | "int32" | "int64", values in a row). A request of n rows gets (n, width) of each,
    row-major, in the batch that it will be part of.
    `max_rows` a batch (up to 65,535), `depth` batches of each priority under way at once (a power of two): the bound.
    Memory: priorities x depth x max_rows rows, made at once. Priority 0 is the most urgent; a batch has requests of
    one priority, and one step of priority is worth `aging_seconds` of waiting, so that none waits for ever.
    `adaptive`: an open batch waits only while the observed gap between requests makes it pay, at most
    `max_delay_seconds`; else always that long unless it is full. `sheds_infeasible`: a deadline that the run itself
    would pass counts as passed.

    Threads: all methods from any thread. Requests are reserved without a lock. Fork: refused in the child.
    Errors:  NativeError `bad_spec`.
    """

    def __init__(
        self,
        columns: Sequence[tuple[str, str, int]],
        *,
        max_rows: int = 256,
        max_delay_seconds: float = 0.002,
        depth: int = 64,
        priorities: int = 1,
        aging_seconds: float = 0.01,
        adaptive: bool = True,
        sheds_infeasible: bool = False,
    ) -> None: ...
    def reserve(
        self,
        rows: int = 1,
        *,
        priority: int = 0,
        deadline_ns: int | None = None,
        arrival_ns: int = 0,
        mailbox: int = 0,
        waiter: Any = None,
    ) -> Request:
        """Rows of the open batch, to be written and committed; its batch waits for that.

        `deadline_ns`: of time.monotonic_ns(); a request that is not taken by then is not computed. `arrival_ns`: when
        it came, where that was before; 0: now. `mailbox`, `waiter`: of `Front`.
        Errors: Busy with `retry_after_seconds`, NativeError `out_of_range` (more rows than a batch has), `closed`.
        """
    def add(
        self,
        columns: Mapping[str, NDArray[Any]],
        *,
        priority: int = 0,
        deadline_ns: int | None = None,
        arrival_ns: int = 0,
        mailbox: int = 0,
        waiter: Any = None,
    ) -> Request:
        """Reserve, copy, commit. Shapes: columns[name] (rows, width), C-contiguous, of the column's dtype.

        Errors: those of `reserve`, NativeError `missing_column`, `bad_dtype`, `bad_shape`, `not_contiguous`.
        """
    def add_row(
        self,
        row: Row,
        given: Any,
        *,
        priority: int = 0,
        deadline_ns: int | None = None,
        arrival_ns: int = 0,
        mailbox: int = 0,
        waiter: Any = None,
    ) -> Request:
        """One row of a program, computed straight into the batch from a dict or packed bytes.

        The batcher's columns are one float32 of the program's width, one int32 of its n_ids, or the one it has.
        `row`'s own outputs stay as they were. Errors: those of `reserve` and of `Row`, `bad_spec`, `bad_shape`.
        """
    def take(self, timeout_seconds: float | None = None) -> Batch | None:
        """The next batch that is due; None after the timeout, or where the batcher is closed and empty.

        Threads: any number may take. The GIL is released while it waits, and not where a batch is due: a run that keeps
        the GIL keeps it from the threads that wait for the batch before.
        """
    def poll(self) -> Batch | None:
        """Whatever is there, due or not."""
    def close(self, drain: bool = True) -> None:
        """Take no more requests. What is there is still taken, or else answered `closed`. Idempotent."""
    @property
    def closed(self) -> bool: ...
    @property
    def max_rows(self) -> int: ...
    def stats(self) -> dict[str, float]:
        """Counts since the start, and the observed gap and costs in seconds."""
    def open_mailbox(self) -> int:
        """For `Front`: a number to reserve with, whose answers `drain` gives. At most 1,024."""
    def mailbox_fd(self, mailbox: int) -> int:
        """Readable while `drain` has something."""
    def drain(self, mailbox: int) -> list[tuple[Any, Any, bool]]:
        """(waiter, value or exception, whether it is an exception) of what was answered, once each."""
    def _time_single_rows(self, rows: int, at_once: int) -> int: ...

@final
class Request:
    """Rows reserved in a batch. `with batcher.reserve() as request` commits, or abandons where the block raises.

    One that is let go of is abandoned or cancelled. Threads: one at a time, but `cancel` from any.
    """

    @property
    def columns(self) -> dict[str, NDArray[Any]]:
        """(rows, width) of each column, to be written before `commit` and not after.

        Errors: NativeError `closed` once it was committed.
        """
    @property
    def rows(self) -> int: ...
    @property
    def done(self) -> bool:
        """Whether `result` has an answer."""
    def commit(self) -> None: ...
    def abandon(self) -> None: ...
    def cancel(self) -> bool:
        """True where it had no answer yet; its answer then is `cancelled`, and if it was not taken it is not computed."""
    def result(self, timeout_seconds: float | None = None) -> Any:
        """Wait for its rows of the output: a view.

        Errors: NativeError `deadline_exceeded` (at the deadline, whether anybody takes or not), `cancelled`,
        `closed`; what the model raised; TimeoutError, after which it may be asked again.
        """
    def __enter__(self) -> Request: ...
    def __exit__(self, *_: object) -> None: ...

@final
class Batch:
    """Taken rows. One that is let go of without an answer answers `cancelled`. Threads: one at a time."""

    @property
    def columns(self) -> dict[str, NDArray[Any]]:
        """(rows, width) of each column, 64-byte aligned, until `complete` or `fail`: nothing may keep them."""
    @property
    def rows(self) -> int: ...
    @property
    def priority(self) -> int: ...
    def complete(self, output: Any) -> None:
        """Answer all of it: `output`, or each part of a tuple, slices into as many rows as the batch has.

        Errors: NativeError `bad_shape`, `closed` (answered already).
        """
    def fail(self, error: BaseException) -> None:
        """Answer all of it with this exception."""

def asof_search(
    times: NDArray[np.int64],
    starts: NDArray[np.int64],
    runs: NDArray[np.int64],
    as_of: NDArray[np.int64],
    *,
    max_age: int | None = None,
) -> NDArray[np.int64]:
    """For each question the position of the last row of its run with time at or before the question's, or -1.

    Shapes:  times (n,), each run of them ascending; starts (n_runs + 1,); runs and as_of (m,); result (m,).
    Missing: a question whose run is below 0 finds nothing, nor does one whose row is older than `max_age`.
    Errors:  NativeError `bad_dtype`, `bad_shape`, `not_contiguous`; `out_of_range` for a run that is not there, starts that
             do not lie in the rows, or a `max_age` below 0.
    Threads: safe to call at once; nobody may change the arrays meanwhile. The GIL is released.
    """

def asof_newest(
    row_keys: NDArray[np.int64],
    events: NDArray[np.int64],
    created: NDArray[np.int64],
    numbers: NDArray[np.int64],
    keys: NDArray[np.int64],
    as_of: NDArray[np.int64],
    *,
    n_keys: int,
    max_age: int | None = None,
    known_only: bool = False,
) -> NDArray[np.int64]:
    """As `asof_search` over rows in any order: the newest by (event, created, number), in one pass over them.

    Shapes:  row_keys, events, created and numbers (n,); keys and as_of (m,), keys from 0 to n_keys - 1; result (m,).
    Missing: rows and questions whose key is below 0 meet nobody. With `known_only` rows created after a question's time
             are passed over.
    Errors:  as `asof_search`; `out_of_range` for a key that is not below `n_keys`.
    Threads: as `asof_search`. Memory: 32 bytes a question, 8 a key.
    """

def jagged_to_padded_dense(
    values: NDArray[_T],
    offsets: _Integers,
    max_length: int,
    padding_value: float = 0,
    *,
    truncate: bool = False,
    out: NDArray[_T] | None = None,
    target: str | None = None,
) -> NDArray[_T]:
    """Row i becomes row i of a matrix, with padding behind it.

    Shapes:  values (n_values,) or (n_values, d), offsets (n_rows + 1,); result (n_rows, max_length) or (n_rows,
             max_length, d). offsets[0] need not be 0, nor the last one n_values. Without `out` a new array, 64-byte
             aligned; `out` itself otherwise.
    Errors:  NativeError `bad_offsets` (fall, or leave the values), `out_of_range` (a row longer than `max_length` without
             `truncate`; a padding value beyond the dtype), `bad_shape`, `bad_dtype`, `not_contiguous`, `not_writable`,
             `overlap`: arrays are refused rather than copied. `out` is not touched when an error is raised.
    Threads: safe to call at once from many threads, each with its own `out`; nobody may change the arrays meanwhile. The
             GIL is released from 1,048,576 32-bit words on.
    """

def dense_to_jagged(
    dense: NDArray[_T],
    offsets: _Integers,
    *,
    padding_value: float | None = None,
    out: NDArray[_T] | None = None,
    target: str | None = None,
) -> NDArray[_T]:
    """The inverse: the beginnings of a matrix's rows, one behind the other.

    Shapes:  dense (n_rows, max_length) or (n_rows, max_length, d), offsets (n_rows + 1,) from 0 on; result
             (offsets[-1],) or (offsets[-1], d).
    Errors:  NativeError `out_of_range` where a row is longer than `dense` and there is no `padding_value` for the rest;
             else as `jagged_to_padded_dense`.
    Threads: as `jagged_to_padded_dense`.
    """

def jagged_concat(
    values: Sequence[NDArray[_T]],
    offsets: Sequence[_Integers],
    *,
    out: tuple[NDArray[_T], NDArray[np.int64]] | None = None,
) -> tuple[NDArray[_T], NDArray[np.int64]]:
    """The rows of several batches as one: (values, offsets), int64 offsets from 0 on.

    Shapes:  values[i] (n,) or (n, d), one dtype and one d; offsets[i] as in `jagged_to_padded_dense`.
    Errors:  NativeError `bad_shape` where there is no batch; else as `jagged_to_padded_dense`.
    Threads: as `jagged_to_padded_dense`.
    """

def gather_rows(
    table: NDArray[_T], indices: _Integers, *, fill_value: float | None = None, out: NDArray[_T] | None = None
) -> NDArray[_T]:
    """out[i] = table[indices[i]].

    Shapes:  table (n_rows,) or (n_rows, d), indices (n,); result (n,) or (n, d).
    Missing: index -1 is `fill_value`, where one is given.
    Errors:  NativeError `out_of_range` (an index without a row: negative ones do not count from the end); else as
             `jagged_to_padded_dense`.
    Threads: as `jagged_to_padded_dense`.
    """

def scatter_rows(rows: NDArray[_T], indices: _Integers, out: NDArray[_T]) -> None:
    """out[indices[i]] = rows[i], in order: of several for one row the last stays.

    Shapes:  rows (n,) or (n, d), indices (n,), out (n_rows,) or (n_rows, d).
    Errors:  as `gather_rows`.
    Threads: as `gather_rows`.
    """

@final
class BoundModel:
    """A model with its inputs and its output, checked once; made by a model's `bind`.

    Threads: one for each thread. The GIL is kept. Nothing is allocated.
    """

    def run(self) -> None:
        """Read the bound inputs as they are now, write `out`."""
    @property
    def out(self) -> NDArray[Any]:
        """The bound output."""

@final
class Mlp:
    """A small network, packed; made by `mainspring.native.mlp.make`. Immutable, thread-safe."""

    def __init__(
        self,
        dense_width: int,
        n_ids: int,
        tables: Sequence[tuple[NDArray[np.float32], int, bool]],
        layers: Sequence[tuple[NDArray[np.float32], NDArray[np.float32] | None, int]],
        target: str | None,
        /,
    ) -> None: ...
    def run(
        self,
        dense: NDArray[np.float32],
        ids: NDArray[np.int32] | None = None,
        out: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Forward a batch.

        Shapes:  dense (n_rows, dense_width) float32, ids (n_ids, n_rows) int32 as `Program` writes them, both
                 C-contiguous; result (n_rows, n_outputs) float32.
        Missing: NaN in, NaN out.
        Errors:  NativeError `bad_spec` with the row where an id is outside its table (`out` is then untouched);
                 `bad_shape`, `bad_dtype`, `not_contiguous`, `not_writable`, `overlap`.
        Threads: safe to call at once from many threads, each with its own `out`. The GIL is released from 16,777,216
                 multiply-adds on, from 524,288 on the generic target.
        """
    def bind(
        self,
        dense: NDArray[np.float32],
        ids: NDArray[np.int32] | None = None,
        out: NDArray[np.float32] | None = None,
    ) -> BoundModel:
        """The same with the arrays checked once: those of a `Program.row()`, for one request after the other."""
    def sealed(self) -> int:
        """A copy of `packed` that nobody can change any more, in memory without a name: its file, which the caller closes.

        Errors: NativeError `io`. Threads: the GIL is released.
        """
    def over(self, fd: int) -> Mlp:
        """The same network over a sealed copy of its weights, which other processes may have mapped as well. Every byte is
        compared with `packed` first; the file stays the caller's, and may be closed.

        Errors: NativeError `corrupt` for other bytes, another length, or a file that is not sealed; `io`.
        Threads: the GIL is released.
        """
    @property
    def packed(self) -> NDArray[np.uint8]:
        """Weights, biases and tables as the kernels read them, (n_bytes,), read-only; the same for every target."""
    @property
    def is_mapped(self) -> bool:
        """Whether they are in memory that other processes may have."""
    @property
    def dense_width(self) -> int: ...
    @property
    def n_ids(self) -> int: ...
    @property
    def n_outputs(self) -> int: ...
    @property
    def target(self) -> str:
        """The instruction set in force."""

@final
class Contributions:
    """What each feature adds to a margin of boosted trees. Immutable, thread-safe."""

    @staticmethod
    def from_lightgbm(text: str | bytes) -> Contributions:
        """Of `Booster.model_to_string()`: the numbers of `predict(pred_contrib=True)`.

        Errors: NativeError as `Trees.from_lightgbm`; `unsupported_model` also for a model that does not say how many
                training rows went where, or is deeper than 1,024 splits.
        """
    @staticmethod
    def from_xgboost(json: str | bytes) -> Contributions:
        """Of `Booster.save_raw("json")`: the numbers of `predict(pred_contribs=True)`. Errors: as above."""
    def run(self, features: NDArray[Any], *, output: int = 0) -> NDArray[np.float64]:
        """Explain a batch.

        Shapes:  features (n_rows, width) float32, for LightGBM also float64, C-contiguous; result (n_rows, width + 1):
                 each feature's contribution to `output`, then the base value; a row sums to its margin.
        Missing: NaN, as the library that trained the model treats it.
        Errors:  NativeError `bad_shape`, `bad_dtype`, `not_contiguous`, `out_of_range` for `output`. Values never raise.
        Threads: safe to call at once from many threads; the GIL is released.
        """
    @property
    def width(self) -> int:
        """Features."""
    @property
    def n_outputs(self) -> int:
        """Margins a row."""
    @property
    def n_trees(self) -> int: ...
    @property
    def depth(self) -> int:
        """Splits on the longest way down; a row costs about trees x leaves x depth^2."""

@final
class Trees:
    """Gradient-boosted trees. Immutable, thread-safe.

    LightGBM: answers are float64, features float32 or float64, and equal LightGBM's own to the last bit. XGBoost:
    everything is float32; sums equal XGBoost's own to the last bit. Categories are the codes the model was trained on.
    """

    @staticmethod
    def from_lightgbm(text: str | bytes, *, target: str | None = None) -> Trees:
        """Of `Booster.model_to_string()`, or the file of `save_model`. All targets give the same bits.

        Errors: NativeError `bad_model` (damaged, cyclic, truncated), `unsupported_model` (linear leaves, unknown
                objective or version), `bad_dtype`, `unknown_target`.
        """
    @staticmethod
    def from_xgboost(json: str | bytes, *, target: str | None = None) -> Trees:
        """Of `Booster.save_raw("json")`, or the file of `save_model("model.json")`.

        Errors: as `from_lightgbm`; unsupported: boosters but `gbtree`, leaves with several values, other objectives.
        """
    def run(
        self, features: NDArray[Any], out: NDArray[Any] | None = None, *, raw: bool = False
    ) -> NDArray[Any]:
        """Predict a batch.

        Shapes:  features (n_rows, width), C-contiguous; result (n_rows, n_outputs) of `dtype`. `raw` leaves out the
                 objective's transform (sigmoid, softmax, exp, ...): margins.
        Missing: NaN, as the library that trained the model treats it.
        Errors:  NativeError `bad_shape`, `bad_dtype`, `not_contiguous`, `not_writable`, `overlap`. Values never raise.
        Threads: safe to call at once from many threads, each with its own `out`. The GIL is released from 131,072
                 rows x trees on.
        """
    def bind(
        self, features: NDArray[Any], out: NDArray[Any] | None = None, *, raw: bool = False
    ) -> BoundModel:
        """The same with the arrays checked once, for many runs on changing values. Errors: as `run`."""
    def sealed(self) -> int:
        """As of `Mlp`."""
    def over(self, fd: int, /) -> Trees:
        """As of `Mlp`."""
    @property
    def packed(self) -> NDArray[np.uint8]:
        """Nodes, leaves and bit vectors as the kernels of `target` read them, (n_bytes,), read-only."""
    @property
    def is_mapped(self) -> bool:
        """Whether they are in memory that other processes may have."""
    @property
    def width(self) -> int:
        """Features."""
    @property
    def n_outputs(self) -> int:
        """Numbers a row, after the transform."""
    @property
    def n_trees(self) -> int: ...
    @property
    def target(self) -> str: ...
    @property
    def n_nodes(self) -> int:
        """Splits and leaves that can be reached."""
    @property
    def objective(self) -> str:
        """The library's own name for it."""
    @property
    def feature_names(self) -> tuple[str, ...]:
        """As the file names them; empty where it does not."""
    @property
    def dtype(self) -> np.dtype[Any]:
        """Of answers: float64 (LightGBM) or float32 (XGBoost)."""

def device_plan(
    floats: list[str],
    ints: list[str],
    events: list[str],
    windows: Sequence[tuple[int, int, int, int]],
    dense: Sequence[tuple[int, int, float, float, float, bool, float, float]],
    ids: Sequence[tuple[int, list[int], int, int, int, list[int], list[float], bool]],
) -> bytes:
    """Private; see mainspring.native.device_plan."""

@final
class OnlineTable:
    """Private; see mainspring.native.table. Types and options are by number and name, as that module writes them."""

    @staticmethod
    def create(schema: _Schema, options: dict[str, Any]) -> OnlineTable: ...
    @staticmethod
    def open(directory: str, schema: _Schema | None, options: dict[str, Any]) -> OnlineTable: ...
    @staticmethod
    def open_reader(directory: str) -> OnlineTable: ...
    @property
    def schema(self) -> _Schema: ...
    def upsert(
        self,
        keys: Any,
        event_us: NDArray[np.int64],
        created_us: NDArray[np.int64],
        ttl_seconds: NDArray[np.int32] | None,
        values: list[Any],
        valid: list[NDArray[np.bool_] | None],
    ) -> tuple[int, int, int]: ...
    def delete(self, keys: Any) -> tuple[int, int, int]: ...
    def wait(self, ticket: int) -> None: ...
    def flush(self) -> None: ...
    def snapshot(self) -> None: ...
    def close(self) -> None: ...
    def scan(self) -> Scan: ...
    def stats(self) -> dict[str, int]: ...
    def bind(
        self,
        rows: int,
        fields: list[int],
        columns: Sequence[tuple[NDArray[Any] | None, NDArray[np.bool_] | None, int]],
        matrix: NDArray[np.float32] | None,
        status: NDArray[np.uint8],
        event_us: NDArray[np.int64],
        max_age_us: int,
    ) -> Reading: ...

@final
class Scan:
    """Private; see mainspring.native.table."""

    def next(
        self, rows: int
    ) -> (
        tuple[
            list[Any],
            NDArray[np.int64],
            NDArray[np.int64],
            NDArray[np.int32],
            list[Any],
            list[NDArray[np.bool_]],
        ]
        | None
    ): ...

@final
class Reading:
    """Private; see mainspring.native.table.Bound."""

    def get(self, keys: Any, now_us: int | None = None, /) -> int: ...
    def strings(self, field: int, is_text: bool, /) -> list[Any]: ...

def available_targets() -> tuple[str, ...]: ...
def best_target() -> str: ...
def choose_target(name: str | None = None) -> str: ...

@final
class Limits:
    """See mainspring.native.limits."""

    def __init__(self, shared: str | None) -> None: ...
    def set_rules(self, rules: Sequence[tuple[Any, ...]]) -> None: ...
    def throttle(self, caller: str, endpoint: str, rule: tuple[Any, ...] | None) -> None: ...
    @property
    def is_on(self) -> bool: ...
    def admit(
        self, caller: str, endpoint: str, monotonic: float, wall: float
    ) -> tuple[str, float, float] | None: ...
    def give_back(self, caller: str, endpoint: str, monotonic: float, wall: float) -> None: ...
    def charge(self, caller: str, endpoint: str, rows: int, monotonic: float, wall: float) -> None: ...
    def refused(self) -> list[tuple[str, str, int]]: ...

@final
class InferCounts:
    """See mainspring.native.infer."""

    def __init__(self, name: str, version: str) -> None: ...
    def sum(self) -> tuple[Any, ...]: ...

@final
class InferModel:
    """See mainspring.native.infer."""

    def answer(
        self, body: bytes | bytearray | memoryview, json_length: int | None, /
    ) -> tuple[bytes, int | None, int] | None: ...

def infer_model(
    model: tuple[str, str, str, str, bool, int, Any], counts: InferCounts, seconds: float
) -> InferModel: ...

@final
class Formulas:
    """See mainspring.native.formulas."""

    def __init__(
        self,
        inputs: Sequence[tuple[str, bool]],
        steps: Sequence[tuple[Any, ...]],
        outputs: Sequence[tuple[str, bool, int]],
    ) -> None: ...
    def run(self, columns: list[NDArray[Any]], rows: int) -> list[NDArray[Any]] | None: ...

@final
class Front:
    """See mainspring.native.front."""

    def __init__(
        self, listeners: Sequence[int], options: Mapping[str, Any], grpc_listeners: Sequence[int]
    ) -> None: ...
    @staticmethod
    def why_no_grpc() -> str: ...
    def set_models(self, models: Sequence[tuple[str, str, str, str, bool, int, Any]]) -> None: ...
    def set_views(
        self,
        views: Sequence[tuple[str, Any]],
        services: Sequence[tuple[str, Sequence[tuple[str, str]]]],
        max_rows: int,
    ) -> None: ...
    def set_guard(
        self,
        keys: Sequence[tuple[str, str, bytes, bool, bool, int, str]],
        limits: Limits | None,
        needs_key: bool,
    ) -> None: ...
    @staticmethod
    def goes_to_canary(endpoint: str, key: str, percent: int) -> bool: ...
    def set_endpoints(self, endpoints: Sequence[Mapping[str, Any]]) -> list[str]: ...
    def drain_predictions(self) -> list[tuple[Any, ...]]: ...
    def predict_counts(self) -> list[tuple[Any, ...]]: ...
    def set_traces(self, share: float, max_waiting: int) -> None: ...
    def drain_spans(self) -> tuple[list[tuple[Any, ...]], int]: ...
    def stop(self, drain_seconds: float) -> None: ...
    def model_counts(self) -> list[tuple[Any, ...]]: ...
    def read_counts(self) -> tuple[Any, ...]: ...
    def counts(self) -> dict[str, int]: ...
