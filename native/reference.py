"""The slow, obvious truth: what each kernel means, in NumPy and float64. This file is the specification.

Parameters.  `fill`, `lower` and `upper` are values of the column and therefore float32: they are rounded to it first.
             `mean` and `scale` are statistics and stay float64.
Missing.     NaN is the missing value. No output is ever NaN.
Clip.        A value equal to a bound stays itself (so -0.0 survives a bound of 0.0). Infinite bounds are no bounds.
log1p.       `log1p` stands for log1p(max(y, 0)): a negative value (or -0.0) counts as 0. A plan that must tell negative
             values apart clips or shifts them first, and no served vector can hold a NaN because an input changed sign.
             log1p(inf) = inf.
Standardise. (y - mean) / scale. The kernels multiply by 1/scale rounded to float32 (a true division would be 5 to 10
             times the cycles for half an ULP) and subtract the mean as a sum of two float32, so values near a large mean
             keep their digits.

What a kernel may differ from this, for an output w of a column with value y before `(y - mean) / scale`:
    plain columns   |got - w| <= 2e-6 + 1e-6 |w|
    log1p columns   |got - w| <= 2e-6 + 1e-6 |w| + 1.5 ulp(y) / scale
The last term is the bound of the float32 logarithm itself; for y < 8 and scale >= 1 the first two cover it.
All CPU targets give the same bits as one another, and the same bits for a row alone as for that row in a batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["dense_transform"]


def dense_transform(
    columns: Sequence[NDArray[np.float32]],
    *,
    source: Sequence[int],
    indicator: Sequence[bool],
    fill: Sequence[float],
    lower: Sequence[float],
    upper: Sequence[float],
    log1p: Sequence[bool],
    mean: Sequence[float],
    scale: Sequence[float],
) -> NDArray[np.float64]:
    """`dense.DenseTransform(...).run(columns)` in float64; result (n_rows, width). No checks: the kernel has them."""
    result = np.empty((len(columns[0]), len(source)), np.float64)
    for j, origin in enumerate(source):
        x = columns[origin].astype(np.float64)
        if indicator[j]:
            result[:, j] = np.isnan(x)
            continue
        low, high = float(np.float32(lower[j])), float(np.float32(upper[j]))
        y = np.where(np.isnan(x), float(np.float32(fill[j])), x)
        y = np.where(y < low, low, y)
        y = np.where(y > high, high, y)
        if log1p[j]:
            y = np.log1p(np.where(y > 0.0, y, 0.0))
        result[:, j] = (y - mean[j]) / scale[j]
    return result
