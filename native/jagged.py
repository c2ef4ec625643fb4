"""Rows of different lengths: to a padded matrix and back, joined, gathered and scattered.

    >>> import numpy as np
    >>> from mainspring.native import jagged
    >>> values, offsets = np.array([1.0, 2.0, 3.0], np.float32), np.array([0, 2, 2, 3])
    >>> dense = jagged.jagged_to_padded_dense(values, offsets, 2, -1.0)
    >>> dense
    array([[ 1.,  2.],
           [-1., -1.],
           [ 3., -1.]], dtype=float32)
    >>> jagged.dense_to_jagged(dense, offsets)
    array([1., 2., 3.], dtype=float32)

Names and argument order are FBGEMM's, with one jagged dimension. Unlike FBGEMM nothing is cut, wrapped or filled that
was not asked for. What each does, row by row, is written in `mainspring.native.reference_jagged`.
"""

from __future__ import annotations

from mainspring.native._native import (
    dense_to_jagged,
    gather_rows,
    jagged_concat,
    jagged_to_padded_dense,
    scatter_rows,
)

__all__ = ["dense_to_jagged", "gather_rows", "jagged_concat", "jagged_to_padded_dense", "scatter_rows"]
