"""Every way a spec or a batch of a program is refused: the code, and a message that says where and what to do."""

from __future__ import annotations

import copy
import json
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from mainspring.native import program, status
from mainspring.native import spec as specs

F32, I64 = np.float32, np.int64
NUMERIC = {"op": "numeric", "source": "x"}
HASH = {"op": "hash", "source": "u", "buckets": 10}
BUCKETS = {"op": "bucketise", "source": "x", "boundaries": [0.0, 1.0], "right": False}
WINDOW = {"window": "sum", "events": "e", "as_of": "now", "width": 60}


def spec(**changes: Any) -> dict[str, Any]:
    return {
        "version": 1,
        "inputs": [
            {"name": "x", "type": "float32"}, {"name": "u", "type": "int64"}, {"name": "now", "type": "int64"},
            {"name": "e", "type": "events"},
        ],
        "dense": [NUMERIC],
        "ids": [HASH],
    } | changes  # fmt: skip


def refused(given: Any, *words: str, code: str = "bad_spec") -> None:
    with pytest.raises(status.NativeError) as caught:
        program.Program(given)
    assert caught.value.code == code
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, ["`spec` must be an object", "None"]),
        ([], ["`spec` must be an object"]),
        ({}, ["`version` is required, got nothing"]),
        (spec(version=2), ["`version` must be 1, got `2`"]),
        (spec(version=True), ["`version` must be an integer"]),
        (spec(extra=1), ["`extra` is not known here"]),
        (spec(inputs=None), ["`inputs` must be a list"]),
        (spec(inputs=[5]), ["`inputs[0]` must be an object"]),
        (spec(inputs=[{"name": "x"}]), ["`inputs[0].type` is required", "`name`"]),
        (spec(inputs=[{"name": "x", "type": "float64"}]), ["`inputs[0].type` must be one of", "'float64'"]),
        (spec(inputs=[{"name": 3, "type": "int64"}]), ["`inputs[0].name` must be a string"]),
        (spec(inputs=[{"name": "x", "type": "int64", "no": 1}]), ["`inputs[0].no`"]),
        (spec(inputs=[{"name": "x", "type": "int64"}] * 2), ["`inputs[1].name` must be new, got `'x'`"]),
        (spec(dense=[], ids=[]), ["1 to 65536 outputs"]),
        (spec(dense={}), ["`dense` must be a list"]),
        (spec(dense=[{}]), ["`dense[0].op` is required"]),
        (
            spec(dense=[{"op": "sqrt", "source": "x"}]),
            ["`dense[0].op` must be one of numeric, min_max", "'sqrt'"],
        ),
        (spec(dense=[{"op": "pass"}]), ["`dense[0].source` is required"]),
        (
            spec(dense=[{"op": "pass", "source": "u"}]),
            ["`dense[0].source` must be an input of type float32 (`x`)"],
        ),
        (spec(dense=[{"op": "pass", "source": 7}]), ["`dense[0].source` must be an object"]),
        (spec(dense=[NUMERIC | {"fil": 1}]), ["`dense[0].fil` is not known here"]),
        (spec(dense=[NUMERIC | {"fill": "1"}]), ["`dense[0].fill` must be a number, got `'1'`"]),
        (spec(dense=[NUMERIC | {"fill": True}]), ["`dense[0].fill` must be a number"]),
        (spec(dense=[NUMERIC | {"fill": 10**400}]), ["`dense[0].fill` must be a float64"]),
        (spec(dense=[NUMERIC | {"log1p": 1}]), ["`dense[0].log1p` must be true or false"]),
        (spec(dense=[NUMERIC, NUMERIC | {"scale": 0.0}]), ["`dense[1]`: `scale` must be in", "got 0.0"]),
        (spec(dense=[NUMERIC | {"fill": 1e39}]), ["`dense[0]`: `fill` must be a finite float32"]),
        (spec(dense=[NUMERIC | {"lower": 2, "upper": 1}]), ["`dense[0]`: `lower` must not exceed `upper`"]),
        (
            spec(dense=[{"op": "min_max", "source": "x", "low": 1, "high": 1}]),
            ["`dense[0].low` must be below"],
        ),
        (spec(dense=[{"op": "min_max", "source": "x", "low": 0, "high": 1e300}]), ["`dense[0]`: `scale`"]),
        (spec(dense=[{"op": "pass", "source": WINDOW | {"width": 0}}]), ["`dense[0].source.width`", "1 .."]),
        (spec(dense=[{"op": "pass", "source": WINDOW | {"window": "avg"}}]), ["`dense[0].source.window`"]),
        (spec(dense=[{"op": "pass", "source": WINDOW | {"events": "x"}}]), ["`dense[0].source.events`"]),
        (spec(dense=[{"op": "pass", "source": WINDOW | {"as_of": "e"}}]), ["`dense[0].source.as_of`"]),
        (
            spec(dense=[{"op": "pass", "source": WINDOW | {"unit": 1}}]),
            ["`dense[0].source.unit` is not known"],
        ),
        (spec(ids=[HASH | {"buckets": 1}]), ["`ids[0].buckets` must be an integer in 2 .."]),
        (spec(ids=[HASH | {"buckets": 2.0}]), ["`ids[0].buckets`"]),
        (spec(ids=[HASH | {"seed": -1}]), ["`ids[0].seed`"]),
        (spec(ids=[HASH | {"seed": 2**64}]), ["`ids[0].seed`"]),
        (
            spec(ids=[HASH | {"source": "nobody"}]),
            ["`ids[0].source`", "int64 or string (`u`, `now`)", "'nobody'"],
        ),
        (
            spec(ids=[HASH | {"offset": 2**31 - 1}]),
            ["`ids[0]`: `offset` must be 0 or more, and every id an int32"],
        ),
        (spec(ids=[HASH | {"offset": -1}]), ["`ids[0].offset`"]),
        (spec(ids=[{"op": "cross", "sources": [], "buckets": 9}]), ["`ids[0]`: it must have one source"]),
        (spec(ids=[{"op": "cross", "sources": ["u", 1], "buckets": 9}]), ["`ids[0].sources[1]`"]),
        (
            spec(ids=[{"op": "vocabulary", "source": "u", "values": [1, 2, 1]}]),
            ["`ids[0]`: `values` must differ"],
        ),
        (spec(ids=[{"op": "vocabulary", "source": "u", "values": [-(2**63)]}]), ["-2^63, the missing value"]),
        (spec(ids=[{"op": "vocabulary", "source": "u", "values": [2**63]}]), ["`ids[0].values[0]`"]),
        (spec(ids=[{"op": "vocabulary", "source": "u", "values": [1.5]}]), ["`ids[0].values[0]`", "1.5"]),
        (spec(ids=[{k: v for k, v in BUCKETS.items() if k != "right"}]), ["`ids[0].right` is required"]),
        (spec(ids=[BUCKETS | {"boundaries": [1.0, 1.0]}]), ["`ids[0]`: `boundaries` must rise strictly"]),
        (spec(ids=[BUCKETS | {"boundaries": [1.0, 1.0 + 1e-9]}]), ["must rise strictly as float32"]),
        (spec(ids=[BUCKETS | {"boundaries": [float("nan")]}]), ["`boundaries` must be finite"]),
        (spec(ids=[BUCKETS | {"boundaries": [1e39]}]), ["`boundaries` must be finite"]),
        (spec(ids=[BUCKETS | {"boundaries": ["a"]}]), ["`ids[0].boundaries[0]` must be a number"]),
        (spec(ids=[BUCKETS | {"boundaries": [float(i) for i in range(65_537)]}]), ["at most 65536"]),
    ],
)
def test_bad_spec(given: Any, words: list[str]) -> None:
    refused(given, *words)


