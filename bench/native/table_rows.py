"""The rows of the table's benchmarks: 50 floats by an integer or a string, and how they get into a table."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mainspring.bench.native import table_peers
from mainspring.native import table

WIDTH, VALUES = table_peers.WIDTH, table_peers.VALUES
#: Different keys in turn, the same for everybody: more than the caches hold.
KEY_SETS, KEYS = 512, 1 << 17
NAMES = tuple(f"f{i}" for i in range(WIDTH))
FIELDS = tuple(table.Field(name, "float32") for name in NAMES)
INT_KEYS = table.Schema((table.Key("id", "int64"),), FIELDS)
STRING_KEYS = table.Schema((table.Key("id", "string"),), FIELDS)
EVENT, NOW = 1_000_000, 2_000_000


def text_key(i: int) -> str:
    """15 characters, as ids are."""
    return f"user:{i:010d}"


def upsert(to: table.OnlineTable, keys: Any, values: NDArray[np.float32], *, wait: bool = True) -> None:
    """The first len(keys) rows of `values`."""
    n = len(keys)
    events = np.full(n, EVENT)
    to.upsert(
        keys,
        events,
        {name: _column(values, j, n) for j, name in enumerate(NAMES)},
        created_us=events,
        wait=wait,
    )


_columns: dict[tuple[int, int, int], NDArray[np.float32]] = {}


def _column(values: NDArray[np.float32], j: int, n: int) -> NDArray[np.float32]:
    key = (id(values), j, n)
    if key not in _columns:
        _columns[key] = np.ascontiguousarray(values[:n, j])
    return _columns[key]


def fill(to: table.OnlineTable, rows: int, values: NDArray[np.float32]) -> None:
    """Rows 0 .. rows - 1, in batches that nobody waits for until the end."""
    for start in range(0, rows, VALUES):
        upsert(to, table_peers.keys(start, min(start + VALUES, rows)), values, wait=False)
    to.flush()


def key_sets(rows: int, batch: int, seed: int) -> list[NDArray[np.int64]]:
    """Row numbers, `batch` at once."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, rows, batch) for _ in range(max(KEY_SETS, min(rows, KEYS) // batch // 4))]
