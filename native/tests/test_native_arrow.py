"""Batches through Arrow's C data interface: what PyArrow, Polars and DuckDB export gives what the same NumPy arrays give."""

from __future__ import annotations

import ctypes
import datetime
import itertools
from collections.abc import Callable
from typing import Any

import duckdb
import hypothesis
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import strategies as st

from mainspring.native import device_plan, program, reference, reference_program, status, targets

MISSING = reference.MISSING
SPEC: dict[str, Any] = {
    "version": 1,
    "inputs": [
        {"name": "x", "type": "float32"}, {"name": "u", "type": "int64"}, {"name": "now", "type": "int64"},
        {"name": "e", "type": "events"}, {"name": "s", "type": "string"},
    ],
    "dense": [
        {"op": "pass", "source": "x"},
        {"op": "numeric", "source": "x", "fill": 2.0, "upper": 9.0, "log1p": True},
        {"op": "pass", "source": {"window": "sum", "events": "e", "as_of": "now", "width": 50}},
        {"op": "pass", "source": {"window": "count", "events": "e", "as_of": "now", "width": 50}},
    ],
    "ids": [
        {"op": "hash", "source": "u", "buckets": 1000},
        {"op": "hash", "source": "s", "buckets": 2**31 - 1, "seed": 7},
        {"op": "hash", "source": "s", "buckets": 50},
        {"op": "cross", "sources": ["s", "u", "s"], "buckets": 2**31 - 1, "seed": 3},
        {"op": "bucketise", "source": "x", "boundaries": [0.0, 1.0], "right": True},
        {"op": "vocabulary", "source": "u", "values": [0, 1, 5]},
    ],
}  # fmt: skip
COMPILED = program.Program(SPEC)


def one(kind: str) -> program.Program:
    """A program of one column `c`."""
    if kind in ("string", "int64"):
        given: dict[str, Any] = {"ids": [{"op": "hash", "source": "c", "buckets": 2**31 - 1}]}
    elif kind == "events":
        source = {"window": "sum", "events": "c", "as_of": "now", "width": 50}
        given = {"dense": [{"op": "pass", "source": source}]}
    else:
        given = {"dense": [{"op": "pass", "source": "c"}]}
    extra = [{"name": "now", "type": "int64"}] if kind == "events" else []
    return program.Program({"version": 1, "inputs": [*extra, {"name": "c", "type": kind}], **given})


def as_numpy(rows: dict[str, list[Any]]) -> dict[str, Any]:
    """What the reference takes for the same rows."""
    lists = [[] if events is None else events for events in rows["e"]]
    flat = [event for events in lists for event in events]
    times = [MISSING if event is None or event[0] is None else event[0] for event in flat]
    values = [np.nan if event is None or event[1] is None else event[1] for event in flat]
    return {
        "x": np.array([np.nan if v is None else v for v in rows["x"]], np.float32),
        "u": np.array([MISSING if v is None else v for v in rows["u"]], np.int64),
        "now": np.array([MISSING if v is None else v for v in rows["now"]], np.int64),
        "e": (np.cumsum([0, *map(len, lists)]), np.array(times, np.int64), np.array(values, np.float32)),
        "s": rows["s"],
    }


def agree(got: program.Outputs, rows: dict[str, list[Any]]) -> None:
    columns = as_numpy(rows)
    _, ids = reference_program.run(SPEC, columns)
    want = COMPILED.run(columns)
    np.testing.assert_array_equal(got.ids, ids)
    np.testing.assert_array_equal(want.ids, ids)
    assert got.dense.tobytes() == want.dense.tobytes()


TIMES, VALUES = st.none() | st.integers(0, 120), st.none() | st.floats(-8, 8, width=32)
ROWS = st.lists(
    st.fixed_dictionaries({
        "x": st.none() | st.floats(width=32),
        "u": st.none() | st.integers(-(2**31), 2**31 - 1),
        "now": st.none() | st.integers(0, 100),
        "e": st.none() | st.lists(st.none() | st.tuples(TIMES, VALUES), max_size=5),
        "s": st.none() | st.text(max_size=20),
    }),
    max_size=25,
)  # fmt: skip


