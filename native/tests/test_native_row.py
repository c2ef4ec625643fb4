"""One row at a time, packed or as a dict: the bits of that row in a batch, and every way to be refused."""

from __future__ import annotations

import gc
import json
import struct
import sys
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from mainspring.native import program, status, targets

TARGETS = targets.available()
SPEC: dict[str, Any] = {
    "version": 1,
    # Mixed on purpose: a packed row orders by type.
    "inputs": [
        {"name": "now", "type": "int64"}, {"name": "price", "type": "float32"}, {"name": "clicks", "type": "events"},
        {"name": "user", "type": "int64"}, {"name": "größe", "type": "float32"}, {"name": "views", "type": "events"},
        {"name": "item", "type": "int64"},
    ],
    "dense": [
        {"op": "numeric", "source": "price", "fill": 2.0, "log1p": True},
        {"op": "missing", "source": "price"},
        {"op": "pass", "source": "größe"},
        *({"op": "pass", "source": {"window": a, "events": e, "as_of": "now", "width": 1000}}
          for a in ("sum", "count", "mean", "last") for e in ("clicks", "views")),
    ],
    "ids": [
        {"op": "bucketise", "source": "größe", "boundaries": [0.0, 1.0], "right": True},
        *({"op": "hash", "source": s, "buckets": 1000, "seed": i} for i, s in enumerate(["user", "item", "now"] * 4)),
        {"op": "vocabulary", "source": "user", "values": [1, 2, 3]},
        {"op": "vocabulary", "source": "item", "values": [1, 2**60]},
        {"op": "cross", "sources": ["item", "user"], "buckets": 50},
    ],
}  # fmt: skip
ORDER = ["price", "größe", "now", "user", "item", "clicks", "views"]

number = st.none() | st.floats(width=32) | st.integers(-5, 5)
integer = st.none() | st.integers(-3, 5) | st.integers(-(2**63), 2**63 - 1)
moment = st.integers(0, 3000)


@st.composite
def event_list(draw: st.DrawFn) -> Any:
    """Up to 100 events, now and then none at all."""
    if draw(st.integers(0, 9)) == 0:
        return None
    times = sorted(draw(st.lists(moment, max_size=100)))
    if draw(st.booleans()):
        times.reverse()
    seed = draw(st.integers(0, 1000))
    values = np.random.default_rng(seed).normal(0, 3, len(times)).astype(np.float32)
    values[values > 5] = np.nan
    return np.array(times, np.int64), values


fields_ = st.fixed_dictionaries(
    {"price": number, "größe": number, "now": moment | st.none(), "user": integer, "item": integer,
     "clicks": event_list(), "views": event_list()}
)  # fmt: skip


def batch_of(fields: dict[str, Any]) -> dict[str, Any]:
    """The same row as a batch of one."""
    columns: dict[str, Any] = {}
    for column in SPEC["inputs"]:
        value = fields[column["name"]]
        if column["type"] == "float32":
            with np.errstate(over="ignore"):
                columns[column["name"]] = np.array([np.nan if value is None else value], np.float32)
        elif column["type"] == "int64":
            columns[column["name"]] = np.array([-(2**63) if value is None else value], np.int64)
        else:
            times, values = (np.zeros(0, np.int64), np.zeros(0, np.float32)) if value is None else value
            columns[column["name"]] = (np.array([0, len(times)], np.int32), times, values)
    return columns


@hypothesis.settings(max_examples=150, deadline=None, derandomize=True)
@hypothesis.given(st.lists(fields_, min_size=1, max_size=4))
def test_row_equals_batch_of_one(rows: list[dict[str, Any]]) -> None:
    for target in TARGETS:
        compiled = program.Program(SPEC, target=target)
        row = compiled.row()
        for fields in rows:
            want = compiled.run(batch_of(fields))
            packed = compiled.pack(fields)
            for run, given in (
                (row.run_packed, packed),
                (row.run_packed, np.frombuffer(bytearray(packed), np.uint8)),
                (row.run_fields, fields),
                (row.run_fields, {name: fields[name] for name in ORDER}),
                (row.run_fields, {"other": 1} | fields),
            ):
                row.dense[:], row.ids[:] = 77.0, 77
                run(given)
                assert row.dense.tobytes() == want.dense.tobytes()
                assert row.ids.tobytes() == want.ids.tobytes()


