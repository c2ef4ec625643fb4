"""Ids in Triton: hash, cross, vocabulary and bucketise, the integers of `include/mainspring/hash.h` and `vocabulary.h`.

`id` points to the sixteen words of a `DeviceId` (include/mainspring/device_plan.h).
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["id_column"]

HASH = tl.constexpr(0)
CROSS = tl.constexpr(1)
NARROW = tl.constexpr(2)
WIDE = tl.constexpr(3)
MISSING = tl.constexpr(-(1 << 63))


@triton.jit
def premix(x):  # type: ignore[no-untyped-def]
    """All but the last step of mix64; x is uint64."""
    first = tl.full(x.shape, 0xBF58476D1CE4E5B9, tl.uint64)
    second = tl.full(x.shape, 0x94D049BB133111EB, tl.uint64)
    x = (x ^ (x >> 32)) * first
    return (x ^ (x >> 29)) * second


@triton.jit
def bucket_of(hashes, id, is_missing):  # type: ignore[no-untyped-def]
    """1 .. buckets - 1 from the upper halves, 0 where missing."""
    bucket = (((hashes >> 32) * tl.load(id + 5).to(tl.uint64)) >> 32).to(tl.int64) + 1
    return tl.where(is_missing, 0, bucket)


@triton.jit
def cross(plan, id, ints, int_stride, row, is_row):  # type: ignore[no-untyped-def]
    """A hash is a cross of one: the last step that it lacks leaves the upper half alone."""
    is_cross = tl.load(id) == CROSS
    n = tl.where(is_cross, tl.load(id + 2), 1)
    sources = plan + tl.load(id + 8) // 8
    h = tl.full(row.shape, 0, tl.uint64) + tl.load(id + 4).to(tl.uint64, bitcast=True)
    is_missing = row < 0
    for i in range(n):
        source = tl.load(id + 1)
        if is_cross:
            source = tl.load(sources + i)
        value = tl.load(ints + source * int_stride + row, is_row, 0)
        is_missing |= value == MISSING
        h = premix(h ^ value.to(tl.uint64, bitcast=True))
        h = h ^ (h >> 32)
    return bucket_of(h, id, is_missing)


@triton.jit
def narrow(plan_i32, plan_i16, id, value):  # type: ignore[no-untyped-def]
    """A vocabulary whose words are 32 bits: distances from the smallest value."""
    bits = tl.load(id + 10).to(tl.uint32)
    span = tl.load(id + 7).to(tl.uint64, bitcast=True)
    distance = value.to(tl.uint64, bitcast=True) - tl.load(id + 6).to(tl.uint64, bitcast=True)
    word = tl.where(distance <= span, distance, span + 1)
    word = tl.where(value == MISSING, span + 2, word)
    h = word.to(tl.uint32) ^ tl.load(id + 4).to(tl.uint32)
    h = (h ^ (h >> 16)) * tl.full(h.shape, 0x7FEB352D, tl.uint32)
    h = (h ^ (h >> 15)) * tl.full(h.shape, 0x846CA68B, tl.uint32)
    bucket = (h & tl.load(id + 11).to(tl.uint32)).to(tl.int64)
    pilot = tl.load(plan_i16 + tl.load(id + 9) // 2 + bucket).to(tl.uint16, bitcast=True).to(tl.uint32)
    at = ((h >> (32 - bits)) ^ pilot).to(tl.int64)
    slot = tl.load(plan_i32 + tl.load(id + 8) // 4 + at).to(tl.uint32, bitcast=True)
    found = slot ^ (h << bits)
    return tl.where((found >> bits) == 0, found, 1).to(tl.int64)


@triton.jit
def wide(plan, plan_i16, id, value):  # type: ignore[no-untyped-def]
    """A vocabulary whose words are the values themselves."""
    bits = tl.load(id + 10).to(tl.uint64)
    h = premix(value.to(tl.uint64, bitcast=True) ^ tl.load(id + 4).to(tl.uint64, bitcast=True))
    bucket = (h & tl.load(id + 11).to(tl.uint64, bitcast=True)).to(tl.int64)
    pilot = tl.load(plan_i16 + tl.load(id + 9) // 2 + bucket).to(tl.uint16, bitcast=True).to(tl.uint64)
    at = ((h >> (64 - bits)) ^ pilot).to(tl.int64)
    found = tl.load(plan + tl.load(id + 8) // 8 + at).to(tl.uint64, bitcast=True) ^ (h << bits)
    return tl.where((found >> bits) == 0, found, 1).to(tl.int64)


@triton.jit
def bucketise(plan_f32, id, x):  # type: ignore[no-untyped-def]
    """How many bounds lie below x: a search whose steps do not depend on x."""
    n = tl.load(id + 2)
    bounds = plan_f32 + tl.load(id + 8) // 4
    at = tl.full(x.shape, 0, tl.int64)
    left = n
    while left > 1:
        half = left // 2
        at = tl.where(tl.load(bounds + at + (half - 1)) < x, at + half, at)
        left -= half
    at = tl.where((left == 1) & (tl.load(bounds + at) < x), at + 1, at)
    return tl.where(x != x, n + 1, at)


@triton.jit
def id_column(plan, plan_i32, plan_f32, plan_i16, id, columns, column_stride, ints, int_stride, row, is_row):  # type: ignore[no-untyped-def]
    """Ids of the given rows, int32."""
    kind = tl.load(id)
    source = tl.load(id + 1)
    result = tl.full(row.shape, 0, tl.int64)
    if kind <= CROSS:
        result = cross(plan, id, ints, int_stride, row, is_row)
    elif kind == NARROW:
        value = tl.load(ints + source * int_stride + row, is_row, 0)
        result = narrow(plan_i32, plan_i16, id, value)
    elif kind == WIDE:
        value = tl.load(ints + source * int_stride + row, is_row, 0)
        result = wide(plan, plan_i16, id, value)
    else:
        x = tl.load(columns + source * column_stride + row, is_row, 0.0)
        result = bucketise(plan_f32, id, x)
    return (result + tl.load(id + 3)).to(tl.int32)
