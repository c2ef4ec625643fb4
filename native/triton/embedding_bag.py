"""Embedding bags in Triton: the sum or mean of the table's rows that each bag lists.

Each bag is added up in its own order, one float32 addition after another from +0.0, so a bag alone gives the bits of that bag
in a batch. Of a bag without rows both are 0. Index -1 is a missing row: not added, and not counted by the mean.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

__all__ = ["BLOCK", "NUM_WARPS", "embedding_bag_kernel", "launch"]

#: Floats of a row that a program adds at once: one a thread of a warp, four times.
BLOCK = 128
NUM_WARPS = 1


@triton.jit  # type: ignore[untyped-decorator]
def embedding_bag_kernel(  # type: ignore[no-untyped-def]
    table, n_rows, width, indices, n_indices, offsets, is_mean, out, bad_bag, BLOCK: tl.constexpr
):
    """Grid (bags, width / BLOCK). An index beyond the table counts as missing, and `bad_bag` becomes at most its bag."""
    bag = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    is_column = column < width
    begin = tl.load(offsets + bag).to(tl.int64)
    end = tl.load(offsets + bag + 1).to(tl.int64)
    is_bad = (begin < 0) | (end < begin) | (end > n_indices)
    begin = tl.where(is_bad, 0, begin)
    end = tl.where(is_bad, 0, end)
    total = tl.zeros((BLOCK,), tl.float32)
    count = tl.full((), 0, tl.int32)
    for i in range(begin, end):
        index = tl.load(indices + i)
        is_there = (index >= 0) & (index < n_rows)
        is_bad |= (index < -1) | (index >= n_rows)
        is_read = column < tl.where(is_there, width, 0)
        row = tl.load(table + tl.where(is_there, index, 0) * width + column, is_read, 0.0)
        total = tl.where(is_there, total + row, total)
        count += is_there.to(tl.int32)
    if is_mean != 0:
        total = tl.div_rn(total, tl.zeros_like(total) + tl.maximum(count, 1).to(tl.float32))
    tl.store(out + bag * width + column, total, is_column)
    tl.atomic_min(bad_bag, bag, is_bad)


def launch(table: Any, indices: Any, offsets: Any, out: Any, bad_bag: Any, *, mode: str = "sum") -> None:
    """Add up every bag, on device tensors (or CPU tensors under TRITON_INTERPRET=1).

    Shapes:  table (n_rows, width) float32; indices (n_indices,) int64; offsets (n_bags + 1,) int32 or int64; out
             (n_bags, width) float32; bad_bag (1,) int64; all in C order.
    Missing: index -1; see above.
    Errors:  ValueError for another mode. `bad_bag`, which the caller sets to 2^63 - 1, becomes the first bag with an index
             beyond the table, which counts as missing, or with offsets beyond the indices, which is then empty.
    Threads: enqueues on the current stream and returns.
    """
    if mode not in ("sum", "mean"):
        raise ValueError(f"`mode` must be `sum` or `mean`, got `{mode}`; choose one")
    n_bags, width = out.shape
    if n_bags == 0 or width == 0:
        return
    embedding_bag_kernel[(n_bags, triton.cdiv(width, BLOCK))](
        table, table.shape[0], width, indices, indices.shape[0], offsets, int(mode == "mean"), out, bad_bag,
        BLOCK=BLOCK, num_warps=NUM_WARPS, enable_fp_fusion=False,
    )  # fmt: skip
