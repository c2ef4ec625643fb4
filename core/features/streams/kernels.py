"""The compiled loops of a stream: which events count, and tiles of partial aggregates. Numba's only file here.

Each loop stops where its table is full and says at which event; the caller makes room and calls again from there.
So which ids are remembered depends on the events alone and never on how they were batched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ACCEPTED", "ADD", "AHEAD", "DUPLICATE", "EMPTY", "LAST", "LATE", "LEVEL_BITS", "MAX", "MIN", "RADIX_BITS", "VALUE",
    "add", "admit", "refill_ids", "refill_tiles", "windows_of",
]  # fmt: skip

#: Verdicts of `admit`.
ACCEPTED, DUPLICATE, LATE, AHEAD = 0, 1, 2, 3

#: How two partial aggregates become one, lane by lane. LAST is a time, and the lane after it, VALUE, its value.
ADD, MIN, MAX, LAST, VALUE = 0, 1, 2, 3, 4

#: A free slot: times and key numbers are never negative.
EMPTY: Final = -1

#: A tile of level l + 1 is 8 of level l: at most 14 tiles a level make a window, and an event changes one a level.
RADIX_BITS: Final = 3
#: A tile's tag is its number, and its level in the last bits.
LEVEL_BITS: Final = 4

_Loop = TypeVar("_Loop", bound=Callable[..., Any])


def _jit(loop: _Loop) -> _Loop:
    """Compiled at its first call, the machine code kept for later processes; lets go of the GIL."""
    compiled: _Loop = numba.njit(loop, cache=True, nogil=True)
    return compiled


@_jit
def _mixed(a: Any, b: Any) -> Any:
    """A hash of two 64-bit words (the murmur3 finalizer, over a multiply)."""
    h = np.uint64(a) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(b)
    h ^= h >> np.uint64(33)
    h *= np.uint64(0xFF51AFD7ED558CCD)
    h ^= h >> np.uint64(33)
    h *= np.uint64(0xC4CEB9FE1A85EC53)
    return h ^ (h >> np.uint64(33))


@_jit
def admit(
    start: int,
    event_us: NDArray[np.int64],
    taken_us: NDArray[np.int64],
    ids: NDArray[np.uint64],
    lateness_us: int,
    lead_us: int,
    clock: NDArray[np.int64],
    id_slots: NDArray[np.uint64],
    us_slots: NDArray[np.int64],
    used: NDArray[np.int64],
    limit: int,
    verdicts: NDArray[np.uint8],
) -> int:
    """Judge events of one partition in their order, from `start` on; the place of the first that found no room, or n.

    Shapes: event_us, taken_us, verdicts (n,); ids (n, 2), or (0, 2) for a stream without ids; clock (2,): watermark and
            floor; id_slots (size, 2) and us_slots (size,), size a power of two; used (1,).
    """
    n = len(event_us)
    with_ids = len(ids) > 0
    mask = len(us_slots) - 1
    for i in range(start, n):
        at = event_us[i]
        if at > taken_us[i] + lead_us:
            verdicts[i] = AHEAD
            continue
        if at < clock[1] or (clock[0] >= 0 and at < clock[0] - lateness_us):
            verdicts[i] = LATE
            continue
        if with_ids:
            if used[0] >= limit:
                return i
            high, low = ids[i, 0], ids[i, 1]
            slot = np.int64(_mixed(high, low) & np.uint64(mask))
            is_known = False
            while us_slots[slot] != EMPTY:
                if id_slots[slot, 0] == high and id_slots[slot, 1] == low:
                    is_known = True
                    break
                slot = (slot + 1) & mask
            if is_known:
                verdicts[i] = DUPLICATE
                continue
            id_slots[slot, 0], id_slots[slot, 1], us_slots[slot] = high, low, at
            used[0] += 1
        verdicts[i] = ACCEPTED
        clock[0] = max(clock[0], at)
    return n


@_jit
def refill_ids(
    ids: NDArray[np.uint64],
    event_us: NDArray[np.int64],
    id_slots: NDArray[np.uint64],
    us_slots: NDArray[np.int64],
) -> None:
    """Put ids, all different, into a free table."""
    mask = len(us_slots) - 1
    for i in range(len(event_us)):
        slot = np.int64(_mixed(ids[i, 0], ids[i, 1]) & np.uint64(mask))
        while us_slots[slot] != EMPTY:
            slot = (slot + 1) & mask
        id_slots[slot, 0], id_slots[slot, 1], us_slots[slot] = ids[i, 0], ids[i, 1], event_us[i]


@_jit
def _merge(into: NDArray[np.int64], lanes: NDArray[np.int64], ops: NDArray[np.uint8]) -> None:
    for j in range(len(ops)):
        op = ops[j]
        if op == ADD:
            into[j] += lanes[j]
        elif op == MIN:
            into[j] = min(into[j], lanes[j])
        elif op == MAX:
            into[j] = max(into[j], lanes[j])
        elif op == LAST and (
            lanes[j] > into[j] or (lanes[j] == into[j] and lanes[j + 1] > into[j + 1])
        ):  # of one instant the largest value
            into[j], into[j + 1] = lanes[j], lanes[j + 1]


@_jit
def _place(key: Any, tag: Any, key_slots: NDArray[np.int64], tag_slots: NDArray[np.int64]) -> Any:
    """The slot of a tile, or the free one where it would be."""
    mask = len(key_slots) - 1
    slot = np.int64(_mixed(key, tag) & np.uint64(mask))
    while key_slots[slot] != EMPTY and not (key_slots[slot] == key and tag_slots[slot] == tag):
        slot = (slot + 1) & mask
    return slot


@_jit
def add(
    start: int,
    keys: NDArray[np.int64],
    tiles: NDArray[np.int64],
    lanes: NDArray[np.int64],
    ops: NDArray[np.uint8],
    levels: int,
    key_slots: NDArray[np.int64],
    tag_slots: NDArray[np.int64],
    partials: NDArray[np.int64],
    used: NDArray[np.int64],
    limit: int,
) -> int:
    """Add events to their tiles of every level, from `start` on; the place of the first that found no room, or n.

    Shapes: keys, tiles (n,); lanes (n, width); ops (width,); the slots (size,), partials (size, width); used (1,).
    """
    n = len(keys)
    for i in range(start, n):
        if used[0] + levels > limit:
            return i
        for level in range(levels):
            tag = ((tiles[i] >> (RADIX_BITS * level)) << LEVEL_BITS) | level
            slot = _place(keys[i], tag, key_slots, tag_slots)
            if key_slots[slot] == EMPTY:
                key_slots[slot], tag_slots[slot] = keys[i], tag
                partials[slot, :] = lanes[i, :]
                used[0] += 1
            else:
                _merge(partials[slot], lanes[i], ops)
    return n


@_jit
def refill_tiles(
    keys: NDArray[np.int64],
    tags: NDArray[np.int64],
    rows: NDArray[np.int64],
    key_slots: NDArray[np.int64],
    tag_slots: NDArray[np.int64],
    partials: NDArray[np.int64],
) -> None:
    """Put tiles, all different, into a free table."""
    for i in range(len(keys)):
        slot = _place(keys[i], tags[i], key_slots, tag_slots)
        key_slots[slot], tag_slots[slot] = keys[i], tags[i]
        partials[slot, :] = rows[i, :]


@_jit
def windows_of(
    keys: NDArray[np.int64],
    last: NDArray[np.int64],
    n_tiles: int,
    ops: NDArray[np.uint8],
    levels: int,
    key_slots: NDArray[np.int64],
    tag_slots: NDArray[np.int64],
    partials: NDArray[np.int64],
    out: NDArray[np.int64],
) -> None:
    """Merge into each `out[i]` the tiles last[i] - n_tiles + 1 to last[i] of keys[i], from as few tiles as there can be."""
    radix_mask = (1 << RADIX_BITS) - 1
    for i in range(len(keys)):
        first, end = max(last[i] - n_tiles + 1, 0), last[i] + 1
        for level in range(levels):
            is_top = level == levels - 1
            while first < end and (is_top or first & radix_mask):
                slot = _place(keys[i], (first << LEVEL_BITS) | level, key_slots, tag_slots)
                if key_slots[slot] != EMPTY:
                    _merge(out[i], partials[slot], ops)
                first += 1
            while first < end and end & radix_mask:
                end -= 1
                slot = _place(keys[i], (end << LEVEL_BITS) | level, key_slots, tag_slots)
                if key_slots[slot] != EMPTY:
                    _merge(out[i], partials[slot], ops)
            first >>= RADIX_BITS
            end >>= RADIX_BITS