GOOD: dict[str, Any] = {
    "price": 1.5,
    "größe": 0.5,
    "now": 100,
    "user": 2,
    "item": None,
    "clicks": None,
    "views": None,
}
ROW_PROGRAM = program.Program(SPEC)


def test_numbers_of_other_types_and_json() -> None:
    row = ROW_PROGRAM.row()
    row.run_fields(GOOD)
    want = row.dense.tobytes(), row.ids.tobytes()
    for same in (
        GOOD | {"price": np.float32(1.5), "user": np.int64(2), "now": np.int32(100)},
        GOOD | {"price": np.float64(1.5), "user": np.uint8(2)},
        json.loads(json.dumps(GOOD)),
        dict(reversed(GOOD.items())),
    ):
        row.run_fields(same)
        assert (row.dense.tobytes(), row.ids.tobytes()) == want
    row.run_fields(GOOD | {"price": True, "größe": 1e300})
    assert row.dense[0, 2] == np.inf


def refused(code: str, *words: str, run: Any, given: Any) -> None:
    with pytest.raises(status.NativeError) as caught:
        run(given)
    assert caught.value.code == code
    for word in words:
        assert word in str(caught.value)


def without(name: str) -> dict[str, Any]:
    return {k: v for k, v in GOOD.items() if k != name}


T, V = np.arange(3, dtype=np.int64), np.ones(3, np.float32)


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        (None, "bad_dtype", ["`fields` must be a dict, got `NoneType`"]),
        ([1], "bad_dtype", ["`list`"]),
        ({}, "missing_column", ["column `price` is missing, expected `price`, `größe`, `now`"]),
        *((without(name), "missing_column", [f"column `{name}` is missing"]) for name in GOOD),
        (GOOD | {"price": "1.5"}, "bad_dtype", ["field `price` must be a number or None, got `str`"]),
        (GOOD | {"größe": [1.0]}, "bad_dtype", ["field `größe`"]),
        (GOOD | {"user": 1.0}, "bad_dtype", ["field `user` must be an int64 or None, got `float`"]),
        (GOOD | {"user": 2**63}, "bad_dtype", ["field `user`"]),
        (GOOD | {"user": "7"}, "bad_dtype", ["field `user`", "`str`"]),
        (GOOD | {"clicks": [T, V]}, "bad_dtype", ["field `clicks` must be a tuple (times, values) or None"]),
        (GOOD | {"clicks": (T,)}, "bad_dtype", ["field `clicks`"]),
        (GOOD | {"clicks": (T, V[:2])}, "bad_shape", ["`clicks.values` must have shape (3,)"]),
        (GOOD | {"views": (T.astype(np.int32), V)}, "bad_dtype", ["`views.times` must have dtype int64"]),
        (GOOD | {"views": (T, V.astype(float))}, "bad_dtype", ["`views.values`"]),
        (GOOD | {"views": (T[::-1], V)}, "not_contiguous", ["`views.times`"]),
        (GOOD | {"views": (5, V)}, "bad_dtype", ["`views.times`"]),
    ],
)
def test_bad_fields(given: Any, code: str, words: list[str]) -> None:
    row = ROW_PROGRAM.row()
    row.run_fields(GOOD)
    before = row.dense.tobytes(), row.ids.tobytes()
    refused(code, *words, run=row.run_fields, given=given)
    assert (row.dense.tobytes(), row.ids.tobytes()) == before


PACKED = ROW_PROGRAM.pack(GOOD | {"clicks": (T, V), "views": (T[:2], V[:2])})