@hypothesis.settings(max_examples=150, deadline=None, derandomize=True)
@hypothesis.given(
    rows=ROWS,
    cuts=st.lists(st.integers(0, 25), max_size=3),
    ends=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    types=st.tuples(
        st.sampled_from([pa.float32(), pa.float64()]), st.sampled_from([pa.int64(), pa.int32()]),
        st.sampled_from([pa.list_, pa.large_list]),
        st.sampled_from([pa.string(), pa.large_string(), pa.string_view()]),
    ),
    how=st.sampled_from(["table", "columns", "reader"]),
)  # fmt: skip
def test_any_slices_chunks_and_holes(
    rows: list[dict[str, Any]],
    cuts: list[int],
    ends: tuple[int, int],
    types: tuple[pa.DataType, pa.DataType, Callable[[pa.DataType], pa.DataType], pa.DataType],
    how: str,
) -> None:
    x, u, nest, text = types
    schema = pa.schema({
        "x": x, "u": u, "now": pa.int64(), "e": nest(pa.struct({"t": pa.int64(), "v": pa.float32()})), "s": text,
    })  # fmt: skip
    events = [
        None if r["e"] is None else [None if e is None else {"t": e[0], "v": e[1]} for e in r["e"]]
        for r in rows
    ]
    lists = {k: [r[k] for r in rows] for k in schema.names}
    whole = pa.table(lists | {"e": events}, schema=schema)
    front, back = ends
    kept = range(len(rows))[front : max(front, len(rows) - back)]
    part = whole.slice(front, len(kept))
    places = [0, *sorted(min(c, len(kept)) for c in cuts), len(kept)]
    chunks = [part.slice(a, b - a) for a, b in itertools.pairwise(places)]
    table = pa.concat_tables(chunks)
    given: Any = table
    if how == "columns":
        given = {name: table[name] for name in table.column_names}
    elif how == "reader":
        given = pa.RecordBatchReader.from_batches(schema, table.to_batches())
    agree(COMPILED.run(given), {k: [lists[k][i] for i in kept] for k in lists})


def test_polars_duckdb_and_record_batches() -> None:
    rows = {
        "x": [1.0, None, 3.0], "u": [1, 5, None], "now": [100, 100, 20],
        "e": [[(90, 1.5)], None, [(19, 2.0), (20, None)]], "s": ["a", "", "rather more than twelve bytes: ü"],
    }  # fmt: skip
    events = [None if e is None else [{"t": t, "v": v} for t, v in e] for e in rows["e"]]  # type: ignore[attr-defined]
    kind = pa.list_(pa.struct({"t": pa.int64(), "v": pa.float32()}))
    table = pa.table({**rows, "e": pa.array(events, kind)})
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    relation = duckdb.from_arrow(table)
    for given in (table, table.to_batches()[0], frame, relation, {n: frame[n] for n in frame.columns}):
        agree(COMPILED.run(given), rows)


def test_values_are_read_where_they_lie() -> None:
    x, u = np.array([1.0, 2.0, 3.0, 4.0], np.float32), np.array([1, 2, 3, 4])
    bound = program.Program({
        "version": 1, "inputs": [{"name": "x", "type": "float32"}, {"name": "u", "type": "int64"}],
        "dense": [{"op": "pass", "source": "x"}], "ids": [{"op": "vocabulary", "source": "u", "values": [2, 9]}],
    }).bind({"x": pa.array(x).slice(1), "u": pa.array(u).slice(1)})  # fmt: skip
    bound.run(3)
    assert bound.outputs.dense[:, 0].tolist() == [2.0, 3.0, 4.0] and bound.outputs.ids.tolist() == [[2, 1, 1]]
    x[2], u[2] = 7.0, 9
    bound.run(3)
    assert bound.outputs.dense[:, 0].tolist() == [2.0, 7.0, 4.0] and bound.outputs.ids.tolist() == [[2, 3, 1]]


def test_an_output_must_not_lie_on_an_arrow_column() -> None:
    x = np.zeros((3, 1), np.float32)
    out = program.Outputs(x, np.empty((0, 3), np.int32))
    with pytest.raises(status.NativeError, match="`dense` must not share memory with `c`") as caught:
        one("float32").run({"c": pa.array(x[:, 0])}, out)
    assert caught.value.code == "overlap"


