"""The slow, obvious truth about jagged rows: a loop over rows each. This file is the specification of `jagged.py`.

A jagged batch of n rows is `values` (n_values,) or (n_values, d), and n + 1 `offsets` that never fall: row i has the
values offsets[i] .. offsets[i + 1] - 1. Values are moved bit by bit: a NaN keeps its payload, a denormal its digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["dense_to_jagged", "gather_rows", "jagged_concat", "jagged_to_padded_dense", "scatter_rows"]

Array = NDArray[Any]


def jagged_to_padded_dense(values: Array, offsets: Array, max_length: int, padding_value: Any = 0) -> Array:
    """(n, max_length[, d]): the first `max_length` values of each row, then padding. A longer row is cut."""
    n_rows = len(offsets) - 1
    dense = np.full((n_rows, max_length, *values.shape[1:]), padding_value, values.dtype)
    for i in range(n_rows):
        row = values[offsets[i] : offsets[i + 1]][:max_length]
        dense[i, : len(row)] = row
    return dense


def dense_to_jagged(dense: Array, offsets: Array, padding_value: Any = 0) -> Array:
    """(offsets[n][, d]): the beginning of each row, as long as its offsets say; then padding where `dense` ends."""
    values = np.full((offsets[-1], *dense.shape[2:]), padding_value, dense.dtype)
    for i in range(len(dense)):
        row = dense[i, : offsets[i + 1] - offsets[i]]
        values[offsets[i] : offsets[i] + len(row)] = row
    return values


def jagged_concat(values: Sequence[Array], offsets: Sequence[Array]) -> tuple[Array, NDArray[np.int64]]:
    """The rows of several batches as one; the result's offsets begin at 0."""
    lengths = [np.diff(o.astype(np.int64)) for o in offsets]
    pieces = [v[o[0] : o[-1]] for v, o in zip(values, offsets, strict=True)]
    ends = np.cumsum(np.concatenate([[0], *lengths]), dtype=np.int64)
    return np.concatenate(pieces), ends


def gather_rows(table: Array, indices: Array, fill_value: Any = 0) -> Array:
    """out[i] = table[indices[i]]; index -1 is no row, but `fill_value`."""
    out = np.full((len(indices), *table.shape[1:]), fill_value, table.dtype)
    for i, index in enumerate(indices):
        if index != -1:
            out[i] = table[index]
    return out


def scatter_rows(rows: Array, indices: Array, out: Array) -> None:
    """out[indices[i]] = rows[i], in order: of several for one row the last stays."""
    for index, row in zip(indices, rows, strict=True):
        out[index] = row
