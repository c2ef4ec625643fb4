"""Bounded fuzzing of what comes from outside: specs and packed rows. Never a crash, always a typed NativeError or an answer."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from mainspring.native import program, status

SPEC: dict[str, Any] = {
    "version": 1,
    "inputs": [
        {"name": "x", "type": "float32"}, {"name": "u", "type": "int64"}, {"name": "now", "type": "int64"},
        {"name": "e", "type": "events"}, {"name": "f", "type": "events"}, {"name": "s", "type": "string"},
        {"name": "l", "type": "int64_list"}, {"name": "w", "type": "string_list"},
    ],
    "dense": [
        {"op": "numeric", "source": "x", "fill": 2.0, "lower": 0.0, "upper": 9.0, "log1p": True, "scale": 2.0},
        {"op": "min_max", "source": "x", "low": 0.0, "high": 4.0},
        {"op": "missing", "source": "x"},
        {"op": "pass", "source": {"window": "mean", "events": "e", "as_of": "now", "width": 60}},
        {"op": "pass", "source": {"window": "last", "events": "f", "as_of": "u", "width": 9}},
    ],
    "ids": [
        {"op": "hash", "source": "u", "buckets": 10, "seed": 3, "offset": 7},
        {"op": "hash", "source": "s", "buckets": 10},
        {"op": "cross", "sources": ["u", "s"], "buckets": 99},
        {"op": "vocabulary", "source": "u", "values": [3, 5, 8]},
        {"op": "vocabulary", "source": "s", "values": ["a", "bc"], "offset": 3},
        {"op": "bucketise", "source": "x", "boundaries": [0.0, 1.0, 2.5], "right": False},
    ],
    "bags": [
        {"op": "hash", "source": "l", "buckets": 10, "seed": 3, "offset": 7},
        {"op": "vocabulary", "source": "w", "values": ["a", "bc"], "offset": 3},
        {"op": "vocabulary", "source": "l", "values": [3, 5, 8]},
    ],
}  # fmt: skip
COLUMNS: dict[str, Any] = {
    "x": np.array([1.0, np.nan], np.float32), "u": np.array([3, 4]), "now": np.array([5, 6]),
    "e": (np.array([0, 1, 1]), np.array([5]), np.array([1.0], np.float32)),
    "f": (np.array([0, 0, 1]), np.array([2]), np.array([1.0], np.float32)), "s": ["a", None],
    "l": (np.array([0, 2, 3]), np.array([3, 4, 5])), "w": [["a", "b"], None],
}  # fmt: skip

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=5),
    st.sampled_from([0, -1, 2**31 - 1, 2**31, 2**63 - 1, -(2**63), 2**64, math.inf, math.nan, 1e39, 1e-320, "x", "u",
                     "e", "s", "l", "w", "hash", "sum", "pass", "float32", "string",
                     "int64_list", "string_list"]),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["op", "source", "window"]), inner)
    ),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of everything inside a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else []
    return [path, *(p for key, v in inner for p in places(v, (*path, key)))]


@st.composite
def mutants(draw: st.DrawFn) -> Any:
    """The spec after one to four changes anywhere: replaced, dropped, doubled, or taken from elsewhere."""
    spec: Any = copy.deepcopy(SPEC)
    for _ in range(draw(st.integers(1, 4))):
        path = draw(st.sampled_from(places(spec)))
        how = draw(st.sampled_from(["replace", "drop", "double", "move"]))
        if not path:
            continue
        parent = spec
        for key in path[:-1]:
            parent = parent[key]
        if how == "replace":
            parent[path[-1]] = draw(VALUES)
        elif how == "drop":
            del parent[path[-1]]
        elif how == "double" and isinstance(parent, list):
            parent.append(copy.deepcopy(parent[path[-1]]))
        else:
            other = draw(st.sampled_from(places(spec)))
            taken = spec
            for key in other:
                taken = taken[key]
            parent[path[-1]] = copy.deepcopy(taken)
        if not isinstance(spec, dict):
            break
    return spec


@hypothesis.settings(
    max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(hypothesis.HealthCheck)
)
@hypothesis.given(mutants())
def test_a_mutated_spec_compiles_or_is_refused(spec: Any) -> None:
    try:
        compiled = program.Program(spec)
    except status.NativeError as error:
        assert error.code == "bad_spec"
        assert error.message and "\n" not in error.message
        return
    json.dumps(spec)
    try:
        dense, ids = out = compiled.run(COLUMNS)
    except status.NativeError as error:  # an input that changed its name or type
        assert error.code in ("missing_column", "bad_dtype", "bad_shape", "not_contiguous")
        return
    assert dense.shape == (2, compiled.width) and ids.shape == (compiled.n_ids, 2)
    for row, size, offset in zip(
        ids, compiled.id_sizes, (i.get("offset", 0) for i in spec.get("ids", [])), strict=True
    ):
        assert ((row >= offset) & (row < offset + size)).all()
    if out.bags is None:
        return
    assert out.bags.offsets.shape == (2 * compiled.n_bags + 1,)
    for j, (item, size) in enumerate(zip(spec["bags"], compiled.bag_sizes, strict=True)):
        part = out.bags.values[out.bags.offsets[2 * j] : out.bags.offsets[2 * j + 2]]
        assert ((part >= item.get("offset", 0)) & (part < item.get("offset", 0) + size)).all()


COMPILED = program.Program(SPEC)
ROW = COMPILED.row()
GOOD = COMPILED.pack({
    "x": 1.0, "u": 3, "now": 5, "e": (np.arange(3), np.ones(3)), "f": (np.arange(1), np.ones(1)), "s": "abc",
    "l": [3, None], "w": ["a"],
})  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A packed row with bytes changed, cut off or added."""
    packed = bytearray(GOOD)
    for _ in range(draw(st.integers(0, 6))):
        packed[draw(st.integers(0, len(packed) - 1))] = draw(st.integers(0, 255))
    size = draw(st.just(len(packed)) | st.integers(0, len(packed)))
    return bytes(packed[:size]) + draw(st.just(b"") | st.binary(max_size=40))


@hypothesis.settings(max_examples=1000, deadline=None, derandomize=True)
@hypothesis.given(st.binary(max_size=300) | damaged())
def test_any_bytes_are_a_packed_row_or_refused(packed: bytes) -> None:
    try:
        ROW.run_packed(packed)
    except status.NativeError as error:
        assert error.code == "bad_shape"
        return
    for row, size, item in zip(ROW.ids, COMPILED.id_sizes, SPEC["ids"], strict=True):
        assert item.get("offset", 0) <= row[0] < item.get("offset", 0) + size


def test_a_count_of_events_beyond_the_bytes_is_refused() -> None:
    counts = 8 * 5 + 4  # before them: 2 ints, 3 made of the string, 1 float
    assert GOOD[counts : counts + 8] == b"\3\0\0\0\1\0\0\0"
    for at in (counts, counts + 4):
        for value in (b"\xff\xff\xff\xff", b"\x00\x00\x00\x80", b"\xff\xff\xff\x1f", b"\7\0\0\0"):
            with pytest.raises(status.NativeError, match="with these counts of events") as caught:
                ROW.run_packed(GOOD[:at] + value + GOOD[at + 4 :])
            assert caught.value.code == "bad_shape"