@pytest.mark.parametrize(
    ("kind", "array", "want"),
    [
        ("float32", pa.array([0.1, None, 1e300, -1e-42], pa.float64()), [0.1, None, np.inf, -1e-42]),
        ("float32", pa.array([True, None, False] * 9).slice(7), ([True, None, False] * 9)[7:]),
        ("float32", pa.array([-5, None, 127], pa.int8()), [-5, None, 127]),
        ("float32", pa.array([0, 65535], pa.uint16()), [0, 65535]),
        ("int64", pa.array([True, None, False] * 9).slice(5, 12), ([1, None, 0] * 9)[5:17]),
        ("int64", pa.array([-(2**31), None, 2**31 - 1], pa.int32()).slice(1), [None, 2**31 - 1]),
        ("int64", pa.array([2**32 - 1, None], pa.uint32()), [2**32 - 1, None]),
        ("int64", pa.array([-1, None], pa.int16()), [-1, None]),
        ("int64", pa.array([7, None], pa.timestamp("us")), [7, None]),
        ("int64", pa.array([datetime.date(1970, 1, 9)], pa.date32()), [8]),
        ("int64", pa.array([5], pa.duration("ns")), [5]),
    ],
)  # fmt: skip
def test_types_are_widened(kind: str, array: pa.Array, want: list[Any]) -> None:
    missing, dtype = (np.nan, np.float32) if kind == "float32" else (MISSING, np.int64)
    with np.errstate(over="ignore"):
        column = np.array([missing if v is None else v for v in want]).astype(dtype)
    for given in (array, pa.chunked_array([array.slice(0, 1), array.slice(1)])):
        got, expected = one(kind).run({"c": given}), one(kind).run({"c": column})
        assert got.ids.tobytes() == expected.ids.tobytes()
        np.testing.assert_array_equal(got.dense, expected.dense)


EVENTS = pa.list_(pa.struct({"t": pa.int64(), "v": pa.float32()}))


@pytest.mark.parametrize(
    ("kind", "array", "words"),
    [
        ("float32", pa.array([1], pa.int64()), ["`c`", "float32, float64", "`l`", "cast it"]),
        ("float32", pa.array(["a"]), ["`c`", "`u`"]),
        ("float32", pa.array([], pa.string()), ["`c`", "`u`"]),
        ("int64", pa.array([1.0]), ["`c`", "int64, int32", "`g`"]),
        ("int64", pa.array([1], pa.uint64()), ["`c`", "`L`"]),
        ("int64", pa.array([1, 1]).dictionary_encode(), ["`c`", "dictionary-encoded"]),
        ("string", pa.array([1]), ["`c`", "utf8", "`l`"]),
        ("string", pa.array(["a"]).dictionary_encode(), ["`c`", "dictionary-encoded"]),
        ("events", pa.array([[1]]), ["`c`", "list or large_list of a struct", "`+l`"]),
        ("events", pa.array([1]), ["`c`", "`l`"]),
        ("events", pa.array([[{"t": 1.5, "v": 1.5}]]), ["`c.time`", "`g`"]),
        ("events", pa.array([[{"t": 1, "v": "a"}]]), ["`c.value`", "`u`"]),
    ],
)
def test_other_types_are_refused_by_name(kind: str, array: pa.Array, words: list[str]) -> None:
    columns = {"c": array, "now": pa.array([1] * len(array), pa.int64())}
    with pytest.raises(status.NativeError) as caught:
        one(kind).run(columns)
    assert caught.value.code == "bad_dtype"
    for word in words:
        assert word in str(caught.value)


def test_other_shapes_are_refused_by_name() -> None:
    columns: dict[str, Any] = {"now": pa.array([1, 2]), "c": pa.array([[]], EVENTS)}
    with pytest.raises(status.NativeError, match="`c` must have 2 rows, got 1") as caught:
        one("events").run(columns)
    assert caught.value.code == "bad_shape"
    with pytest.raises(status.NativeError, match="`c` is missing") as caught:
        one("int64").run(pa.table({"d": [1]}))
    assert caught.value.code == "missing_column"
    holed = pa.StructArray.from_arrays([pa.array([1, 2])], ["c"], mask=pa.array([True, False]))
    with pytest.raises(status.NativeError, match="null as a whole") as caught:
        one("int64").run(holed)
    assert caught.value.code == "bad_dtype"
    with pytest.raises(status.NativeError, match="`columns` must be Arrow struct"):
        one("int64").run(pa.array([1]))
    for strings, words in (
        ([1], "must be a str"),
        (["\ud800"], "valid Unicode"),
        (5, "must be a list of str"),
    ):
        with pytest.raises(status.NativeError, match=words) as caught:
            one("string").run({"c": strings})
        assert caught.value.code == "bad_dtype"


