"""The fused dense transform: impute, clip, log1p and standardise a batch of columns into one matrix.

    >>> import numpy as np
    >>> from mainspring.native import dense
    >>> transform = dense.DenseTransform(
    ...     source=[0, 0], indicator=[False, True], fill=[2.0, 0.0], lower=[0.0, 0.0], upper=[10.0, 0.0],
    ...     log1p=[False, False], mean=[1.0, 0.0], scale=[2.0, 1.0],
    ... )
    >>> transform.run([np.array([3.0, np.nan, 99.0], np.float32)])
    array([[1. , 0. ],
           [0.5, 1. ],
           [4.5, 0. ]], dtype=float32)

What every step means, to the last bit, is written in `mainspring.native.reference`.
"""

from __future__ import annotations

from mainspring.native._native import DenseTransform

__all__ = ["DenseTransform"]
