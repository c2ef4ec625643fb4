"""The slow, obvious truth: what each kernel means, in NumPy and float64. This file is the specification.

Dense columns
-------------
Parameters.  `fill`, `lower` and `upper` are values of the column and therefore float32: they are rounded to it first.
             `mean` and `scale` are statistics and stay float64.
Missing.     NaN is the missing value. No output is ever NaN, but that of `pass`.
Clip.        A value equal to a bound stays itself (so -0.0 survives a bound of 0.0). Infinite bounds are no bounds.
log1p.       `log1p` stands for log1p(max(y, 0)): a negative value (or -0.0) counts as 0. A plan that must tell negative
             values apart clips or shifts them first, and no served vector can hold a NaN because an input changed sign.
             log1p(inf) = inf.
Standardise. (y - mean) / scale. The kernels multiply by 1/scale rounded to float32 (a true division would be 5 to 10
             times the cycles for half an ULP) and subtract the mean as a sum of two float32, so values near a large mean
             keep their digits.
Min-max.     Clipped to [low, high], then (y - low) / (high - low); `low` and `high` are rounded to float32 first.

What a kernel may differ from this, for an output w of a column with value y before `(y - mean) / scale`:
    plain columns   |got - w| <= 2e-6 + 1e-6 |w|
    log1p columns   |got - w| <= 2e-6 + 1e-6 |w| + 1.5 ulp(y) / scale
The last term is the bound of the float32 logarithm itself; for y < 8 and scale >= 1 the first two cover it.

Ids
---
Missing.     Of an int64 column: -2^63, `MISSING`. Of a string column: None and the empty string. Of a float32 column: NaN.
Hash.        `ms_hash64_v1`, two multiplications and three shifts, on the two's complement of the value; an int32 is
             widened first. Strings: XXH3 of 64 bits over their UTF-8 bytes, as they come, without normalisation.
Buckets.     A hash becomes an id of 1 .. buckets - 1 by multiplying its upper 32 bits (never `%`); 0 is missing.
Cross.       The hash of several columns in their order: h = mix(h ^ value), from the key of the seed; a cross of one
             column is its hash. A string stands for its XXH3 with seed 0, or 2^63 + 1 should that be 2^63. One missing
             value makes the cross missing.
Vocabulary.  0 missing, 1 unknown, 2 + i for the i-th value. Strings are equal where all their bytes are, whatever their
             hashes.
Bucketise.   How many boundaries lie below a value, 0 .. n; NaN has its own bucket n + 1. `right=False`: a value on a
             boundary belongs above it, b[i-1] <= x < b[i]; `right=True`: below, b[i-1] < x <= b[i]. So numpy.digitize,
             and the opposite of torch.bucketize. Boundaries are finite, rise strictly, and are rounded to float32.
Ids are equal on every path, and frozen: another function would get another name (docs/adr/0002).

Bags
----
A row of a list input has any number of values. A bag gives each its id, by hash or vocabulary, in their order: one
for each, a missing one included (None of a list of strings, -2^63 or a null of one of int64), so an empty list or a
null one has none. All bags of a batch share two arrays, in the order of torch.nn.EmbeddingBag and of TorchRec's
KeyedJaggedTensor: the ids, bag after bag and within one row after row, and where each row of each bag begins.

Windows
-------
An event list of a row holds times (int64) and values (float32); the row has a moment `as_of`. A window of `width` takes
the events with  as_of - width < time <= as_of  (half-open: an event exactly `width` old is out; the future never counts,
so no label leaks in), in the order of the list. Events with a missing time (-2^63) or value (NaN) do not count, and a
missing `as_of` has no events. What is selected, and nothing else in the list, decides every bit of the result:
    count  how many, as float32                    sum   the tree below; 0 where there are none
    mean   sum / count, one float32 division       last  the value latest in the list
    min, max                                       mean, min, max and last of no events are NaN: missing
The tree: the k-th selected value is added to lane k mod 16, in order, from +0.0, in float32; then lanes i and i + 8 are
added, then i and i + 4, then i and i + 2, then the last two (so it does not matter which lane comes first, and a list may
begin anywhere). A zero from sum, mean, min or max is +0.0. inf - inf makes NaN: missing.
Windows are columns: the dense operations run on them, so that their `fill` says what an empty window means.

All CPU targets give the same bits as one another, and the same bits for a row alone as for that row in a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from mainspring.native import reference_xxh3

__all__ = [
    "MISSING",
    "Aggregate",
    "bag_offsets",
    "bucket_of",
    "bucketise",
    "cross64",
    "dense_transform",
    "hash64",
    "hash_utf8",
    "mix64",
    "vocabulary",
    "window",
]

#: The missing int64: ids, times. An int32 is widened and never missing.
MISSING: Final = -(1 << 63)

Aggregate = Literal["sum", "count", "mean", "max", "min", "last"]


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


def mix64(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The bijection under every hash: multipliers of Stafford's Mix13, shifts that leave its upper half ready early."""
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint64(32))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(29))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(32))


