"""Scans of the online table: every row of one moment, whatever happens meanwhile, back into a table that equals it."""

from __future__ import annotations

import gc
import threading
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from mainspring.native import status, table

FIELDS = (
    table.Field("flag", "bool"), table.Field("small", "int32"), table.Field("double", "float64"), table.Field("text", "string"),
    table.Field("blob", "bytes"), table.Field("vector", "float32_vector", 3),
)  # fmt: skip
KEYS = {
    "int": (table.Key("id", "int64"),),
    "string": (table.Key("name", "string"),),
    "both": (table.Key("name", "string"), table.Key("id", "int64"), table.Key("place", "string")),
}


def keys(kind: str, n: int, first: int = 0) -> Any:
    ids = np.arange(first, first + n) - 3
    names = [f"{'ü' * (i % 40)}{i}" for i in range(first, first + n)]
    return {"int": ids, "string": names, "both": (names, ids, names[::-1])}[kind]


def columns(n: int) -> dict[str, Any]:
    i = np.arange(n)
    return {
        "flag": (i % 2 == 0, i % 5 != 0), "small": (i.astype(np.int32), i % 7 != 0), "double": np.where(i % 3 == 0, np.nan, i / 3),
        "text": [None if k % 4 == 0 else "é" * (k % 60) for k in range(n)], "blob": [None if k % 6 == 0 else bytes([k % 256]) * k for k in range(n)],
        "vector": np.arange(3 * n, dtype=np.float32).reshape(n, 3),
    }  # fmt: skip


def rows_of(made: table.OnlineTable, batch_rows: int = 50) -> dict[Any, tuple[Any, ...]]:
    """By key everything that a scan says of it."""
    found: dict[Any, tuple[Any, ...]] = {}
    for part in made.scan(batch_rows):
        n = len(part.event_us)
        assert 0 < n <= batch_rows
        key_columns = [list(map(plain, column)) for column in part.keys.values()]
        values = [
            [
                plain(v) if there else None
                for v, there in zip(part.values[f.name], part.valid[f.name], strict=True)
            ]
            for f in made.schema.fields
        ]
        for i, key in enumerate(zip(*key_columns, strict=True)):
            assert key not in found
            times = (int(part.event_us[i]), int(part.created_us[i]), int(part.ttl_seconds[i]))
            found[key] = (*times, *(column[i] for column in values))
    return found


def plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.item() if isinstance(value, np.generic) else value


@pytest.mark.parametrize("kind", KEYS)
def test_a_table_made_from_a_scan_equals_the_first(kind: str) -> None:
    n = 300
    first = table.OnlineTable(table.Schema(KEYS[kind], FIELDS))
    ttl = np.arange(n, dtype=np.int32) % 3
    first.upsert(keys(kind, n), np.arange(n), columns(n), created_us=np.arange(n) * 2, ttl_seconds=ttl)
    second = table.OnlineTable(first.schema)
    for part in first.scan(64):
        given = tuple(part.keys.values())
        data: dict[str, Any] = {
            f.name: part.values[f.name] if isinstance(part.values[f.name], list) else (part.values[f.name], part.valid[f.name])
            for f in FIELDS
        }  # fmt: skip
        second.upsert(
            given[0] if len(given) == 1 else given, part.event_us, data,
            created_us=part.created_us, ttl_seconds=part.ttl_seconds,
        )  # fmt: skip
    assert len(rows_of(first)) == n and rows_of(second) == rows_of(first)


def test_an_empty_table_has_nothing_to_scan() -> None:
    assert list(table.OnlineTable(table.Schema(KEYS["int"], FIELDS)).scan()) == []


FACT = st.tuples(st.integers(0, 6), st.integers(0, 5), st.booleans())


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(st.lists(st.lists(FACT, max_size=6), max_size=6), st.integers(1, 4))
def test_it_is_what_a_dict_holds(batches: Any, batch_rows: int) -> None:
    """Upserts and deletions in any order, rows of any age."""
    made = table.OnlineTable(table.Schema(KEYS["int"], (table.Field("x", "int64"),), max_age_us=1))
    held: dict[int, tuple[int, int]] = {}
    for number, facts in enumerate(batches):
        for key, event, is_deletion in facts:
            if is_deletion:
                made.delete([key])
                held.pop(key, None)
            else:
                made.upsert([key], [event], {"x": [number]}, created_us=[0])
                if event >= held.get(key, (-1, 0))[0]:
                    held[key] = (event, number)
    found = {key[0]: (row[0], row[3]) for key, row in rows_of(made, batch_rows).items()}
    assert found == held


def test_a_scan_sees_one_moment_while_a_writer_goes_on() -> None:
    """Every batch sets all keys to one number; a scan that mixed two moments would see two."""
    n = 3000
    made = table.OnlineTable(table.Schema(KEYS["int"], (table.Field("x", "int64"),)))
    made.upsert(np.arange(n), np.zeros(n, np.int64), {"x": np.zeros(n, np.int64)})
    ended = threading.Event()

    def write() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            # More keys than before now and then: the index grows under the scan.
            keys = np.arange(n + 500 * (number % 40))
            made.upsert(keys, np.full(len(keys), number), {"x": np.full(len(keys), number)})

    writer = threading.Thread(target=write)
    writer.start()
    try:
        numbers = set()
        for _ in range(30):
            seen = np.concatenate([part.values["x"][part.keys["id"] < n] for part in made.scan(100)])
            assert len(seen) == n and len(set(seen.tolist())) == 1
            numbers.add(int(seen[0]))
        assert len(numbers) > 3
    finally:
        ended.set()
        writer.join()


def test_a_scan_left_half_read_ends_with_its_iterator() -> None:
    made = table.OnlineTable(table.Schema(KEYS["int"], (table.Field("x", "int64"),)))
    x = np.zeros(1000, np.int64)
    made.upsert(np.arange(1000), x, {"x": x})
    scan = made.scan(10)
    next(scan)
    for event in range(1, 30):
        made.upsert(np.arange(1000), x + event, {"x": x})
    pinned = made.stats().rows_bytes
    assert pinned >= 29_000 * made.stats().row_bytes  # none of them was used again
    scan.close()
    gc.collect()
    threading.Event().wait(0.15)  # longer than the quarantine of replaced rows
    for event in range(30, 50):
        made.upsert(np.arange(1000), x + event, {"x": x})
    assert made.stats().rows_bytes == pinned


def test_refused_scans(tmp_path: Path) -> None:
    schema = table.Schema(KEYS["int"], FIELDS)
    made = table.OnlineTable(schema)
    with pytest.raises(status.NativeError, match="at least 1"):
        next(made.scan(0))
    with table.OnlineTable.open(tmp_path / "t", schema, shared=True, memory_directory=tmp_path) as shared:
        shared.upsert([1], [1], columns(1))
        reader = table.OnlineTable.open_reader(tmp_path / "t")
        with pytest.raises(status.NativeError) as caught:
            next(reader.scan())
        assert caught.value.code == "not_writable"
    made.close()
    with pytest.raises(status.NativeError) as caught:
        next(made.scan())
    assert caught.value.code == "closed"