def test_packed_layout() -> None:
    """Written down once more, in struct's words: others will write these bytes."""
    assert (
        struct.pack("<3q2f2I", 100, 2, -(2**63), 1.5, 0.5, 3, 2)
        + struct.pack("<3q3f4x", 0, 1, 2, 1, 1, 1)
        + struct.pack("<2q2f", 0, 1, 1, 1)
        == PACKED
    )
    assert program.Program(
        {"version": 1, "inputs": [{"name": "x", "type": "float32"}], "dense": [{"op": "pass", "source": "x"}]}
    ).pack({"x": 1.0}) == struct.pack("<f4x", 1.0)


@pytest.mark.parametrize("size", range(len(PACKED)))
def test_a_packed_row_cut_anywhere_is_refused(size: int) -> None:
    row = ROW_PROGRAM.row()
    refused("bad_shape", "a packed row", f"got {size}", run=row.run_packed, given=PACKED[:size])


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        (PACKED + bytes(8), "bad_shape", [f"got {len(PACKED) + 8}"]),
        (None, "bad_dtype", ["must be bytes or another contiguous buffer, got `NoneType`", "Program.pack"]),
        ("text", "bad_dtype", ["`str`"]),
        (memoryview(bytearray(bytes(1) + PACKED))[1:], "not_contiguous", ["a multiple of 8 bytes"]),
        (np.zeros((len(PACKED), 2), np.uint8)[:, 0], "bad_dtype", ["contiguous"]),
    ],
)
def test_bad_packed(given: Any, code: str, words: list[str]) -> None:
    refused(code, *words, run=ROW_PROGRAM.row().run_packed, given=given)


@hypothesis.settings(max_examples=300, deadline=None, derandomize=True)
@hypothesis.given(st.data())
def test_any_bytes_are_run_or_refused(data: st.DataObject) -> None:
    """A count that lies is no way out of the buffer."""
    damaged = bytearray(PACKED)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.sampled_from([len(damaged), len(damaged) - 8, 48]))
    try:
        ROW_PROGRAM.row().run_packed(bytes(damaged[:cut]))
    except status.NativeError as error:
        assert error.code == "bad_shape"


def test_pack_needs_every_field() -> None:
    refused("missing_column", "field `views` is missing", run=ROW_PROGRAM.pack, given=without("views"))


def test_row_keeps_its_program_and_lends_its_outputs() -> None:
    row = program.Program(SPEC).row()
    gc.collect()
    row.run_packed(PACKED)
    dense, ids = row.dense, row.ids
    assert dense is row.dense and dense.ctypes.data % 64 == 0
    want = dense.tobytes(), ids.tobytes()
    del row
    gc.collect()
    assert (dense.tobytes(), ids.tobytes()) == want
    with pytest.raises(TypeError):
        program.Row()


def test_refusals_leak_nothing() -> None:
    row = ROW_PROGRAM.row()
    fields, packed = GOOD | {"user": "x"}, PACKED[:40]

    def refuse() -> None:
        for run, given in ((row.run_fields, fields), (row.run_packed, packed)):
            with pytest.raises(status.NativeError):
                run(given)  # type: ignore[arg-type]

    refuse()
    before = sys.getrefcount(fields), sys.getrefcount(packed), sys.getrefcount(row.dense)
    for _ in range(100):
        refuse()
        row.run_fields(GOOD)
        row.run_packed(PACKED)
    assert (sys.getrefcount(fields), sys.getrefcount(packed), sys.getrefcount(row.dense)) == before


def test_a_dict_that_changes_while_it_is_read() -> None:
    class Number:
        def __float__(self) -> float:
            fields.clear()
            return 1.0

    fields: dict[str, Any] = {name: GOOD[name] for name in ORDER} | {
        "größe": Number(),
        "clicks": (T.copy(), V.copy()),
    }
    refused("missing_column", "column `now`", run=ROW_PROGRAM.row().run_fields, given=fields)
