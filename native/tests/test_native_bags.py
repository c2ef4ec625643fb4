"""Bags: the reference's ids and offsets from every way in, room that does not suffice, lists that are damaged."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from typing import Any

import hypothesis
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import strategies as st
from numpy.typing import NDArray

from mainspring.native import (
    batcher,
    device_plan,
    program,
    reference,
    reference_program,
    status,
    table,
    targets,
)

TARGETS = targets.available()
MISSING = reference.MISSING
I32, I64 = np.int32, np.int64
SPEC: dict[str, Any] = {
    "version": 1,
    # Mixed on purpose: they are taken by type.
    "inputs": [
        {"name": "words", "type": "string_list"}, {"name": "tags", "type": "int64_list"},
        {"name": "x", "type": "float32"}, {"name": "u", "type": "int64"}, {"name": "s", "type": "string"},
        {"name": "pages", "type": "int64_list"},
    ],
    "dense": [{"op": "numeric", "source": "x"}],
    "ids": [
        {"op": "hash", "source": "u", "buckets": 100}, {"op": "vocabulary", "source": "s", "values": ["a"]},
    ],
    "bags": [
        {"op": "hash", "source": "tags", "buckets": 1000, "seed": 7},
        {"op": "vocabulary", "source": "words", "values": ["a", "ü", "x" * 13], "offset": 1000},
        {"op": "vocabulary", "source": "tags", "values": [0, 1, 2**40, -5], "offset": 9},
        {"op": "hash", "source": "words", "buckets": 2**31 - 1, "seed": 2**64 - 1},
        {"op": "hash", "source": "words", "buckets": 5},
        {"op": "vocabulary", "source": "pages", "values": list(range(50))},
        {"op": "hash", "source": "tags", "buckets": 2},
    ],
}  # fmt: skip

INTS = st.none() | st.sampled_from([0, 1, 2, -5, 2**40, 2**63 - 1, -(2**63) + 1]) | st.integers(-9, 60)
WORDS = st.none() | st.text(max_size=3) | st.sampled_from(["a", "ü", "x" * 12, "x" * 13])
ROWS = st.lists(
    st.fixed_dictionaries({
        "words": st.none() | st.lists(WORDS, max_size=6), "tags": st.none() | st.lists(INTS, max_size=40),
        "x": st.floats(0, 9, width=32), "u": st.integers(0, 9), "s": st.none() | st.sampled_from("abc"),
        "pages": st.lists(st.none() | st.integers(-9, 60), max_size=3),
    }),
    max_size=20,
)  # fmt: skip


def ragged(lists: list[Any], dtype: Any = I64, before: int = 0) -> tuple[NDArray[Any], NDArray[I64]]:
    """Lists of ints or None as arrays, after `before` values that no row has."""
    lists = [[] if given is None else given for given in lists]
    values = [-1] * before + [MISSING if v is None else v for given in lists for v in given] + [-1]
    return before + np.cumsum([0, *map(len, lists)], dtype=dtype), np.array(values, I64)


def as_numpy(rows: list[dict[str, Any]], dtype: Any = I64, before: int = 0) -> dict[str, Any]:
    return {
        "words": [r["words"] for r in rows], "s": [r["s"] for r in rows],
        "tags": ragged([r["tags"] for r in rows], dtype, before), "pages": ragged([r["pages"] for r in rows]),
        "x": np.array([r["x"] for r in rows], np.float32), "u": np.array([r["u"] for r in rows], I64),
    }  # fmt: skip


def agree(got: program.Outputs, columns: dict[str, Any], spec: dict[str, Any] = SPEC) -> None:
    values, offsets = reference_program.bags(spec, columns)
    _, ids = reference_program.run(spec, columns)
    assert got.bags is not None and got.bags.values.dtype == got.bags.offsets.dtype == I32
    np.testing.assert_array_equal(got.bags.offsets, offsets)
    np.testing.assert_array_equal(got.bags.values, values)
    np.testing.assert_array_equal(got.ids, ids)


@hypothesis.settings(max_examples=100, deadline=None, derandomize=True)
@hypothesis.given(rows=ROWS, dtype=st.sampled_from([I32, I64]), before=st.integers(0, 3))
def test_any_lists_by_numpy_and_row_by_row(rows: list[dict[str, Any]], dtype: Any, before: int) -> None:
    columns = as_numpy(rows, dtype, before)
    values, offsets = reference_program.bags(SPEC, columns)
    n_bags, n = len(SPEC["bags"]), len(rows)
    for target in TARGETS:
        compiled = program.Program(SPEC, target=target)
        agree(compiled.run(columns), columns)
        row = compiled.row(bag_capacity=400)
        for i, fields in enumerate(rows):
            array = None if fields["tags"] is None else np.array(
                [MISSING if v is None else v for v in fields["tags"]], I64
            )  # fmt: skip
            for run, given in (
                (row.run_fields, fields),
                (row.run_fields, {k: fields[k] for k in ("x", "u", "s", "tags", "pages", "words")}),
                (row.run_fields, fields | {"tags": array, "words": fields["words"] and (*fields["words"],)}),
                (row.run_packed, compiled.pack(fields)),
            ):
                row.bag_values[:], row.bag_offsets[:] = -1, -1
                run(given)
                for j in range(n_bags):
                    got = row.bag_values[row.bag_offsets[j] : row.bag_offsets[j + 1]]
                    want = values[offsets[j * n + i] : offsets[j * n + i + 1]]
                    np.testing.assert_array_equal(got, want)
                assert row.bag_offsets[0] == 0 and (row.bag_values[row.bag_offsets[-1] :] == -1).all()


NESTS: list[Callable[[pa.DataType], pa.DataType]] = [pa.list_, pa.large_list]


@hypothesis.settings(max_examples=100, deadline=None, derandomize=True)
@hypothesis.given(
    rows=ROWS,
    ends=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    cut=st.integers(0, 20),
    nest=st.sampled_from(NESTS),
    text=st.sampled_from([pa.string(), pa.large_string(), pa.string_view()]),
    number=st.sampled_from([pa.int64(), pa.int8()]),
)
def test_any_lists_by_arrow(
    rows: list[dict[str, Any]],
    ends: tuple[int, int],
    cut: int,
    nest: Callable[[pa.DataType], pa.DataType],
    text: pa.DataType,
    number: pa.DataType,
) -> None:
    schema = pa.schema({
        "words": nest(text), "tags": nest(pa.int64()), "x": pa.float32(), "u": pa.int64(), "s": text,
        "pages": nest(number),
    })  # fmt: skip
    whole = pa.table({k: [r[k] for r in rows] for k in schema.names}, schema=schema)
    kept = range(len(rows))[ends[0] : max(ends[0], len(rows) - ends[1])]
    part = whole.slice(ends[0], len(kept))
    cut = min(cut, len(kept))
    for given in (part, pa.concat_tables([part.slice(0, cut), part.slice(cut)])):
        agree(program.Program(SPEC).run(given), as_numpy([rows[i] for i in kept]))


def test_arrow_lists_are_read_where_they_lie() -> None:
    values = np.arange(6)
    array = pa.ListArray.from_arrays(pa.array([0, 1, 3, 6], pa.int32()), pa.array(values)).slice(1)
    spec = only({"op": "vocabulary", "source": "tags", "values": [7]})
    bound = program.Program(spec).bind({"tags": array})
    bound.run(2)
    assert bound.outputs.bags is not None and bound.outputs.bags.values[:5].tolist() == [1] * 5
    values[2] = 7
    bound.run(2)
    assert bound.outputs.bags.values[:5].tolist() == [1, 2, 1, 1, 1]
    assert bound.outputs.bags.offsets.tolist() == [0, 2, 5]


def only(*bags: dict[str, Any], kind: str = "int64_list") -> dict[str, Any]:
    return {"version": 1, "inputs": [{"name": "tags", "type": kind}], "bags": list(bags)}


HASH = {"op": "hash", "source": "tags", "buckets": 100}


def test_a_spec_of_nothing_but_bags() -> None:
    compiled = program.Program(only(HASH, HASH))
    assert (compiled.width, compiled.n_ids, compiled.n_bags, compiled.bag_sizes) == (0, 0, 2, (100, 100))
    for rows in (0, 1, 3):
        out = compiled.run({"tags": (np.arange(rows + 1), np.arange(rows))})
        assert out.dense.shape == (rows, 0) and out.ids.shape == (0, rows) and out.bags is not None
        assert out.bags.offsets.tolist() == list(range(2 * rows + 1))
    words = program.Program(only(HASH, kind="string_list"))
    assert words.run({"tags": [["a"], None]}).ids.shape == (0, 2)
    assert words.run({"tags": []}).ids.shape == (0, 0)


def test_outputs_are_a_pair_with_bags_beside() -> None:
    dense, ids = out = program.Program(SPEC).run(as_numpy([]))
    again = pickle.loads(pickle.dumps(out))
    assert again.dense.shape == dense.shape and again.ids.shape == ids.shape and again.bags is not None
    assert program.Outputs(dense, ids).bags is None


def many(rows: int) -> dict[str, Any]:
    rng = np.random.default_rng(rows)
    counts = rng.integers(0, 9, rows)
    counts[rows // 2 : rows // 2 + 1] = 5000
    offsets = np.append(0, np.cumsum(counts))
    values = rng.integers(-5, 60, offsets[-1])
    values[rng.random(len(values)) < 0.1] = MISSING
    words = [None if i % 7 == 0 else ["a", None, "ü", "b"][: i % 4] for i in range(rows)]
    return {
        "words": words, "tags": (offsets, values), "x": np.zeros(rows, np.float32), "u": np.arange(rows), "s": ["a"] * rows,
        "pages": (np.arange(rows + 1, dtype=I32), np.arange(rows) % 60),
    }  # fmt: skip


@pytest.mark.parametrize("rows", [1, 11, 12, 1025, 30_000])
def test_any_number_of_threads_gives_the_same_bits(rows: int) -> None:
    compiled, columns = program.Program(SPEC), many(rows)
    agree(want := compiled.run(columns), columns)
    bound = compiled.bind(columns, threads=3)
    bound.run(rows)
    assert want.bags is not None and bound.outputs.bags is not None
    assert bound.outputs.bags.offsets.tobytes() == want.bags.offsets.tobytes()
    for threads in range(2, 9):
        got = compiled.run(columns, threads=threads)
        assert got.bags is not None and got.dense.tobytes() == want.dense.tobytes()
        assert got.bags.values.tobytes() == want.bags.values.tobytes()
        assert got.bags.offsets.tobytes() == want.bags.offsets.tobytes()


def outputs(compiled: program.Program, rows: int, capacity: int) -> program.Outputs:
    return program.Outputs(
        np.full((rows, compiled.width), -7, np.float32), np.full((compiled.n_ids, rows), -7, I32),
        program.Bags(np.full(capacity, -7, I32), np.full(compiled.n_bags * rows + 1, -7, I32)),
    )  # fmt: skip


@pytest.mark.parametrize("rows", [1, 12, 3000])
def test_too_little_room_says_how_much_and_writes_nothing(rows: int) -> None:
    compiled, columns = program.Program(SPEC), many(rows)
    values, offsets = reference_program.bags(SPEC, columns)
    for capacity in (0, len(values) - 1):
        out = outputs(compiled, rows, capacity)
        bound = compiled.bind(columns, out)
        for run in (lambda o=out: compiled.run(columns, o), lambda b=bound: b.run(rows)):
            with pytest.raises(
                status.NoRoom, match=f"room for {len(values)} ids, got {capacity}; pass"
            ) as caught:
                run()
            assert (caught.value.code, caught.value.needed) == ("full", len(values))
        assert out.bags is not None
        for array in (*out, *out.bags):
            assert (array == -7).all()
    out = outputs(compiled, rows, caught.value.needed + 40)
    assert compiled.run(columns, out) is out and out.bags is not None
    np.testing.assert_array_equal(out.bags.values[: len(values)], values)
    np.testing.assert_array_equal(out.bags.offsets, offsets)
    assert (out.bags.values[len(values) :] == -7).all()


def test_a_row_with_too_little_room_changes_nothing() -> None:
    compiled = program.Program(SPEC)
    row = compiled.row(bag_capacity=6)
    fields = {"words": ["a"], "tags": [1], "x": 1.0, "u": 3, "s": "a", "pages": None}
    row.run_fields(fields)
    arrays = (row.dense, row.ids, row.bag_values, row.bag_offsets)
    before = [a.tobytes() for a in arrays]
    more = fields | {"x": 2.0, "pages": [1], "u": 4}
    for run, given in ((row.run_fields, more), (row.run_packed, compiled.pack(more))):
        with pytest.raises(status.NoRoom) as caught:
            run(given)  # type: ignore[operator]
        assert caught.value.needed == 7 and [a.tobytes() for a in arrays] == before
    error = pickle.loads(pickle.dumps(caught.value))
    assert (type(error), error.code, error.needed) == (status.NoRoom, "full", 7)


def test_bound_buffers_are_read_anew_and_some_rows_may_run() -> None:
    compiled, columns = program.Program(SPEC), many(50)
    bound = compiled.bind(columns)
    assert bound.outputs.bags is not None
    columns["tags"][1][:] = 1
    columns["tags"][0][1:] = columns["tags"][0][1:] - columns["tags"][0][1]
    for rows in (50, 20, 0):
        bound.run(rows)
        part = {k: (v[0][: rows + 1], v[1]) if isinstance(v, tuple) else v[:rows] for k, v in columns.items()}
        values, offsets = reference_program.bags(SPEC, part)
        np.testing.assert_array_equal(bound.outputs.bags.offsets[: len(offsets)], offsets)
        np.testing.assert_array_equal(bound.outputs.bags.values[: len(values)], values)


@pytest.mark.parametrize("dtype", [I32, I64])
@pytest.mark.parametrize("rows", [1, 12, 4000])
def test_damaged_offsets_are_found_before_anything_is_written(rows: int, dtype: Any) -> None:
    compiled = program.Program(SPEC)
    columns = many(rows) | {"pages": (np.arange(rows + 1, dtype=dtype), np.zeros(rows, I64))}
    for row in {0, rows // 2, rows - 1}:
        for bad in (-1, rows + 1, 2**31 - 1):
            offsets = columns["pages"][0].copy()
            offsets[row + 1] = bad
            out = outputs(compiled, rows, 200_000)
            for threads in (1, 2):
                with pytest.raises(
                    status.NativeError, match=f"row {row} of `pages`: `offsets` must rise"
                ) as caught:
                    compiled.run(columns | {"pages": (offsets, columns["pages"][1])}, out, threads=threads)
                assert caught.value.code == "bad_shape" and out.bags is not None
                for array in (*out, *out.bags):
                    assert (array == -7).all()


@pytest.mark.parametrize(
    ("offsets", "row"), [([0, 2, 1, 3], 1), ([0, 1, 2, 9], 2), ([-1, 0, 1, 2], 0), ([0, 1, 2**31 - 1, 3], 1)]
)
@pytest.mark.parametrize("kind", ["int64_list", "string_list"])
def test_damaged_arrow_lists(offsets: list[int], row: int, kind: str) -> None:
    values = pa.array([1, 2, 3]) if kind == "int64_list" else pa.array(["a", "b", "c"])
    holed = pa.array([1, None, 3]) if kind == "int64_list" else values
    for elements in (values, holed):  # as they lie, and converted
        good = np.arange(4, dtype=I32)
        buffers = [None, pa.py_buffer(good)]
        damaged = pa.Array.from_buffers(pa.list_(elements.type), 3, buffers, children=[elements])
        good[:] = offsets  # which PyArrow would not take
        with pytest.raises(status.NativeError, match=f"row {row} of `tags`: `offsets` must rise") as caught:
            program.Program(only(HASH, kind=kind)).run({"tags": damaged})
        assert caught.value.code == "bad_shape"


OFFSETS, V = np.array([0, 1, 3]), np.arange(3)


@pytest.mark.parametrize(
    ("kind", "given", "code", "words"),
    [
        ("int64_list", [[1], [2]], "bad_dtype", ["`tags` must be a tuple (offsets, values)", "`list`"]),
        ("int64_list", (OFFSETS, V, V), "bad_dtype", ["`tags` must be a tuple"]),
        ("int64_list", (OFFSETS, V.astype(I32)), "bad_dtype", ["`tags.values` must have dtype int64"]),
        ("int64_list", (OFFSETS.astype(float), V), "bad_dtype", ["`tags.offsets` must have dtype int64"]),
        ("int64_list", (OFFSETS, V[::2]), "not_contiguous", ["`tags.values`"]),
        ("int64_list", (OFFSETS[:0], V), "bad_shape", ["`tags.offsets`"]),
        ("int64_list", (OFFSETS, None), "bad_dtype", ["`tags.values`"]),
        ("int64_list", pa.array([1]), "bad_dtype", ["list or large_list of integers", "`l`"]),
        ("int64_list", pa.array([[1.5]]), "bad_dtype", ["`tags.values`", "`g`"]),
        ("int64_list", pa.array([["a"]]), "bad_dtype", ["`tags.values`", "`u`"]),
        ("int64_list", pa.array([[1]], pa.list_(pa.int64(), 1)), "bad_dtype", ["`+w:1`"]),
        ("string_list", pa.array([[1]]), "bad_dtype", ["`tags.values`", "utf8", "`l`"]),
        ("string_list", pa.array(["a"]), "bad_dtype", ["list or large_list of utf8"]),
        ("string_list", 5, "bad_dtype", ["`tags` must be a list of lists of str"]),
        ("string_list", ["ab"], "bad_dtype", ["`tags` must be a list of str or None, got `str`"]),
        ("string_list", [["a", 5]], "bad_dtype", ["`tags` must be a str", "`int`"]),
        ("string_list", [["\ud800"]], "bad_dtype", ["valid Unicode"]),
    ],
)
def test_bad_columns(kind: str, given: Any, code: str, words: list[str]) -> None:
    with pytest.raises(status.NativeError) as caught:
        program.Program(only(HASH, kind=kind)).run({"tags": given})
    assert caught.value.code == code
    for word in words:
        assert word in str(caught.value)


def test_lists_have_as_many_rows_as_the_rest() -> None:
    for name in ("tags", "words", "pages"):
        fewer = many(3) | {name: many(2)[name]}
        for given in (
            fewer,
            fewer | ({name: pa.array([[1], [2]])} if name != "words" else {name: pa.array([["a"], ["b"]])}),
        ):
            with pytest.raises(status.NativeError, match=f"`{name}") as caught:
                program.Program(SPEC).run(given)
            assert caught.value.code == "bad_shape"


def replaced(i: int, array: Any) -> Any:
    bags = [np.empty(20, I32), np.empty(3, I32)]
    bags[i] = array
    return (*bags,)


@pytest.mark.parametrize(
    ("bags", "code", "words"),
    [
        (None, "bad_shape", ["`out` must have bags"]),
        ((V,), "bad_dtype", ["`bags` must be a tuple (values, offsets)"]),
        (replaced(0, np.empty(20, I64)), "bad_dtype", ["`bags.values` must have dtype int32"]),
        (replaced(0, np.empty((20, 1), I32)), "bad_shape", ["`bags.values`"]),
        (replaced(0, np.empty(40, I32)[::2]), "not_contiguous", ["`bags.values`"]),
        (replaced(1, np.empty(4, I32)), "bad_shape", ["`bags.offsets` must have shape (3,)"]),
        (replaced(1, [0, 0, 0]), "bad_dtype", ["`bags.offsets`"]),
        (replaced(0, np.frombuffer(bytes(80), I32)), "not_writable", ["`bags.values`"]),
    ],
)
def test_bad_out(bags: Any, code: str, words: list[str]) -> None:
    out = program.Outputs(np.empty((2, 0), np.float32), np.empty((0, 2), I32), bags)
    for call in (program.Program(only(HASH)).run, program.Program(only(HASH)).bind):
        with pytest.raises(status.NativeError) as caught:
            call({"tags": (OFFSETS, V)}, out)
        assert caught.value.code == code
        for word in words:
            assert word in str(caught.value)


def test_a_spec_without_bags_takes_none() -> None:
    plain = program.Program({
        "version": 1, "inputs": [{"name": "u", "type": "int64"}], "ids": [{"op": "hash", "source": "u", "buckets": 9}],
    })  # fmt: skip
    assert plain.run({"u": V}).bags is None and plain.bind({"u": V}).outputs.bags is None
    assert plain.row().bag_values.shape == (0,) and plain.row().bag_offsets.tolist() == [0]
    out = program.Outputs(np.empty((3, 0), np.float32), np.empty((1, 3), I32), program.Bags(V, V))  # type: ignore[arg-type]
    with pytest.raises(status.NativeError, match="`out` must have no bags"):
        plain.run({"u": V}, out)


def test_bags_must_not_overlap_anything() -> None:
    memory = np.zeros(32, I64)
    narrow = memory.view(I32)
    offsets = np.array([0, 1, 3])
    memory[2:5] = V
    compiled = program.Program(only(HASH))
    dense, ids = np.empty((2, 0), np.float32), np.empty((0, 2), I32)
    for bags, words in (
        ((narrow[9:14], np.empty(3, I32)), "`bags.values` must not share memory with `tags.values`"),
        (
            (np.empty(4, I32), offsets.view(I32)[:3]),
            "`bags.offsets` must not share memory with `tags.offsets`",
        ),
        ((narrow[20:24], narrow[23:26]), "`bags.offsets` must not share memory with `bags.values`"),
    ):
        with pytest.raises(status.NativeError, match=words) as caught:
            compiled.run({"tags": (offsets, memory[2:5])}, program.Outputs(dense, ids, program.Bags(*bags)))
        assert caught.value.code == "overlap"
    beside = program.Bags(narrow[10:13], narrow[13:16])
    compiled.run({"tags": (offsets, memory[2:5])}, program.Outputs(dense, ids, beside))


@pytest.mark.parametrize(
    ("bags", "words"),
    [
        ({}, ["`bags` must be a list"]),
        ([{}], ["`bags[0].op` is required"]),
        ([HASH | {"op": "cross"}], ["`bags[0].op` must be one of hash, vocabulary", "'cross'"]),
        ([HASH | {"op": "one_hot"}], ["`bags[0].op` must be one of hash, vocabulary", "'one_hot'"]),
        ([HASH, HASH | {"source": "u"}], ["`bags[1].source` must be an input of type int64_list or string_list"]),
        ([HASH | {"buckets": 1}], ["`bags[0].buckets`"]),
        ([HASH | {"sed": 1}], ["`bags[0].sed` is not known here"]),
        ([HASH, HASH | {"offset": 2**31 - 1}], ["`bags[1]`: `offset` must be 0 or more, and every id an int32"]),
        ([{"op": "vocabulary", "source": "tags", "values": [1, 1]}], ["`bags[0]`: `values` must differ"]),
        ([{"op": "vocabulary", "source": "tags", "values": ["a"]}], ["`bags[0].values[0]`", "an integer"]),
    ],
)  # fmt: skip
def test_bad_spec(bags: Any, words: list[str]) -> None:
    given = only() | {"bags": bags, "ids": [], "inputs": [*only()["inputs"], {"name": "u", "type": "int64"}]}
    with pytest.raises(status.NativeError) as caught:
        program.Program(given)
    assert caught.value.code == "bad_spec"
    for word in words:
        assert word in str(caught.value)


def test_ids_do_not_take_lists() -> None:
    for op in ({"op": "hash", "buckets": 9}, {"op": "vocabulary", "values": []}):
        with pytest.raises(
            status.NativeError, match=r"`ids\[0\].source` must be an input of type int64 or string"
        ):
            program.Program(only(HASH) | {"ids": [op | {"source": "tags"}]})


def test_who_takes_no_bags_says_so() -> None:
    with pytest.raises(
        status.NativeError, match=r"a device takes no bags, got `bags\[0\]`, a hash of `tags`"
    ) as caught:
        device_plan.compile(only(HASH))
    assert caught.value.code == "bad_spec"
    unused = only() | {"inputs": [*only()["inputs"], {"name": "u", "type": "int64"}]}
    with pytest.raises(status.NativeError, match="a device takes no lists, got `tags`"):
        device_plan.compile(unused | {"ids": [{"op": "hash", "source": "u", "buckets": 9}]})
    queue = batcher.Batcher([("dense", "float32", 1), ("ids", "int32", 2)])
    with pytest.raises(status.NativeError, match="`row` must have no bags, got 7") as caught:
        queue.add_row(program.Program(SPEC).row(), FIELDS)
    assert caught.value.code == "bad_shape"
    users = table.OnlineTable(
        table.Schema(keys=(table.Key("id", "int64"),), fields=(table.Field("tags", "int64"),))
    )
    with pytest.raises(status.NativeError, match="the program reads it as int64_list") as caught:
        users.bind_for(program.Program(only(HASH)), 4)
    assert caught.value.code == "bad_dtype"


FIELDS: dict[str, Any] = {"words": ["a", "b"], "tags": [1, None, 3], "x": 1.5, "u": 2, "s": "a", "pages": []}


def test_packed_layout() -> None:
    """Written down once more, in struct's words: others will write these bytes."""
    compiled = program.Program(only(HASH, {"op": "vocabulary", "source": "words", "values": ["b"]}) | {
        "inputs": [{"name": "words", "type": "string_list"}, {"name": "tags", "type": "int64_list"},
                   {"name": "u", "type": "int64"}],
    })  # fmt: skip
    want = struct.pack("<q2I3q2q", 2, 3, 2, 1, MISSING, 3, -1, 0)
    assert compiled.pack(FIELDS) == want


