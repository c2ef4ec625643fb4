"""The dense transform as a Triton kernel: the arithmetic of `math/log1p-inl.h` in `tl` operations.

`libdevice.log1p` compiles but fails in Triton's interpreter, and its bits are not ours. With `enable_fp_fusion=False`
every step below is one IEEE operation or one explicit fused multiply-add, as on the CPU, and so it is in Triton 3.9's interpreter.

A tile holds `BLOCK_COLUMNS` x `BLOCK_ROWS` values. Both branches are computed and selected by column: a warp of one
tile meets several columns, so a branch would save nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import triton
import triton.language as tl

__all__ = ["BLOCK_COLUMNS", "BLOCK_ROWS", "dense_kernel", "launch", "pack"]

#: Four values a thread: twice as many doubled the registers (48 -> 70 on sm_80) with nothing measured in return.
BLOCK_ROWS = 64
BLOCK_COLUMNS = 16
NUM_WARPS = 8


@triton.jit
def log1p(x):  # type: ignore[no-untyped-def]
    """log1p of x >= 0; see native/include/mainspring/math/log1p-inl.h."""
    bits = ((x + 1.0).to(tl.int32, bitcast=True) - 0x3F400001) & -0x800000
    four_scaled = (0x40800000 - bits).to(tl.float32, bitcast=True)
    x_scaled = (x.to(tl.int32, bitcast=True) - bits).to(tl.float32, bitcast=True)
    f = x_scaled + (four_scaled * 0.25 - 1.0)
    f2 = f * f
    low = tl.fma(tl.fma(tl.full(x.shape, -0.25000104308128357, tl.float32), f, 0.3333345055580139), f, -0.5)
    middle = tl.fma(
        tl.fma(tl.full(x.shape, 0.14478404819965363, tl.float32), f, -0.16646866500377655),
        f,
        0.19990800321102142,
    )
    high = tl.fma(
        tl.fma(tl.full(x.shape, -0.04515393078327179, tl.float32), f, 0.10474589467048645),
        f,
        -0.13166223466396332,
    )
    f3 = f2 * f
    q = tl.fma(tl.fma(high, f3, middle), f3, low)
    result = tl.fma(bits.to(tl.float32), 8.262958317573066e-08, tl.fma(f2, q, f))
    return tl.where(x == float("inf"), x, result)


@triton.jit  # type: ignore[untyped-decorator]
def dense_kernel(  # type: ignore[no-untyped-def]
    columns,
    column_stride,
    integers,
    floats,
    out,
    n_rows,
    width,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
):
    """One tile of `out`. `integers` is (3, width): source, log1p, indicator; `floats` (6, width); see `pack`."""
    row = tl.program_id(0).to(tl.int64) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    column = tl.program_id(1) * BLOCK_COLUMNS + tl.arange(0, BLOCK_COLUMNS)
    is_column = column < width
    is_row = row < n_rows
    source = tl.load(integers + column, is_column, 0).to(tl.int64)
    is_log1p = tl.load(integers + width + column, is_column, 0)[:, None] != 0
    is_indicator = tl.load(integers + 2 * width + column, is_column, 0)[:, None] != 0
    fill = tl.load(floats + column, is_column, 0.0)[:, None]
    lower = tl.load(floats + width + column, is_column, 0.0)[:, None]
    upper = tl.load(floats + 2 * width + column, is_column, 0.0)[:, None]
    mean_high = tl.load(floats + 3 * width + column, is_column, 0.0)[:, None]
    mean_low = tl.load(floats + 4 * width + column, is_column, 0.0)[:, None]
    inverse_scale = tl.load(floats + 5 * width + column, is_column, 0.0)[:, None]

    x = tl.load(
        columns + source[:, None] * column_stride + row[None, :], is_column[:, None] & is_row[None, :], 0.0
    )
    is_missing = x != x
    y = tl.where(is_missing, fill, x)
    y = tl.where(y < lower, lower, y)  # not tl.maximum: a value equal to a bound, -0.0 included, stays itself
    y = tl.where(y > upper, upper, y)
    # Columns without log1p may be negative: they get 0 here, so that no lane computes nonsense.
    y = tl.where(is_log1p, log1p(tl.where(is_log1p, y, 0.0)), y)
    y = ((y - mean_high) - mean_low) * inverse_scale
    y = tl.where(is_indicator, tl.where(is_missing, 1.0, 0.0), y)

    to = out + row[:, None] * width + column[None, :]
    tl.store(to, tl.trans(y), is_row[:, None] & is_column[None, :])


def pack(
    *,
    source: Sequence[int],
    indicator: Sequence[bool],
    fill: Sequence[float],
    lower: Sequence[float],
    upper: Sequence[float],
    log1p: Sequence[bool],
    mean: Sequence[float],
    scale: Sequence[float],
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The kernel's parameter tables, to be copied to the device once. What `PrepareDenseColumn` does in C++.

    The spec must be one that `DenseTransform` accepts: only that checks it.
    """
    is_indicator = np.asarray(indicator, bool)
    is_log1p = np.asarray(log1p, bool) & ~is_indicator
    floor = np.where(is_log1p, 0.0, -np.inf).astype(np.float32)
    mean64 = np.asarray(mean, np.float64)
    mean_high = mean64.astype(np.float32)
    floats = np.stack(
        [
            np.asarray(fill, np.float64).astype(np.float32),
            np.maximum(np.asarray(lower, np.float64).astype(np.float32), floor),
            np.maximum(np.asarray(upper, np.float64).astype(np.float32), floor),
            mean_high,
            (mean64 - mean_high).astype(np.float32),
            (1.0 / np.where(is_indicator, 1.0, np.asarray(scale, np.float64))).astype(np.float32),
        ]
    )
    floats[:, is_indicator] = 0.0
    integers = np.stack(
        [np.asarray(source, np.int32), is_log1p.astype(np.int32), is_indicator.astype(np.int32)]
    )
    return integers, floats


def launch(columns: Any, integers: Any, floats: Any, out: Any) -> None:
    """Run the kernel on device tensors (or CPU tensors under TRITON_INTERPRET=1).

    Shapes:  columns (n_sources, n_rows) float32, C order: one input column a row; integers (3, width) int32 and
             floats (6, width) float32 from `pack`; out (n_rows, width) float32, C order.
    Threads: enqueues on the current stream and returns.
    """
    n_rows, width = out.shape
    if n_rows == 0:
        return
    grid = (triton.cdiv(n_rows, BLOCK_ROWS), triton.cdiv(width, BLOCK_COLUMNS))
    dense_kernel[grid](
        columns, columns.stride(0), integers, floats, out, n_rows, width,
        BLOCK_ROWS=BLOCK_ROWS, BLOCK_COLUMNS=BLOCK_COLUMNS, num_warps=NUM_WARPS, enable_fp_fusion=False,
    )  # fmt: skip