def test_a_device_takes_no_strings() -> None:
    with pytest.raises(status.NativeError, match="a device takes no strings, got `s`") as caught:
        device_plan.compile(SPEC)
    assert caught.value.code == "bad_spec"


@pytest.mark.parametrize("target", targets.available())
def test_a_string_hashes_to_its_xxh3(target: str) -> None:
    """Lists, the three layouts, and one row, packed or not."""
    strings = [
        None,
        "",
        "a",
        "ü" * 6,
        "ü" * 7,
        *("x" * n for n in (11, 12, 13, 16, 17, 128, 129, 240, 241, 2000)),
    ]
    spec = {
        "version": 1,
        "inputs": [{"name": "c", "type": "string"}, {"name": "d", "type": "string"}],
        "ids": [
            {"op": "hash", "source": "c", "buckets": 2**31 - 1, "seed": 2**64 - 1},
            {"op": "hash", "source": "d", "buckets": 1000},
            {"op": "cross", "sources": ["c", "d"], "buckets": 2**31 - 1},
        ],
    }
    compiled = program.Program(spec, target=target)
    columns: dict[str, Any] = {"c": strings, "d": strings[::-1]}
    _, want = reference_program.run(spec, columns)
    missing = np.array([not s for s in strings])
    by_hand = reference.bucket_of(reference.hash_utf8(strings, 2**64 - 1), 2**31 - 1, missing)
    np.testing.assert_array_equal(want[0], by_hand)
    for kind in (pa.string(), pa.large_string(), pa.string_view(), pa.binary()):
        given = {k: pa.array(v, pa.string()).cast(kind) for k, v in columns.items()}
        np.testing.assert_array_equal(compiled.run(given).ids, want)
        sliced = {k: v.slice(3, 9) for k, v in given.items()}
        np.testing.assert_array_equal(compiled.run(sliced).ids, want[:, 3:12])
    np.testing.assert_array_equal(compiled.run(columns).ids, want)
    row = compiled.row()
    for i in range(len(strings)):
        fields = {name: column[i] for name, column in columns.items()}
        row.run_fields(fields)
        np.testing.assert_array_equal(row.ids[:, 0], want[:, i])
        row.ids[:] = -1
        row.run_packed(compiled.pack(fields))
        np.testing.assert_array_equal(row.ids[:, 0], want[:, i])


# A producer of our own, to count what is released.
RELEASE = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Schema(ctypes.Structure):
    _fields_ = (
        ("format", ctypes.c_char_p), ("name", ctypes.c_char_p), ("metadata", ctypes.c_char_p),
        ("flags", ctypes.c_int64), ("n_children", ctypes.c_int64), ("children", ctypes.c_void_p),
        ("dictionary", ctypes.c_void_p), ("release", RELEASE), ("private", ctypes.c_void_p),
    )  # fmt: skip


class Array(ctypes.Structure):
    _fields_ = (
        ("length", ctypes.c_int64), ("null_count", ctypes.c_int64), ("offset", ctypes.c_int64),
        ("n_buffers", ctypes.c_int64), ("n_children", ctypes.c_int64),
        ("buffers", ctypes.POINTER(ctypes.c_void_p)), ("children", ctypes.c_void_p),
        ("dictionary", ctypes.c_void_p), ("release", RELEASE), ("private", ctypes.c_void_p),
    )  # fmt: skip


WORDS = ctypes.create_string_buffer(b"no more disk")
GET = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)


class Stream(ctypes.Structure):
    _fields_ = (
        ("get_schema", GET), ("get_next", GET),
        ("get_last_error", ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)), ("release", RELEASE),
        ("private", ctypes.c_void_p),
    )  # fmt: skip


DESTROY = ctypes.CFUNCTYPE(None, ctypes.py_object)
NEW = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)(
    ("PyCapsule_New", ctypes.pythonapi)
)


