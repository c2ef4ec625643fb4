"""A whole feature program in Triton: dense columns, ids and windows, from the bytes of `mainspring.native.device_plan`.

Two kernels at most: `window_kernel`, once for each pair of event list and moment, writes its windows as further float
columns; `program_kernel` turns all columns into the dense matrix and the ids in one launch. Its programs for the same 1,024
rows lie side by side in the grid, so that those which read the same column do so at the same time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import triton
import triton.language as tl
from mainspring.native import device_plan
from mainspring.native.triton import windows
from mainspring.native.triton.dense import log1p
from mainspring.native.triton.ids import id_column

__all__ = [
    "NUM_WARPS",
    "ROWS",
    "TILE_COLUMNS",
    "TILE_ROWS",
    "Events",
    "grid",
    "launch",
    "program_kernel",
    "views",
]

#: Rows of an id program; a dense tile has TILE_ROWS x TILE_COLUMNS values, as many.
ROWS = 1024
TILE_ROWS = 64
TILE_COLUMNS = 16
NUM_WARPS = 8


class Events(NamedTuple):
    """One event list, as tensors: row i has the events offsets[i] .. offsets[i + 1] - 1."""

    offsets: Any  # (n_rows + 1,) int32 or int64
    times: Any  # (n_events,) int64
    values: Any  # (n_events,) float32


@triton.jit  # type: ignore[untyped-decorator]
def dense_tile(  # type: ignore[no-untyped-def]
    plan_i32,
    plan_f32,
    at,
    width,
    first_column,
    columns,
    column_stride,
    row,
    n_rows,
    out,
    COLUMNS: tl.constexpr,
):
    """A tile of the dense matrix. `at`, in 32-bit words: the `DeviceDense` of column 0, eight words each."""
    column = first_column + tl.arange(0, COLUMNS)
    is_column = column < width
    is_row = row < n_rows
    words = at + 8 * column
    source = tl.load(plan_i32 + words, is_column, 0).to(tl.int64)
    kind = tl.load(plan_i32 + words + 1, is_column, 0)[:, None]
    fill = tl.load(plan_f32 + words + 2, is_column, 0.0)[:, None]
    lower = tl.load(plan_f32 + words + 3, is_column, 0.0)[:, None]
    upper = tl.load(plan_f32 + words + 4, is_column, 0.0)[:, None]
    mean_high = tl.load(plan_f32 + words + 5, is_column, 0.0)[:, None]
    mean_low = tl.load(plan_f32 + words + 6, is_column, 0.0)[:, None]
    inverse_scale = tl.load(plan_f32 + words + 7, is_column, 0.0)[:, None]

    from_ = columns + source[:, None] * column_stride + row[None, :]
    x = tl.load(from_, is_column[:, None] & is_row[None, :], 0.0)
    is_missing = x != x
    y = tl.where(is_missing, fill, x)
    y = tl.where(y < lower, lower, y)  # not tl.maximum: a value equal to a bound, -0.0 included, stays itself
    y = tl.where(y > upper, upper, y)
    # Columns without log1p may be negative: they get 0 here, so that no lane computes nonsense.
    y = tl.where(kind == 1, log1p(tl.where(kind == 1, y, 0.0)), y)
    y = ((y - mean_high) - mean_low) * inverse_scale
    y = tl.where(kind == 2, tl.where(is_missing, 1.0, 0.0), y)
    to = out + row[:, None] * width + column[None, :]
    tl.store(to, tl.trans(y), is_row[:, None] & is_column[None, :])


@triton.jit  # type: ignore[untyped-decorator]
def program_kernel(  # type: ignore[no-untyped-def]
    plan,
    plan_i32,
    plan_f32,
    plan_i16,
    dense_at,
    ids_at,
    width,
    n_ids,
    columns,
    column_stride,
    ints,
    int_stride,
    dense,
    ids,
    ids_stride,
    n_rows,
    ROWS: tl.constexpr,
    TILE_ROWS: tl.constexpr,
    TILE_COLUMNS: tl.constexpr,
):
    """`plan` and its views are the same bytes; positions in bytes. Windows are columns, after the float inputs."""
    dense_parts = tl.cdiv(width, TILE_COLUMNS) * (ROWS // TILE_ROWS)
    parts = dense_parts + n_ids
    part = tl.program_id(0) % parts
    first_row = (tl.program_id(0) // parts).to(tl.int64) * ROWS
    if part < dense_parts:
        tile_row = first_row + part % (ROWS // TILE_ROWS) * TILE_ROWS + tl.arange(0, TILE_ROWS)
        first_column = part // (ROWS // TILE_ROWS) * TILE_COLUMNS
        dense_tile(
            plan_i32, plan_f32, dense_at // 4, width, first_column, columns, column_stride, tile_row, n_rows,
            dense, TILE_COLUMNS,
        )  # fmt: skip
    else:
        j = part - dense_parts
        row = first_row + tl.arange(0, ROWS)
        is_row = row < n_rows
        id = plan + ids_at // 8 + 16 * j
        result = id_column(
            plan, plan_i32, plan_f32, plan_i16, id, columns, column_stride, ints, int_stride, row, is_row
        )
        tl.store(ids + j.to(tl.int64) * ids_stride + row, result, is_row)


def views(plan: device_plan.DevicePlan) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """The plan's bytes as the kernel reads them: int64, int32, float32, int16. To be copied to the device once."""
    words = plan.words.copy()  # writable: torch warns of what is not
    return words, words.view(np.int32), words.view(np.float32), words.view(np.int16)


