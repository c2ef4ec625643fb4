"""The in-memory rows against a plain dict, and the log that brings them back, in this process and beside it."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.core import errors
from mainspring.core.features import native_table, row_log, row_table

FIELDS: tuple[row_table.Field, ...] = (
    ("a", "float32"), ("n", "int64"), ("s", "string"), ("b", "float32"), ("t", "bool"), ("d", "float64")
)  # fmt: skip


def batch(facts: list[tuple[Any, int, int, int | None]]) -> row_table.Rows:
    """(key, event, created, value) each; every field is made of the value."""
    value = [f[3] for f in facts]
    null = np.array([v is None for v in value], np.bool_)
    filled = np.array([0 if v is None else v for v in value])
    text = np.array([None if v is None else f"s{v}" for v in value], np.object_)
    return row_table.Rows(
        [f[0] for f in facts],
        np.array([f[1] for f in facts], np.int64),
        np.array([f[2] for f in facts], np.int64),
        {
            "a": filled.astype(np.float32), "b": -filled.astype(np.float32), "n": filled.astype(np.int64), "s": text,
            "t": filled % 2 == 1, "d": filled / 3,
        },
        dict.fromkeys(("a", "b", "n", "s", "t", "d"), null),
    )  # fmt: skip


def one(value: int | None) -> dict[str, Any]:
    if value is None:
        return dict.fromkeys("abnstd")
    return {
        "a": float(value),
        "b": -float(value),
        "n": value,
        "s": f"s{value}",
        "t": value % 2 == 1,
        "d": value / 3,
    }


def ask(
    table: row_table.RowTable, keys: list[Any], oldest: int = -1, newest: int = 99
) -> list[tuple[Any, int]]:
    """By row the values and the status, read as a batch, which each single read must equal."""
    groups = table.groups([name for name, _ in table.fields])
    found = table.read(keys, groups, oldest_us=oldest, newest_us=newest)
    rows = []
    for i, key in enumerate(keys):
        cells: dict[str, Any] = {}
        for g, group in enumerate(groups):
            for c, name in enumerate(group.names):
                is_null = found.nulls is not None and found.nulls[g][i, c]
                cells[name] = None if is_null else found.values[g][i, c]
        lists, status, event = table.read_one(key, groups, oldest_us=oldest, newest_us=newest)
        single = {
            n: v
            for group, row in zip(groups, lists, strict=True)
            for n, v in zip(group.names, row, strict=True)
        }
        assert (single, status, event) == (cells, found.status[i], found.event_us[i])
        rows.append((cells, int(found.status[i])))
    return rows


FACT = st.tuples(st.sampled_from("xyz"), st.integers(0, 5), st.integers(0, 3), st.none() | st.integers(0, 9))


TABLES: dict[str, Callable[[], row_table.RowTable]] = {
    "numpy": lambda: row_table.NumpyTable(FIELDS),
    "native": lambda: native_table.NativeTable(FIELDS, (str,)),
}


@pytest.mark.parametrize("made", TABLES)
@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(FACT, min_size=1, max_size=8), max_size=4),
    st.tuples(st.integers(0, 6), st.integers(0, 6)).map(sorted),
)
def test_it_equals_a_dict_that_keeps_the_newest(made: str, batches: Any, span: list[int]) -> None:
    table, (oldest, newest) = TABLES[made](), span
    kept: dict[str, tuple[int, int, int | None]] = {}
    for facts in batches:
        table.upsert(batch(facts))
        for key, event, created, value in facts:
            if key not in kept or (event, created) >= kept[key][:2]:
                kept[key] = (event, created, value)
    keys = ["x", "z", "never", "x", "y"]
    want = []
    for key in keys:
        event, _, value = kept.get(key, (99, 0, None))
        if event > newest:
            want.append((one(None), 1))
        else:
            want.append((one(None), 2) if event < oldest else (one(value), 0))
    assert ask(table, keys, oldest, newest) == want


@pytest.mark.parametrize("made", TABLES)
def test_a_part_of_the_fields_comes_from_its_own_columns(made: str) -> None:
    table = TABLES[made]()
    table.upsert(batch([("x", 1, 1, 4)]))
    groups = table.groups(["b", "n"])
    assert [g.names for g in groups] == [("b",), ("n",)]
    assert table.read_one("x", groups, oldest_us=0, newest_us=9)[0] == [[-4.0], [4]]
    with pytest.raises(errors.NotFound, match="no field `q`"):
        table.groups(["q"])


@pytest.mark.parametrize("made", TABLES)
def test_other_fields_keep_what_they_can(made: str) -> None:
    table = TABLES[made]()
    table.upsert(batch([("x", 1, 1, 4), ("y", 1, 1, None)]))
    wide = table.evolved([("n", "int64"), ("new", "float32"), ("a", "float64")])
    assert [row for row, _ in ask(wide, ["x", "y"])] == [
        {"n": 4, "new": None, "a": None}, {"n": None, "new": None, "a": None}
    ]  # fmt: skip


@pytest.mark.parametrize("keys", [["x", "y"], [1, 2], [("x", 1), ("y", -5)], [b"\xff", b""]])
def test_a_batch_comes_back_from_its_bytes(keys: list[Any]) -> None:
    rows = batch([(keys[0], 5, 1, 3), (keys[1], 2**60, 0, None)])
    again, fields = row_log.decode(row_log.encode(rows, FIELDS))
    assert fields == FIELDS and again.keys == keys
    table = row_table.NumpyTable(fields)
    table.upsert(again)
    assert ask(table, keys, newest=2**61) == [(one(3), 0), (one(None), 0)]


def test_keys_of_several_types_are_refused() -> None:
    with pytest.raises(errors.SchemaMismatch, match="several types"):
        row_log.encode(batch([("x", 1, 1, 1), (7, 1, 1, 1)]), FIELDS)


def test_the_log_keeps_order_forgets_dropped_tables_and_refuses_strange_files(tmp_path: Path) -> None:
    log, other = row_log.RowLog(tmp_path / "a" / "rows.db"), row_log.RowLog(tmp_path / "a" / "rows.db")
    log.append("v", b"1")
    other.append("v", b"2")
    log.append("w", b"3")
    assert other.since(1) == [(2, "v", b"2"), (3, "w", b"3")]
    log.replace("v", 2, b"12")
    assert other.since(0) == [(3, "w", b"3"), (4, "v", b"12")]
    other.append("v", None)
    assert log.since(0) == [(3, "w", b"3"), (5, "v", None)]
    log.close(), other.close()
    (tmp_path / "text").write_text("not a database, but long enough to be looked at as one" * 20)
    with pytest.raises(errors.CorruptArtifact):
        row_log.RowLog(tmp_path / "text")


def test_a_log_of_another_layout_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    row_log.RowLog(tmp_path / "rows.db").close()
    with sqlite3.connect(tmp_path / "rows.db") as db:
        db.execute("PRAGMA user_version=1")
    db.close()
    with pytest.raises(errors.CorruptArtifact, match="layout 1, this release reads 2; move it away"):
        row_log.RowLog(tmp_path / "rows.db")


def test_reads_without_an_age_share_their_buffers() -> None:
    table = native_table.make([("a", "float32"), ("n", "int64")], (int,))
    assert isinstance(table, native_table.NativeTable)
    groups = table.groups(["a", "n"])
    for newest in range(2**50, 2**50 + 20):
        table.read_one(7, groups, oldest_us=-(2**62), newest_us=newest)
        table.read([7, 8], groups, oldest_us=-(2**62), newest_us=newest)
    assert len(groups.single) == len(groups.idle) == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "values", [[math.inf, -math.inf, 1.0], [math.inf, -math.inf, math.nan], [1e38, 3e38, 3e38]]
)
def test_infinities_and_nulls_of_one_row_are_told_apart(values: list[float]) -> None:
    names = ["x", "y", "z"]
    table = native_table.make([(name, "float32") for name in names], (int,))
    columns = {name: np.array([value], np.float32) for name, value in zip(names, values, strict=True)}
    nulls = {name: np.isnan(column) for name, column in columns.items()}
    times = np.array([5], np.int64)
    table.upsert(row_table.Rows([1], times, times, columns, nulls))
    ((row,), status, _) = table.read_one(1, table.groups(names), oldest_us=0, newest_us=9)
    assert (row, status) == ([None if math.isnan(v) else float(np.float32(v)) for v in values], 0)
