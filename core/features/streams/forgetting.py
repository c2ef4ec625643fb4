"""A stream's state without some of its keys: their tiles, times and rows go, and of all others nothing changes.

The ids of events stay for the allowed lateness: they are no keys, and 128 bits of a hash where they are text. What an event of a
key added to the sums of another key stays, too: nobody's part of a sum is known any more.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Erased", "Gone", "count", "staying", "without"]

#: Is a value of the field of that name a key that goes. The name is empty where nobody knows it any more.
Gone = Callable[[str, Any], bool]
Arrays = Mapping[str, NDArray[Any]]

_KEYS: Final = "keys."


class Erased(Protocol):
    """Who was erased from a project (`core/erasure/erased.py`)."""

    @property
    def columns(self) -> frozenset[str]:
        """Fields that may hold an erased key."""
        ...

    def is_erased(self, column: str, key: str) -> bool: ...

    def rows(self, columns: Mapping[str, Sequence[Any]], n: int) -> NDArray[np.bool_]:
        """Which of `n` rows are theirs, (n,)."""
        ...


def staying(names: Sequence[Any], fields: Sequence[str], gone: Gone) -> NDArray[np.bool_]:
    """Which keys stay, (n_keys,). A key of several fields goes with any of them. Each value is asked about once."""
    stays = np.ones(len(names), np.bool_)
    for place, field in enumerate(fields):
        told: dict[Any, bool] = {}
        for i, name in enumerate(names):
            value = name if len(fields) == 1 else name[place]
            if value not in told:
                told[value] = gone(field, value)
            if told[value]:
                stays[i] = False
    return stays


def without(arrays: Arrays, stays: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    """The arrays of one set of keys (`KeySet.to_arrays`) with those alone that stay, numbered anew in their order."""
    numbers = np.where(stays, np.cumsum(stays) - 1, -1)
    names = json.loads(arrays["names"].tobytes())
    kept = dict(arrays)
    kept["names"] = np.frombuffer(json.dumps([names[i] for i in np.flatnonzero(stays)]).encode(), np.uint8)
    for name in arrays:
        if name in ("newest", "created") or name.startswith("given."):
            kept[name] = arrays[name][stays]
    for numbered, beside in (("tiles.keys", ("tiles.tags", "tiles.partials")), ("open.keys", ("open.hops",))):
        if numbered in arrays:
            is_there = stays[arrays[numbered]]
            kept[numbered] = numbers[arrays[numbered]][is_there]
            kept |= {name: arrays[name][is_there] for name in beside}
    return kept


def count(
    arrays: Arrays, key_fields: Sequence[Sequence[str]] | None, gone: Gone
) -> tuple[int, dict[str, NDArray[Any]]]:
    """Of a whole state (`StreamState.to_arrays`): how many keys go, and the state without them.

    `key_fields`: the fields of each set of keys. None: nobody knows them, and every part of a key is looked at.
    """
    n, kept, i = 0, dict(arrays), 0
    while f"{_KEYS}{i}.names" in arrays:
        prefix = f"{_KEYS}{i}."
        mine = {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}
        names = json.loads(mine["names"].tobytes())
        width = len(names[0]) if names and isinstance(names[0], list) else 1
        fields = ("",) * width if key_fields is None else key_fields[i]
        stays = staying(names, fields, gone)
        if not stays.all():
            n += int((~stays).sum())
            kept |= {prefix + name: array for name, array in without(mine, stays).items()}
        i += 1
    return n, kept
