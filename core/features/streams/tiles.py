"""Tiles of partial aggregates: what one set of keys adds up to in each hop, and in 8, 64, ... hops.

A window is a whole number of hops. It is read from the largest tiles that fit: a 30-day window in hops of 10 minutes
from at most 50, not from 4,320, and never from events. Partials are whole numbers that merge in any order to the same bits: floats
are kept as integers of the same order, and are never added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mainspring.core.features import windows
from mainspring.core.features.streams import kernels

__all__ = ["Lanes", "Tiles"]

_INT64: Final = np.iinfo(np.int64)
#: The largest tiles make up a window with at most so many of them.
_TOP_TILES: Final = 16
_FIRST_SLOTS: Final = 1024

#: A lane's operation, and what an empty tile has there.
_OPS: Final = {
    "rows": (kernels.ADD, 0),
    "count": (kernels.ADD, 0),
    "sum": (kernels.ADD, 0),
    "min": (kernels.MIN, _INT64.max),
    "max": (kernels.MAX, _INT64.min),
    "last": (kernels.LAST, -1),
    "value": (kernels.VALUE, _INT64.min),
}
_NEEDED: Final[Mapping[windows.How, tuple[str, ...]]] = {
    "rows": ("rows",),
    "count": ("count",),
    "sum": ("sum",),
    "mean": ("sum", "count"),
    "min": ("count", "min"),
    "max": ("count", "max"),
    "last": ("last", "value"),
}


@dataclass(frozen=True)
class _Numbers:
    """A column of a batch: int64 (n,), floats as integers of the same order, and which of them are there."""

    values: NDArray[np.int64]
    valid: NDArray[np.bool_]


class Lanes:
    """Which partial aggregates a tile holds: one int64 lane each, shared by all aggregates that need them."""

    def __init__(self, aggregates: Sequence[windows.Aggregate]) -> None:
        wanted = [(part, "" if part == "rows" else a.column) for a in aggregates for part in _NEEDED[a.how]]
        # `value` stays behind its `last`: the pair is one lane of two words.
        self._lanes = tuple(dict.fromkeys(wanted))
        self._at = {lane: j for j, lane in enumerate(self._lanes)}
        self.ops = np.array([_OPS[part][0] for part, _ in self._lanes], np.uint8)
        self.identity = np.array([_OPS[part][1] for part, _ in self._lanes], np.int64)

    def of_events(self, columns: Mapping[str, pa.Array], event_us: NDArray[np.int64]) -> NDArray[np.int64]:
        """What each event adds, (n, width)."""
        numbers = {column: _numbers(columns[column]) for _, column in self._lanes if column}
        made = np.empty((len(event_us), len(self._lanes)), np.int64)
        for j, (part, column) in enumerate(self._lanes):
            if part == "rows":
                made[:, j] = 1
            elif part == "count":
                made[:, j] = numbers[column].valid
            else:
                value = event_us if part == "last" else numbers[column].values
                made[:, j] = np.where(numbers[column].valid, value, self.identity[j])
        return made

    def result(
        self, a: windows.Aggregate, merged: NDArray[np.int64], *, is_float: bool
    ) -> NDArray[np.float32]:
        """The aggregate of merged partials (n, width); NaN where it is of nothing. As `windows.trailing` has it."""

        def lane(part: str) -> NDArray[np.int64]:
            return merged[:, self._at[part, "" if part == "rows" else a.column]]

        if a.how in ("rows", "count", "sum"):
            return lane(a.how).astype(np.float32)
        if a.how == "mean":
            count = lane("count")
            with np.errstate(invalid="ignore", divide="ignore"):
                return (lane("sum") / count).astype(np.float32)
        there = lane("last") >= 0 if a.how == "last" else lane("count") > 0
        found = lane("value" if a.how == "last" else a.how)
        with np.errstate(over="ignore"):  # beyond float32 is an infinity, as a cast has it
            values = _to_float(found).astype(np.float32) if is_float else found.astype(np.float32)
        return np.where(there, values, np.float32(np.nan))


class Tiles:
    """The tiles of numbered keys, at every level. Not thread-safe.

    `n_tiles`: the hops of the longest window. Sparse: a tile is there once something lies in it, and goes when no window
    can reach it, the next time that room is needed.
    """

    def __init__(self, lanes: Lanes, n_tiles: int) -> None:
        self._lanes = lanes
        self._n_tiles = n_tiles
        self._levels = 1
        while n_tiles >> (kernels.RADIX_BITS * (self._levels - 1)) > _TOP_TILES:
            self._levels += 1
        self._used = np.zeros(1, np.int64)
        self._clear(_FIRST_SLOTS)

    def __len__(self) -> int:
        return int(self._used[0])

    def add(
        self, keys: NDArray[np.int64], tiles: NDArray[np.int64], lanes: NDArray[np.int64], *, horizon: int
    ) -> None:
        """Add events to their tiles. Shapes: (n,), (n,), (n, width). Tiles that end before `horizon` may go."""
        place = 0
        while True:
            place = kernels.add(
                place, keys, tiles, lanes, self._lanes.ops, self._levels,
                self._key_slots, self._tag_slots, self._partials, self._used, len(self._key_slots) * 5 // 8,
            )  # fmt: skip
            if place == len(keys):
                return
            self._make_room(horizon)

    def windows(self, keys: NDArray[np.int64], last: NDArray[np.int64], n_tiles: int) -> NDArray[np.int64]:
        """The merged partials (n, width) of the `n_tiles` tiles of each key up to its `last`."""
        merged = np.tile(self._lanes.identity, (len(keys), 1))
        kernels.windows_of(
            keys, last, n_tiles, self._lanes.ops, self._levels,
            self._key_slots, self._tag_slots, self._partials, merged,
        )  # fmt: skip
        return merged

    def finest(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Keys and numbers of the tiles of one hop that are there."""
        is_one = (self._key_slots != kernels.EMPTY) & (self._tag_slots & ((1 << kernels.LEVEL_BITS) - 1) == 0)
        return self._key_slots[is_one], self._tag_slots[is_one] >> kernels.LEVEL_BITS

    def renumber(self, numbers: NDArray[np.int64]) -> None:
        """Key k becomes numbers[k]; the tiles of those that become -1 go."""
        is_there = self._key_slots != kernels.EMPTY
        keys = numbers[self._key_slots[is_there]]
        is_kept = keys >= 0
        tags, partials = self._tag_slots[is_there][is_kept], self._partials[is_there][is_kept]
        self._fill(len(self._key_slots), keys[is_kept], tags, partials)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """The tiles that are there, in the order of their slots, and how many slots there are."""
        is_there = self._key_slots != kernels.EMPTY
        return {
            "size": np.array([len(self._key_slots)], np.int64),
            "keys": self._key_slots[is_there],
            "tags": self._tag_slots[is_there],
            "partials": self._partials[is_there],
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take the place of the tiles that `to_arrays` was of."""
        self._fill(int(arrays["size"][0]), arrays["keys"], arrays["tags"], arrays["partials"])

    def _make_room(self, horizon: int) -> None:
        level = self._tag_slots & ((1 << kernels.LEVEL_BITS) - 1)
        end = ((self._tag_slots >> kernels.LEVEL_BITS) + 1) << (kernels.RADIX_BITS * level)
        is_kept = (self._key_slots != kernels.EMPTY) & (end > horizon)
        size = len(self._key_slots)
        if np.count_nonzero(is_kept) > size // 4:
            size *= 2
        self._fill(size, self._key_slots[is_kept], self._tag_slots[is_kept], self._partials[is_kept])

    def _fill(
        self, size: int, keys: NDArray[np.int64], tags: NDArray[np.int64], partials: NDArray[np.int64]
    ) -> None:
        self._clear(size)
        kernels.refill_tiles(keys, tags, partials, self._key_slots, self._tag_slots, self._partials)
        self._used[0] = len(keys)

    def _clear(self, size: int) -> None:
        self._key_slots = np.full(size, kernels.EMPTY, np.int64)
        self._tag_slots = np.zeros(size, np.int64)
        self._partials = np.empty((size, len(self._lanes.ops)), np.int64)


def _numbers(column: pa.Array) -> _Numbers:
    valid = np.asarray(column.is_valid())
    if pa.types.is_floating(column.type):
        values = column.fill_null(np.nan).to_numpy(zero_copy_only=False)
        # + 0.0: -0.0 and 0.0 are one value.
        return _Numbers(_in_order((values + 0.0).view(np.int64)), valid & ~np.isnan(values))
    if pa.types.is_boolean(column.type):
        return _Numbers(np.asarray(column.fill_null(False)).astype(np.int64), valid)
    if pa.types.is_integer(column.type):
        return _Numbers(column.fill_null(0).to_numpy(), valid)
    return _Numbers(np.zeros(len(column), np.int64), valid)  # only counted


def _in_order(bits: NDArray[np.int64]) -> NDArray[np.int64]:
    """The bits of doubles as integers of the same order, and back: negative ones count downwards."""
    return bits ^ ((bits >> 63) & _INT64.max)


def _to_float(ordered: NDArray[np.int64]) -> NDArray[np.float64]:
    return _in_order(ordered).view(np.float64)
