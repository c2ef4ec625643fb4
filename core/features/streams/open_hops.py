"""The hops of keys that an event may still change: their rows are history once they are closed, and not before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["OpenHops"]

_NOTHING: Final = np.empty(0, np.int64)


class OpenHops:
    """Pairs of a key's number and a hop's. Not thread-safe.

    `closed_to`: every hop before this one was closed once. An event that comes for one all the same (of a partition that was
    silent until then) opens it again.
    """

    def __init__(self) -> None:
        self.closed_to = 0
        self._keys: dict[int, list[NDArray[np.int64]]] = {}
        """By hop, key numbers as they came, with repetitions."""

    def add(self, keys: NDArray[np.int64], hops: NDArray[np.int64]) -> None:
        """Open these. Shapes: (n,), (n,)."""
        if not len(hops):
            return
        order = np.argsort(hops, kind="stable")
        found, begins = np.unique(hops[order], return_index=True)
        for hop, mine in zip(found.tolist(), np.split(keys[order], begins[1:]), strict=True):
            self._keys.setdefault(hop, []).append(np.unique(mine))

    def close(self, before: int) -> list[tuple[int, NDArray[np.int64]]]:
        """Take out the hops below `before`: each with the numbers of its keys, ascending."""
        self.closed_to = max(self.closed_to, before)
        due = sorted(hop for hop in self._keys if hop < before)
        return [(hop, np.unique(np.concatenate(self._keys.pop(hop)))) for hop in due]

    def renumber(self, numbers: NDArray[np.int64]) -> None:
        """Key k becomes numbers[k]; those that become -1 have no open hop."""
        self._keys = {hop: [numbers[keys] for keys in parts] for hop, parts in self._keys.items()}

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """All that is kept, as copies."""
        held = {hop: np.unique(np.concatenate(parts)) for hop, parts in self._keys.items()}
        return {
            "closed": np.array([self.closed_to], np.int64),
            "hops": np.array([hop for hop, keys in held.items() for _ in range(len(keys))], np.int64),
            "keys": np.concatenate([_NOTHING, *held.values()]),
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take the place of what `to_arrays` was of."""
        self.closed_to, self._keys = int(arrays["closed"][0]), {}
        self.add(arrays["keys"], arrays["hops"])