def _key(seed: int) -> NDArray[np.uint64]:
    return mix64(np.array([(seed + 0x9E3779B97F4A7C15) % 2**64], np.uint64))


def cross64(columns: Sequence[NDArray[Any]], seed: int) -> NDArray[np.uint64]:
    """`ms_hash64_v1` of the rows of one or more columns, (n_rows,). `seed` is 0 .. 2^64 - 1."""
    h = np.repeat(_key(seed), len(columns[0]))
    for column in columns:
        is_hash = column.dtype == np.uint64
        h = mix64(h ^ (column if is_hash else column.astype(np.int64).view(np.uint64)))
    return h


def hash64(values: NDArray[Any], seed: int) -> NDArray[np.uint64]:
    """`ms_hash64_v1` of an int64 or int32 column, (n_rows,)."""
    return cross64([values], seed)


def hash_utf8(strings: Sequence[str | bytes | None], seed: int) -> NDArray[np.uint64]:
    """XXH3 of each string's UTF-8 bytes, (n_rows,); None as the empty string, which `is_missing` tells anyway."""
    return np.array([reference_xxh3.xxh3_64(_utf8(s), seed) for s in strings], np.uint64)


def _utf8(string: str | bytes | None) -> bytes:
    return (string or "").encode() if not isinstance(string, bytes) else string


def is_missing(column: Any) -> NDArray[np.bool_]:
    """Which rows of an int64, int32, float32 or string column hold no value."""
    if isinstance(column, np.ndarray) and column.dtype.kind == "f":
        return np.isnan(column)
    if isinstance(column, np.ndarray) and column.dtype.kind == "i":
        return (column == MISSING) if column.dtype == np.int64 else np.zeros(len(column), np.bool_)
    return np.array([not s for s in column], np.bool_)


def bucket_of(hashes: NDArray[np.uint64], buckets: int, missing: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Ids 1 .. buckets - 1 of hashes, 0 where `missing`. `buckets` counts the missing one: 2 .. 2^31 - 1."""
    ids = 1 + (((hashes >> np.uint64(32)) * np.uint64(buckets - 1)) >> np.uint64(32)).astype(np.int64)
    return np.where(missing, 0, ids).astype(np.int32)


def vocabulary(column: Any, values: Sequence[int | str]) -> NDArray[np.int32]:
    """0 missing, 1 unknown, 2 + i for `values[i]`."""
    table: dict[int | bytes, int] = {
        _utf8(v) if isinstance(v, str) else int(v): 2 + i for i, v in enumerate(values)
    }
    keys = [int(v) if isinstance(v, (int, np.integer)) else _utf8(v) for v in column]
    return np.where(is_missing(column), 0, [table.get(k, 1) for k in keys]).astype(np.int32)


def bucketise(column: NDArray[np.float32], boundaries: Sequence[float], *, right: bool) -> NDArray[np.int32]:
    """How many boundaries lie below (`right=False`: or at) a value; NaN is len(boundaries) + 1."""
    bounds = np.array(boundaries, np.float32)
    below = bounds[None, :] < column[:, None] if right else bounds[None, :] <= column[:, None]
    return np.where(np.isnan(column), len(bounds) + 1, below.sum(axis=1)).astype(np.int32)


def bag_offsets(offsets: NDArray[Any]) -> NDArray[np.int32]:
    """Where each row's ids begin in the flat list of a multi-hot column, (n_rows + 1,), from 0."""
    result: NDArray[np.int32] = (offsets - offsets[0]).astype(np.int32)
    return result


def window(
    offsets: NDArray[Any],
    times: NDArray[np.int64],
    values: NDArray[np.float32],
    as_of: NDArray[np.int64],
    *,
    width: int,
    aggregate: Aggregate,
) -> NDArray[np.float32]:
    """One aggregate per row, (n_rows,), to the last bit. Row i's events are [offsets[i], offsets[i + 1])."""
    result = np.empty(len(as_of), np.float32)
    for row, moment in enumerate(as_of.tolist()):
        events = range(int(offsets[row]), int(offsets[row + 1]))
        chosen = [
            values[i]
            for i in events
            if MISSING < int(times[i]) <= moment
            and int(times[i]) > moment - width
            and not np.isnan(values[i])
        ]
        result[row] = _aggregate(chosen, aggregate)
    return result


def _aggregate(chosen: list[np.float32], aggregate: Aggregate) -> np.float32:
    zero = np.float32(0.0)
    if aggregate == "count":
        return np.float32(len(chosen))
    if not chosen:
        return zero if aggregate == "sum" else np.float32(np.nan)
    if aggregate == "last":
        return chosen[-1]
    if aggregate in ("max", "min"):
        return (max(chosen) if aggregate == "max" else min(chosen)) + zero  # -0.0 + 0.0 is +0.0
    lanes = np.zeros(16, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for k, value in enumerate(chosen):
            lanes[k % 16] += value
        eight = lanes[:8] + lanes[8:]
        four = eight[:4] + eight[4:]
        two = four[:2] + four[2:]
        total: np.float32 = two[0] + two[1]
        return total if aggregate == "sum" else total / np.float32(len(chosen)) + zero