def test_unknown_target() -> None:
    with pytest.raises(status.NativeError) as caught:
        program.Program(spec(), target="sse9")
    assert caught.value.code == "unknown_target"


def columns(**changes: Any) -> dict[str, Any]:
    return {
        "x": np.arange(4, dtype=F32), "u": np.arange(4, dtype=I64), "now": np.arange(4, dtype=I64),
        "e": (np.array([0, 1, 1, 2, 2], np.int32), np.arange(2, dtype=I64), np.ones(2, F32)),
    } | changes  # fmt: skip


OFFSETS, TIMES, VALUES = columns()["e"]
WHOLE = program.Program(spec(dense=[NUMERIC, {"op": "pass", "source": WINDOW}]))


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"x": np.arange(3, dtype=F32)}, "bad_shape", ["`u` must have shape (3,), got (4,)"]),
        ({"u": np.arange(3, dtype=I64)}, "bad_shape", ["`u` must have shape (4,), got (3,)"]),
        ({"x": np.arange(4)}, "bad_dtype", ["`x` must have dtype float32, got `int64`"]),
        ({"u": np.arange(4, dtype=np.int32)}, "bad_dtype", ["`u` must have dtype int64, got `int32`"]),
        ({"u": [1, 2, 3, 4]}, "bad_dtype", ["`u` must be a int64 array, got `list`"]),
        ({"u": np.arange(8, dtype=I64)[::2]}, "not_contiguous", ["`u`"]),
        ({"e": (OFFSETS, TIMES)}, "bad_dtype", ["`e` must be a tuple (offsets, times, values)"]),
        ({"e": [OFFSETS, TIMES, VALUES]}, "bad_dtype", ["`e` must be a tuple", "`list`"]),
        ({"e": (OFFSETS[:4], TIMES, VALUES)}, "bad_shape", ["`e.offsets` must have shape (5,)"]),
        ({"e": (OFFSETS.astype(F32), TIMES, VALUES)}, "bad_dtype", ["`e.offsets` must have dtype int64"]),
        ({"e": (OFFSETS, TIMES.astype(np.int32), VALUES)}, "bad_dtype", ["`e.times`"]),
        ({"e": (OFFSETS, TIMES, VALUES[:1])}, "bad_shape", ["`e.values` must have shape (2,), got (1,)"]),
        ({"e": (OFFSETS, TIMES, None)}, "bad_dtype", ["`e.values`"]),
        ({"e": (OFFSETS[::-1].copy(), TIMES, VALUES)}, "bad_shape", ["row 1: `offsets` must rise"]),
        ({"e": (OFFSETS + 1, TIMES, VALUES)}, "bad_shape", ["row 2: `offsets`", "stay within their list"]),
        ({"e": (OFFSETS - 1, TIMES, VALUES)}, "bad_shape", ["stay within their list"]),
        ({"e": (OFFSETS.astype(I64) + 2**40, TIMES, VALUES)}, "bad_shape", ["stay within their list"]),
    ],
)
def test_bad_columns(changes: dict[str, Any], code: str, words: list[str]) -> None:
    with pytest.raises(status.NativeError) as caught:
        WHOLE.run(columns(**changes))
    assert caught.value.code == code
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("rows", [4, 40, 4000])
@pytest.mark.parametrize("wide", [np.int32, np.int64])
def test_offsets_outside_of_their_list_are_found_in_any_row(rows: int, wide: Any) -> None:
    given = {
        "x": np.zeros(rows, F32), "u": np.zeros(rows, I64), "now": np.zeros(rows, I64),
        "e": (np.arange(rows + 1, dtype=wide), np.zeros(rows, I64), np.zeros(rows, F32)),
    }  # fmt: skip
    WHOLE.run(given)
    for row in {0, 1, rows // 2, rows - 1}:
        for bad in (-1, rows + 1, 2**31 - 1):
            offsets = given["e"][0].copy()
            offsets[row + 1] = bad
            with pytest.raises(status.NativeError) as caught:
                WHOLE.run(given | {"e": (offsets, *given["e"][1:])})
            assert caught.value.code == "bad_shape" and f"row {row}: " in str(caught.value)


def test_missing_column() -> None:
    given = columns()
    del given["now"]
    with pytest.raises(status.NativeError) as caught:
        WHOLE.run(given)
    assert caught.value.code == "missing_column"
    assert "column `now` is missing, expected `x`, `u`, `now`, `e`" in str(caught.value)


def frozen(array: Any) -> Any:
    array.setflags(write=False)
    return array


@pytest.mark.parametrize(
    ("dense", "ids", "code", "words"),
    [
        (np.empty((4, 3), F32), np.empty((1, 4), np.int32), "bad_shape", ["`dense` must have shape (4, 2)"]),
        (np.empty((4, 2), F32), np.empty((4, 1), np.int32), "bad_shape", ["`ids` must have shape (1, 4)"]),
        (np.empty((4, 2)), np.empty((1, 4), np.int32), "bad_dtype", ["`dense` must have dtype float32"]),
        (np.empty((4, 2), F32), np.empty((1, 4), I64), "bad_dtype", ["`ids` must have dtype int32"]),
        (frozen(np.empty((4, 2), F32)), np.empty((1, 4), np.int32), "not_writable", ["`dense`"]),
        (np.empty((4, 2), F32), frozen(np.empty((1, 4), np.int32)), "not_writable", ["`ids`"]),
        (np.empty((2, 4), F32).T, np.empty((1, 4), np.int32), "not_contiguous", ["`dense`"]),
    ],
)
def test_bad_out(dense: Any, ids: Any, code: str, words: list[str]) -> None:
    with pytest.raises(status.NativeError) as caught:
        WHOLE.run(columns(), program.Outputs(dense, ids))
    assert caught.value.code == code
    for word in words:
        assert word in str(caught.value)


def test_outputs_must_not_overlap_anything() -> None:
    memory = np.zeros(64, F32)
    dense, ids = memory[:8].reshape(4, 2), memory[8:12].view(np.int32).reshape(1, 4)
    WHOLE.run(columns(x=memory[12:16]), program.Outputs(dense, ids))  # side by side is no overlap
    for given, name in (
        (columns(x=memory[6:10]), "`dense` must not share memory with `x`"),
        (columns(u=memory[8:16].view(I64)), "`ids` must not share memory with `u`"),
        (columns(e=(OFFSETS, TIMES, memory[11:13])), "`ids` must not share memory with `e.values`"),
    ):
        with pytest.raises(status.NativeError) as caught:
            WHOLE.run(given, program.Outputs(dense, ids))
        assert caught.value.code == "overlap" and name in str(caught.value)
    with pytest.raises(status.NativeError) as caught:
        WHOLE.run(columns(), program.Outputs(dense, memory[4:8].view(np.int32).reshape(1, 4)))
    assert "`ids` must not share memory with `dense`" in str(caught.value)


def test_more_rows_than_are_bound() -> None:
    bound = WHOLE.bind(columns())
    with pytest.raises(status.NativeError) as caught:
        bound.run(5)
    assert caught.value.code == "bad_shape"
    assert "at most the 4 that are bound, got 5" in str(caught.value)


def test_spec_survives_json() -> None:
    given = spec(
        dense=[NUMERIC | {"lower": None, "upper": 3}, {"op": "pass", "source": WINDOW}],
        ids=[HASH | {"seed": 2**64 - 1}, {"op": "vocabulary", "source": "u", "values": [2**63 - 1]}, BUCKETS],
    )
    before = copy.deepcopy(given)
    assert specs.decode(json.loads(json.dumps(given))) == specs.decode(given)
    assert given == before


KEYS = st.sampled_from(
    ["version", "inputs", "name", "type", "dense", "ids", "op", "source", "sources", "buckets", "seed", "offset",
     "values", "boundaries", "right", "fill", "lower", "log1p", "scale", "window", "events", "as_of", "width"]
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=3)
    | st.integers(-(2**65), 2**65) | st.integers(-2, 3)
    | st.sampled_from(["x", "u", "e", "now", "int64", "float32", "hash", "cross", "pass", "numeric", "sum"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn) -> Any:
    """A good spec with one to three places replaced by anything that JSON can say."""
    given: Any = spec(
        dense=[NUMERIC, {"op": "pass", "source": dict(WINDOW)}, {"op": "min_max", "source": "x", "low": 0, "high": 1}],
        ids=[HASH, {"op": "cross", "sources": ["u", "now"], "buckets": 5}, BUCKETS,
             {"op": "vocabulary", "source": "u", "values": [1, 2]}],
    )  # fmt: skip
    given = json.loads(json.dumps(given))
    for _ in range(draw(st.integers(1, 3))):
        place = given
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], (dict, list)) and draw(st.booleans()):
                place = place[key]
                continue
            if isinstance(place, dict) and draw(st.booleans()):
                key = draw(KEYS)
            place[key] = draw(JSON)
            break
    return given


@hypothesis.settings(max_examples=400, deadline=None, derandomize=True)
@hypothesis.given(damaged() | JSON)
def test_any_json_is_compiled_or_refused(given: Any) -> None:
    """Bounded here; a longer run: `--hypothesis-profile` with more examples. What compiles must also run."""
    try:
        compiled = program.Program(given)
    except status.NativeError as error:
        assert error.code == "bad_spec" and str(error)
        return
    batch = {"float32": np.zeros(3, F32), "int64": np.zeros(3, I64)}
    events = (np.zeros(4, np.int32), np.zeros(0, I64), np.zeros(0, F32))
    out = compiled.run({c.name: batch.get(c.type, events) for c in compiled.inputs})
    assert out.dense.shape == (3 if compiled.inputs else 0, compiled.width)