PROGRAM = program.Program(SPEC)
PACKED = PROGRAM.pack(FIELDS)


@hypothesis.settings(max_examples=500, deadline=None, derandomize=True)
@hypothesis.given(st.data())
def test_any_bytes_are_a_packed_row_or_refused(data: st.DataObject) -> None:
    damaged = bytearray(PACKED)
    for _ in range(data.draw(st.integers(0, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.just(len(damaged)) | st.integers(0, len(damaged)))
    row = PROGRAM.row()
    try:
        row.run_packed(bytes(damaged[:cut]))
    except status.NativeError as error:
        assert error.code == "bad_shape"
        return
    assert cut == len(PACKED)
    for j, (item, size) in enumerate(zip(SPEC["bags"], PROGRAM.bag_sizes, strict=True)):
        ids = row.bag_values[row.bag_offsets[j] : row.bag_offsets[j + 1]]
        first = item.get("offset", 0)
        assert ((ids >= first) & (ids < first + size)).all()


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        (
            {"tags": 5},
            "bad_dtype",
            ["field `tags` must be an int64 array, a list of int64 and None, or None", "`int`"],
        ),
        ({"tags": [1.5]}, "bad_dtype", ["field `tags`", "`float`"]),
        ({"tags": [2**63]}, "bad_dtype", ["field `tags`"]),
        ({"tags": np.arange(3, dtype=I32)}, "bad_dtype", ["`tags` must have dtype int64"]),
        ({"tags": np.arange(6)[::2]}, "not_contiguous", ["`tags`"]),
        ({"tags": np.zeros((2, 2), I64)}, "bad_shape", ["`tags`"]),
        ({"words": "ab"}, "bad_dtype", ["`words` must be a list of str or None, got `str`"]),
        ({"words": ["a", 1]}, "bad_dtype", ["`words` must be a str"]),
    ],
)
def test_bad_fields(changes: dict[str, Any], code: str, words: list[str]) -> None:
    row = PROGRAM.row()
    row.run_fields(FIELDS)
    before = row.bag_values.tobytes(), row.bag_offsets.tobytes()
    with pytest.raises(status.NativeError) as caught:
        row.run_fields(FIELDS | changes)
    assert caught.value.code == code and (row.bag_values.tobytes(), row.bag_offsets.tobytes()) == before
    for word in words:
        assert word in str(caught.value)
    with pytest.raises(status.NativeError, match="column `pages` is missing") as caught:
        row.run_fields({k: v for k, v in FIELDS.items() if k != "pages"})
    assert caught.value.code == "missing_column"