def grid(plan: device_plan.DevicePlan, n_rows: int) -> int:
    """How many programs `program_kernel` has."""
    parts = -(-plan.width // TILE_COLUMNS) * (ROWS // TILE_ROWS) + plan.n_ids
    return -(-n_rows // ROWS) * parts


def launch(
    plan: device_plan.DevicePlan,
    views: Sequence[Any],
    columns: Any,
    ints: Any,
    events: Sequence[Events],
    dense: Any,
    ids: Any,
    bad_row: Any,
) -> None:
    """Transform one batch of device tensors (or CPU tensors under TRITON_INTERPRET=1).

    Shapes:  views from `views`; columns (n_floats + n_windows, n_rows) float32, of which the windows are written here;
             ints (n_ints, n_rows) int64; dense (n_rows, width) float32; ids (n_ids, n_rows) int32; bad_row (1,) int64;
             all in C order, inputs in the order of `plan.names`.
    Missing: as in `program.Program.run`.
    Errors:  none: where a row's events lie outside of their list it counts as empty, and `bad_row`, which the caller sets
             to 2^63 - 1, becomes the first such row.
    Threads: enqueues on the current stream and returns.
    """
    n_rows = dense.shape[0]
    if n_rows == 0:
        return
    header = plan.header
    for group in plan.groups:
        offsets, times, values = events[group.events]
        out = columns[header["n_floats"] :]
        windows.window_kernel[(triton.cdiv(n_rows, windows.BLOCK_ROWS), header["n_windows"])](
            views[0], header["windows_at"] // 8, group.events, group.as_of, ints, ints.stride(0), offsets, times,
            values, times.shape[0], out, out.stride(0), bad_row, n_rows,
            BLOCK_ROWS=windows.BLOCK_ROWS, num_warps=windows.NUM_WARPS, enable_fp_fusion=False,
        )  # fmt: skip
    program_kernel[(grid(plan, n_rows),)](
        *views, header["dense_at"], header["ids_at"], plan.width, plan.n_ids, columns, columns.stride(0), ints,
        ints.stride(0), dense, ids, ids.stride(0), n_rows,
        ROWS=ROWS, TILE_ROWS=TILE_ROWS, TILE_COLUMNS=TILE_COLUMNS, num_warps=NUM_WARPS, enable_fp_fusion=False,
    )  # fmt: skip
