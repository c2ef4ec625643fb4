"""Trailing windows over event lists in Triton, to the last bit of `native/reference.py`.

A row is walked event by event, as the definition says; its sixteen lanes lie side by side. So the sum does not depend on
how Triton would reduce a row, and a list with holes is no special case.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["BLOCK_ROWS", "NUM_WARPS", "window_kernel"]

#: Rows of a program: 16 lanes each are 4 values a thread.
BLOCK_ROWS = 32
NUM_WARPS = 4

SUM = tl.constexpr(0)
COUNT = tl.constexpr(1)
MEAN = tl.constexpr(2)
MAX = tl.constexpr(3)
MIN = tl.constexpr(4)
LANES = tl.constexpr(16)


@triton.jit  # type: ignore[untyped-decorator]
def halves(x, ROWS: tl.constexpr, LEFT: tl.constexpr):  # type: ignore[no-untyped-def]
    """(ROWS, 2 * LEFT): x[:, :LEFT] + x[:, LEFT:]."""
    low, high = tl.split(tl.trans(tl.reshape(x, (ROWS, 2, LEFT)), (0, 2, 1)))
    return low + high


@triton.jit  # type: ignore[untyped-decorator]
def aggregate(times, values, begin, end, as_of, width, kind, ROWS: tl.constexpr):  # type: ignore[no-untyped-def]
    """One window of each row; begin, end, as_of are (ROWS,)."""
    lowest = tl.full((ROWS,), -(1 << 63), tl.int64)
    # as_of - width, or -2^63 where that underflows: no event has that time.
    underflows = as_of < lowest + width
    too_old = tl.where(underflows, lowest, as_of - tl.where(underflows, 0, width))
    lane = tl.arange(0, LANES)[None, :]
    lanes = tl.zeros((ROWS, LANES), tl.float32)
    largest = tl.full((ROWS,), float("-inf"), tl.float32)
    smallest = tl.full((ROWS,), float("inf"), tl.float32)
    last = tl.full((ROWS,), float("nan"), tl.float32)
    count = tl.zeros((ROWS,), tl.int32)
    longest = tl.max(end - begin)
    for i in range(longest):
        is_there = begin + i < end
        time = tl.load(times + begin + i, is_there, 0)
        value = tl.load(values + begin + i, is_there, 0.0)
        is_chosen = is_there & (time <= as_of) & (time > too_old) & (value == value)
        takes = is_chosen[:, None] & ((count & (LANES - 1))[:, None] == lane)
        lanes = tl.where(takes, lanes + value[:, None], lanes)
        largest = tl.where(is_chosen & (value > largest), value, largest)
        smallest = tl.where(is_chosen & (value < smallest), value, smallest)
        last = tl.where(is_chosen, value, last)
        count += is_chosen.to(tl.int32)
    two = halves(halves(halves(lanes, ROWS, 8), ROWS, 4), ROWS, 2)
    low, high = tl.split(two)
    total = low + high
    is_empty = count == 0
    mean = tl.div_rn(total, tl.where(is_empty, 1, count).to(tl.float32)) + 0.0
    result = tl.where(kind == MEAN, mean, last)
    result = tl.where(kind == MAX, largest + 0.0, result)  # -0.0 + 0.0 is +0.0
    result = tl.where(kind == MIN, smallest + 0.0, result)
    result = tl.where(is_empty, float("nan"), result)
    result = tl.where(kind == SUM, total + 0.0, result)
    return tl.where(kind == COUNT, count.to(tl.float32), result)


@triton.jit  # type: ignore[untyped-decorator]
def window_kernel(  # type: ignore[no-untyped-def]
    plan,
    windows_at,
    events,
    as_of,
    ints,
    int_stride,
    offsets,
    times,
    values,
    n_values,
    out,
    out_stride,
    bad_row,
    n_rows,
    BLOCK_ROWS: tl.constexpr,
):
    """Windows over event list `events` as seen from int column `as_of`: grid (rows / BLOCK_ROWS, all windows).

    `windows_at` is in words. Window j goes to out + j * out_stride. A row whose offsets leave the list counts as empty,
    and `bad_row` becomes at most its number.
    """
    window = plan + windows_at + 4 * tl.program_id(1)
    if (tl.load(window) == events) & (tl.load(window + 1) == as_of):
        row = tl.program_id(0).to(tl.int64) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
        is_row = row < n_rows
        begin = tl.load(offsets + row, is_row, 0).to(tl.int64)
        end = tl.load(offsets + row + 1, is_row, 0).to(tl.int64)
        is_good = (begin >= 0) & (end >= begin) & (end <= n_values)
        tl.atomic_min(bad_row + tl.zeros_like(row), row, is_row & (is_good == 0))
        moment = tl.load(ints + as_of.to(tl.int64) * int_stride + row, is_row, 0)
        result = aggregate(
            times, values, tl.where(is_good, begin, 0), tl.where(is_good, end, 0), moment,
            tl.load(window + 2), tl.load(window + 3), BLOCK_ROWS,
        )  # fmt: skip
        tl.store(out + tl.program_id(1).to(tl.int64) * out_stride + row, result, is_row)
