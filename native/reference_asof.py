"""The slow, obvious truth about point-in-time joins: every row is looked at for every question. It specifies `asof.py`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["newest", "search"]

Array = NDArray[np.int64]


def search(times: Array, starts: Array, runs: Array, as_of: Array, *, max_age: int | None = None) -> Array:
    """The last row of run r, rows starts[r] .. starts[r + 1] - 1, with time at or before the question's; -1 if there is
    none, if it is older than `max_age`, or if the question's run is below 0."""
    found = np.full(len(runs), -1, np.int64)
    for i, (run, when) in enumerate(zip(runs.tolist(), as_of.tolist(), strict=True)):
        if run < 0:
            continue
        for row in range(starts[run], starts[run + 1]):
            if times[row] <= when:
                found[i] = row
        if found[i] >= 0 and max_age is not None and when - int(times[found[i]]) > max_age:
            found[i] = -1
    return found


def newest(
    row_keys: Array,
    events: Array,
    created: Array,
    numbers: Array,
    keys: Array,
    as_of: Array,
    *,
    n_keys: int,
    max_age: int | None = None,
    known_only: bool = False,
) -> Array:
    """The row of the question's key with the greatest (event, created, number) among those with event at or before the
    question's time, and created too with `known_only`; -1 as in :func:`search`."""
    found = np.full(len(keys), -1, np.int64)
    for i, (key, when) in enumerate(zip(keys.tolist(), as_of.tolist(), strict=True)):
        best: Any = None
        for row, its_key in enumerate(row_keys.tolist()):
            if key < 0 or its_key != key or events[row] > when or (known_only and created[row] > when):
                continue
            order = (int(events[row]), int(created[row]), int(numbers[row]))
            if best is None or order > best[0]:
                best = (order, row)
        if best is not None and (max_age is None or when - best[0][0] <= max_age):
            found[i] = best[1]
    return found