class Producer:
    """Counts releases. The capsules have no destructor: what their consumer leaves unreleased stays at 0."""

    def __init__(self, form: bytes, values: Any, *, fails_after: int | None = None, chunks: int = 2) -> None:
        self.released = {"schema": 0, "array": 0}
        self.values, self.form, self.made, self.fails_after, self.chunks = (
            values,
            form,
            0,
            fails_after,
            chunks,
        )
        self.kept: list[Any] = []

    def fill(self, kind: type[Schema] | type[Array], at: int) -> None:
        made = kind.from_address(at)
        what = "schema" if kind is Schema else "array"

        def release(address: int) -> None:
            kind.from_address(address).release = RELEASE()  # null
            self.released[what] += 1

        callback = RELEASE(release)
        if isinstance(made, Schema):
            made.format, made.name = self.form, b"c"
        else:
            buffers = (ctypes.c_void_p * 2)(None, self.values.ctypes.data)
            made.length, made.n_buffers = len(self.values), 2
            made.buffers = ctypes.cast(buffers, ctypes.POINTER(ctypes.c_void_p))
            self.kept.append(buffers)
            self.made += 1
        made.release = callback
        self.kept.append(callback)


class ArrayProducer(Producer):
    def __arrow_c_array__(self, requested_schema: Any = None) -> Any:
        schema, array = Schema(), Array()
        self.fill(Schema, ctypes.addressof(schema))
        self.fill(Array, ctypes.addressof(array))
        self.kept += [schema, array]
        return (
            NEW(ctypes.addressof(schema), b"arrow_schema", None),
            NEW(ctypes.addressof(array), b"arrow_array", None),
        )


class StreamProducer(Producer):
    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        def get_schema(_: int, out: int) -> int:
            self.fill(Schema, out)
            return 0

        def get_next(_: int, out: int) -> int:
            if self.made == self.fails_after:
                return 5
            if self.made < self.chunks:
                self.fill(Array, out)
            return 0

        stream = Stream()
        stream.get_schema, stream.get_next = GET(get_schema), GET(get_next)
        stream.get_last_error = type(stream.get_last_error)(lambda _: ctypes.addressof(WORDS))
        stream.release = RELEASE(lambda _: None)
        self.kept.append(stream)
        return NEW(ctypes.addressof(stream), b"arrow_array_stream", None)


@pytest.mark.parametrize("make", [ArrayProducer, StreamProducer])
def test_what_was_taken_is_released_once(make: type[Producer]) -> None:
    values = np.arange(4, dtype=np.float32)
    producer = make(b"f", values)
    copies = 2 if make is StreamProducer else 1
    got = one("float32").run({"c": producer}).dense[:, 0]
    assert got.tolist() == [0.0, 1.0, 2.0, 3.0] * copies
    assert producer.released == {"schema": 1, "array": copies} and producer.made == copies
    bound = one("float32").bind({"c": (held := make(b"f", values))})
    assert held.released == {"schema": 0, "array": 0}
    bound.run(4)
    del bound
    assert held.released == {"schema": 1, "array": copies}


@pytest.mark.parametrize("make", [ArrayProducer, StreamProducer])
def test_what_was_taken_is_released_once_on_errors_too(make: type[Producer]) -> None:
    values = np.arange(4, dtype=np.float32)
    copies = 2 if make is StreamProducer else 1
    compiled = one("float32")
    for form, out in (
        (b"u", None),
        (b"f", program.Outputs(np.empty((9, 1), np.float32), np.empty((0, 9), np.int32))),
    ):
        producer = make(form, values)
        with pytest.raises(status.NativeError):
            compiled.run({"c": producer}, out)
        assert producer.released == {"schema": 1, "array": copies}


@pytest.mark.parametrize("fails_after", [0, 1])
def test_a_stream_that_fails_is_told_and_released(fails_after: int) -> None:
    producer = StreamProducer(b"f", np.zeros(2, np.float32), fails_after=fails_after)
    with pytest.raises(
        status.NativeError, match="`c`: its Arrow stream failed with 5 .no more disk."
    ) as caught:
        one("float32").run({"c": producer})
    assert caught.value.code == "bad_dtype"
    assert producer.released == {"schema": 1, "array": fails_after}
