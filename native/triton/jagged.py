"""Jagged rows in Triton: to a padded matrix and back. Names as in FBGEMM; nothing is cut or filled that was not asked for.

A value is `words` 32-bit words (one for float32 and int32, two for int64, times the size of what it consists of) and is moved
bit by bit, so that a NaN keeps its payload: tensors are seen as int32.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

__all__ = [
    "BLOCK_ROWS",
    "BLOCK_WORDS",
    "NUM_WARPS",
    "dense_to_jagged",
    "jagged_to_padded_dense",
    "pad_kernel",
    "unpad_kernel",
]

BLOCK_ROWS = 16
BLOCK_WORDS = 64
NUM_WARPS = 4


@triton.jit  # type: ignore[untyped-decorator]
def rows_of(offsets, n_values, n_rows, bad_row, BLOCK_ROWS: tl.constexpr):  # type: ignore[no-untyped-def]
    """This program's rows, where each begins, and how many values it has; 0 where its offsets leave the values."""
    row = tl.program_id(0).to(tl.int64) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    is_row = row < n_rows
    begin = tl.load(offsets + row, is_row, 0).to(tl.int64)
    end = tl.load(offsets + row + 1, is_row, 0).to(tl.int64)
    is_good = (begin >= 0) & (end >= begin) & (end <= n_values)
    tl.atomic_min(bad_row + tl.zeros_like(row), row, is_row & (is_good == 0))
    return row, is_row, tl.where(is_good, begin, 0), tl.where(is_good, end - begin, 0)


@triton.jit  # type: ignore[untyped-decorator]
def pad_kernel(  # type: ignore[no-untyped-def]
    values, n_values, offsets, n_rows, max_length, words, padding_even, padding_odd, dense, bad_row,
    BLOCK_ROWS: tl.constexpr, BLOCK_WORDS: tl.constexpr,
):  # fmt: skip
    """Grid (rows / BLOCK_ROWS, words of a padded row / BLOCK_WORDS)."""
    row, is_row, begin, length = rows_of(offsets, n_values, n_rows, bad_row, BLOCK_ROWS)
    word = tl.program_id(1) * BLOCK_WORDS + tl.arange(0, BLOCK_WORDS)
    all_words = max_length * words
    is_word = is_row[:, None] & (word < all_words)[None, :]
    is_value = is_word & (word[None, :] < (length * words)[:, None])
    padding = tl.where(word % 2 == 0, padding_even, padding_odd)[None, :]
    x = tl.load(values + (begin * words)[:, None] + word[None, :], is_value, 0)
    tl.store(dense + (row * all_words)[:, None] + word[None, :], tl.where(is_value, x, padding), is_word)


@triton.jit  # type: ignore[untyped-decorator]
def unpad_kernel(  # type: ignore[no-untyped-def]
    dense, offsets, n_values, n_rows, max_length, words, padding_even, padding_odd, values, bad_row,
    BLOCK_ROWS: tl.constexpr, BLOCK_WORDS: tl.constexpr,
):  # fmt: skip
    """Grid (rows / BLOCK_ROWS): rows may be longer than the matrix is wide, and then end in padding."""
    row, is_row, begin, length = rows_of(offsets, n_values, n_rows, bad_row, BLOCK_ROWS)
    there = max_length * words
    longest = tl.max(length) * words
    for first in range(0, longest, BLOCK_WORDS):
        word = first + tl.arange(0, BLOCK_WORDS)
        is_word = is_row[:, None] & (word[None, :] < (length * words)[:, None])
        is_there = is_word & (word < there)[None, :]
        padding = tl.where(word % 2 == 0, padding_even, padding_odd)[None, :]
        x = tl.load(dense + (row * there)[:, None] + word[None, :], is_there, 0)
        tl.store(values + (begin * words)[:, None] + word[None, :], tl.where(is_there, x, padding), is_word)


def jagged_to_padded_dense(
    values: Any, offsets: Any, dense: Any, bad_row: Any, *, words: int = 1, padding: tuple[int, int] = (0, 0)
) -> None:
    """values[offsets[i] .. offsets[i + 1]) to row i of `dense`, then padding; a longer row is cut.

    Shapes:  values (n_values * words,) int32; offsets (n_rows + 1,) int32 or int64; dense (n_rows, max_length * words)
             int32; bad_row (1,) int64; device tensors in C order (or CPU tensors under TRITON_INTERPRET=1).
    Errors:  none: a row whose offsets leave the values is all padding, and `bad_row`, which the caller sets to 2^63 - 1,
             becomes the first such row. `padding` has the bits of a padding value's even and odd words.
    Threads: enqueues on the current stream and returns.
    """
    n_rows, all_words = dense.shape
    if n_rows == 0 or all_words == 0:
        return
    pad_kernel[(triton.cdiv(n_rows, BLOCK_ROWS), triton.cdiv(all_words, BLOCK_WORDS))](
        values, values.shape[0] // words, offsets, n_rows, all_words // words, words, *padding, dense, bad_row,
        BLOCK_ROWS=BLOCK_ROWS, BLOCK_WORDS=BLOCK_WORDS, num_warps=NUM_WARPS,
    )  # fmt: skip


def dense_to_jagged(
    dense: Any, offsets: Any, values: Any, bad_row: Any, *, words: int = 1, padding: tuple[int, int] = (0, 0)
) -> None:
    """The inverse of `jagged_to_padded_dense`, with the same arguments: writes `values`."""
    n_rows, all_words = dense.shape
    if n_rows == 0:
        return
    unpad_kernel[(triton.cdiv(n_rows, BLOCK_ROWS),)](
        dense, offsets, values.shape[0] // words, n_rows, all_words // words, words, *padding, values, bad_row,
        BLOCK_ROWS=BLOCK_ROWS, BLOCK_WORDS=BLOCK_WORDS, num_warps=NUM_WARPS,
    )  # fmt: skip
