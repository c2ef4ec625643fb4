"""The online table through Python: every type, every status, against a plain dict; every way to be refused."""

from __future__ import annotations

import threading
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import stateful
from hypothesis import strategies as st

from mainspring.native import program, status, table

FIELDS = (
    table.Field("flag", "bool"), table.Field("small", "int32"), table.Field("large", "int64"),
    table.Field("single", "float32"), table.Field("double", "float64"), table.Field("seen", "timestamp_us"),
    table.Field("text", "string"), table.Field("blob", "bytes"), table.Field("vector", "float32_vector", 3),
)  # fmt: skip
ALL = table.Schema((table.Key("id", "int64"),), FIELDS)
FLOATS = table.Schema(
    (table.Key("id", "int64"),), tuple(table.Field(f"f{i}", "float32") for i in range(5)), max_age_us=100
)
NOW = 1_000_000


def refused(code: str, *words: str) -> _Refused:
    return _Refused(code, words)


class _Refused:
    """`with`: the block must raise this code, with these words."""

    def __init__(self, code: str, words: tuple[str, ...]) -> None:
        self.code, self.words = code, words

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        assert isinstance(error, status.NativeError), error
        assert error.code == self.code, error
        for word in self.words:
            assert word in str(error)
        return True


def floats(*values: float) -> dict[str, Any]:
    return {f"f{i}": np.array(values, np.float32) + i for i in range(5)}


def test_every_type_comes_back_with_and_without_a_value() -> None:
    made = table.OnlineTable(ALL)
    columns: dict[str, Any] = {
        "flag": [True, None, False], "small": [-5, None, 2**31 - 1], "large": [-(2**63), None, 7],
        "single": [1.5, None, float("inf")], "double": [0.1, float("nan"), -0.0],
        "seen": np.array(["2024-01-02T03:04:05.000006", "NaT", "1960-01-01"], "datetime64[us]"),
        "text": ["grüße", None, "x" * 1000], "blob": [b"\x00\xff", b"", None],
        "vector": [[1.0, 2.0, 3.0], None, [float("nan"), 0.0, 1.0]],
    }  # fmt: skip
    assert made.upsert([1, 2, 3], [10, 10, 10], columns)[:2] == (3, 0)
    rows = made.get([3, 2, 1, 4], now_us=NOW)
    assert rows.status.tolist() == [0, 0, 0, 1]
    assert rows.event_us.tolist() == [10, 10, 10, 0]
    want = {
        "flag": [False, False, True, False], "small": [2**31 - 1, 0, -5, 0], "large": [7, 0, -(2**63), 0],
        "text": ["x" * 1000, None, "grüße", None], "blob": [None, b"", b"\x00\xff", None],
    }  # fmt: skip
    for name, values in want.items():
        got = rows.values[name]
        assert (got if isinstance(got, list) else got.tolist()) == values, name
    np.testing.assert_array_equal(rows.values["single"], np.float32([np.inf, np.nan, 1.5, np.nan]))
    np.testing.assert_array_equal(rows.values["double"], [-0.0, np.nan, 0.1, np.nan])
    assert np.signbit(rows.values["double"][0])
    np.testing.assert_array_equal(
        rows.values["vector"], np.float32([[np.nan, 0, 1], [np.nan] * 3, [1, 2, 3], [np.nan] * 3])
    )
    assert rows.values["seen"][2] == 1704164645000006
    valid = {name: v.tolist() for name, v in rows.valid.items()}
    assert valid["double"] == [True, False, True, False]
    assert valid["blob"] == [False, True, True, False]
    for name in set(valid) - {"double", "blob"}:
        assert valid[name] == [True, False, True, False], name


def test_masks_and_empty_batches() -> None:
    made = table.OnlineTable(FLOATS)
    mask = np.array([True, False])
    made.upsert([1, 2], [1, 1], {f"f{i}": (np.zeros(2, np.float32), mask) for i in range(5)})
    assert made.get([1, 2], now_us=5).valid["f3"].tolist() == [True, False]
    assert made.upsert([], [], {f"f{i}": [] for i in range(5)}) == (0, 0, 0)
    rows = made.get([], now_us=5)
    assert rows.status.shape == (0,)
    assert made.delete([]).changed == 0


def test_ages_times_to_live_and_moments() -> None:
    made = table.OnlineTable(FLOATS)
    made.upsert([1, 2], [1000, 1000], floats(1, 2), ttl_seconds=[0, 3])
    assert made.get([1, 2], now_us=1100).status.tolist() == [0, 0]
    assert made.get([1, 2], now_us=1101).status.tolist() == [2, 2]
    assert made.get([1, 2], now_us=999).status.tolist() == [1, 1]
    assert made.get([2], now_us=3_001_000, max_age_us=10**9).status.tolist() == [0]
    assert made.get([2], now_us=3_001_001, max_age_us=10**9).status.tolist() == [2]
    assert made.get([1], max_age_us=10**18).status.tolist() == [0]  # the clock's now
    assert made.get([1]).status.tolist() == [2]


def test_string_keys_and_keys_of_several_parts() -> None:
    one = table.OnlineTable(table.Schema((table.Key("name", "string"),), (table.Field("x", "float32"),)))
    names = ["", "a", "ä" * 40, "a\x00b", "a\x00c"]
    one.upsert(names, [1] * 5, {"x": [float(i) for i in range(5)]})
    rows = one.get([*reversed(names), "b", None], now_us=5)
    assert rows.values["x"][:5].tolist() == [4, 3, 2, 1, 0]
    assert rows.status.tolist() == [0] * 5 + [1, 1]
    assert one.get("a", now_us=5).values["x"].tolist() == [1]
    two = table.OnlineTable(
        table.Schema((table.Key("a", "string"), table.Key("b", "int64"), table.Key("c", "string")), (table.Field("x", "int64"),))
    )  # fmt: skip
    two.upsert((["p", "pq"], [1, 1], ["qr", "r"]), [1, 1], {"x": [1, 2]})
    assert two.get((["pq", "p", "p"], [1, 1, None], ["r", "qr", "qr"]), now_us=5).values["x"].tolist() == [
        2,
        1,
        0,
    ]


def test_an_empty_table_answers() -> None:
    bound = table.OnlineTable(FLOATS).bind(40, matrix=True)
    assert bound.matrix is not None
    assert bound.get(list(range(40)), NOW) == 40
    assert bound.status.tolist() == [1] * 40
    assert np.isnan(bound.matrix).all()


def test_a_key_with_a_null_part_is_not_found_whichever_part_it_is() -> None:
    made = table.OnlineTable(
        table.Schema((table.Key("a", "string"), table.Key("b", "string")), (table.Field("x", "int64"),))
    )
    made.upsert((["", "p"], ["", "q"]), [1, 1], {"x": [1, 2]})
    rows = made.get((["p", "p", None, "p"], [None, "q", "", "q"]), now_us=5)
    assert rows.status.tolist() == [1, 0, 1, 0]
    with refused("bad_shape", "a row must have a key"):
        made.upsert((["p", None], [None, ""]), [1, 1], {"x": [3, 4]})


@pytest.mark.parametrize("n", [1, 31, 300, 9000])  # from 8,192 on the keys are copied and the GIL is given up
def test_a_matrix_by_string_keys_of_any_length(n: int) -> None:
    """Inside the row and outside of it, ASCII and not, missing and null."""
    fields = tuple(table.Field(f"f{i}", "float32") for i in range(6))
    made = table.OnlineTable(table.Schema((table.Key("name", "string"),), fields))
    names = [("ä" if i % 3 else "a") * (i % 50) + str(i) for i in range(n)]
    made.upsert(names, np.ones(n, np.int64), {f.name: np.arange(n, dtype=np.float32) + j for j, f in enumerate(fields)})  # fmt: skip
    bound = made.bind(2 * n, matrix=True)
    assert bound.matrix is not None
    asked: list[str | None] = []
    for name in reversed(names):
        asked += [name, None if len(asked) % 4 else name + "?"]
    assert bound.get(asked, NOW) == 2 * n
    assert bound.status.tolist() == [0, 1] * n
    want = np.arange(n, dtype=np.float32)[::-1, None] + np.arange(6, dtype=np.float32)
    np.testing.assert_array_equal(bound.matrix[::2], want)
    assert np.isnan(bound.matrix[1::2]).all()


def test_a_matrix_is_the_columns_side_by_side() -> None:
    made = table.OnlineTable(FLOATS, rows=500)
    keys = np.arange(500) * 7
    made.upsert(keys, np.full(500, 50), floats(*range(500)))
    bound = made.bind(600, fields=["f4", "f0", "f1"], matrix=True)
    asked = np.concatenate([keys[::-1], [3]])
    assert bound.get(asked, 60) == 501
    want = made.get(asked, fields=["f4", "f0", "f1"], now_us=60)
    assert bound.matrix is not None
    np.testing.assert_array_equal(bound.matrix[:501], np.stack(list(want.values.values()), 1))
    assert bound.status[:501].tolist() == [0] * 500 + [1]
    assert bound.get(7, 60) == 1
    assert bound.matrix[0].tolist() == [5, 1, 2]


def test_rows_go_straight_into_a_program() -> None:
    made = table.OnlineTable(ALL)
    made.upsert(
        [1, 2], [10, 10],
        {"flag": [True, None], "small": [3, None], "large": [50, None], "single": [1.5, None], "double": [2.5, None],
         "seen": [9, None], "text": ["", ""], "blob": [b"", b""], "vector": [[0.0] * 3] * 2},
    )  # fmt: skip
    spec = {
        "version": 1,
        "inputs": [{"name": n, "type": "float32"} for n in ("flag", "small", "single", "double", "other")]
        + [{"name": n, "type": "int64"} for n in ("large", "seen")],
        "dense": [{"op": "pass", "source": n} for n in ("flag", "small", "single", "double", "other")],
        "ids": [{"op": "vocabulary", "source": "large", "values": [50]}, {"op": "vocabulary", "source": "seen", "values": [9]}],
    }  # fmt: skip
    compiled = program.Program(spec)
    bound = made.bind_for(compiled, 3)
    run = compiled.bind({**bound.columns, "other": np.float32([7, 8, 9])})
    run.run(bound.get([1, 2, 3], NOW))
    nan = np.nan
    np.testing.assert_array_equal(
        run.outputs.dense, np.float32([[1, 3, 1.5, 2.5, 7], [nan, nan, nan, nan, 8], [nan, nan, nan, nan, 9]])
    )
    assert run.outputs.ids.tolist() == [[2, 0, 0], [2, 0, 0]]
    wrong = program.Program(spec | {"inputs": [*spec["inputs"], {"name": "text", "type": "int64"}]})  # type: ignore[misc]
    with refused("bad_dtype", "field `text` is string"):
        made.bind_for(wrong, 3)


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"keys": [1, None]}, "bad_shape", ["a row must have a key", "1"]),
        ({"keys": [1, 2**63]}, "bad_dtype", ["key `id`", "int"]),
        ({"keys": [1, "x"]}, "bad_dtype", ["key `id`", "`str`"]),
        ({"keys": "ab"}, "bad_dtype", ["key `id`"]),
        ({"keys": np.zeros(2, np.int32)}, "bad_dtype", ["int32", "astype"]),
        ({"keys": np.zeros(4, np.int64)[::2]}, "not_contiguous", ["`id`"]),
        ({"keys": np.zeros((2, 1), np.int64)}, "bad_shape", ["(2, 1)"]),
        ({"event_us": [1]}, "bad_shape", ["`event_us`"]),
        ({"event_us": [1.5, 2.5]}, "bad_dtype", ["`event_us`", "float64"]),
        ({"created_us": [1, 2, 3]}, "bad_shape", ["`created_us`"]),
        ({"ttl_seconds": [1]}, "bad_shape", ["`ttl_seconds`"]),
        ({"f2": [1.0]}, "bad_shape", ["`f2`"]),
        ({"f2": ["x", "y"]}, "bad_dtype", ["`f2`", "float32"]),
        ({"f2": np.zeros(2)}, "bad_dtype", ["`f2`", "float64"]),
        ({"f2": None}, "missing_column", ["field `f2` is missing"]),
        ({"f9": [1.0, 2.0]}, "missing_column", ["field `f9` is unknown"]),
    ],
)
def test_refused_upserts_change_nothing(change: dict[str, Any], code: str, words: list[str]) -> None:
    made = table.OnlineTable(FLOATS)
    columns = floats(1, 2) | {k: v for k, v in change.items() if k.startswith("f")}
    columns = {k: v for k, v in columns.items() if v is not None}
    given = {"keys": [1, 2], "event_us": [1, 1]} | {k: v for k, v in change.items() if not k.startswith("f")}
    with refused(code, *words):
        made.upsert(**given, columns=columns)
    assert made.stats().rows == 0


def test_refused_reads() -> None:
    made = table.OnlineTable(ALL)
    with refused("missing_column", "field `no` is unknown"):
        made.get([1], fields=["no"])
    with refused("bad_spec", "none twice"):
        made.bind(1, fields=["flag", "flag"])
    with refused("bad_spec", "all float32"):
        made.bind(1, fields=["single", "double"], matrix=True)
    bound = made.bind(1)
    with refused("bad_shape", "at most the 1 rows", "got 2"):
        bound.get([1, 2])
    with pytest.raises(TypeError):
        bound.get()
    with pytest.raises(TypeError):
        bound.get([1], "now")
    made.close()
    for act in (lambda: bound.get([1]), lambda: made.get([1]), lambda: made.delete([1])):
        with refused("closed", "open it again"):
            act()
    made.close()


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (table.Schema((), FIELDS), ["1 to 16 key parts"]),
        (table.Schema((table.Key("id", "int64"),), ()), ["1 to 4096 fields"]),
        (table.Schema((table.Key("id", "int64"),), (table.Field("id", "bool"),)), ["`id` twice"]),
        (table.Schema((table.Key("id", "float"),), FIELDS), ["a type must be one of", "`float`"]),  # type: ignore[arg-type]
        (table.Schema((table.Key("id", "int64"),), (table.Field("x", "int8"),)), ["`int8`"]),  # type: ignore[arg-type]
        (table.Schema((table.Key("id", "int64"),), (table.Field("x", "bool", 2),)), ["width"]),
        (table.Schema((table.Key("id", "int64"),), (table.Field("x", "float32_vector", 0),)), ["width"]),
        (table.Schema((table.Key("id", "int64"),), (table.Field("x", "float32_vector", 262144),)), ["1 MiB"]),
        (table.Schema((table.Key("id", "int64"),), FIELDS, -1), ["`max_age_us`"]),
    ],
)
def test_refused_schemas(schema: table.Schema, words: list[str]) -> None:
    with refused("bad_spec", *words):
        table.OnlineTable(schema)
    with refused("bad_spec", "`max_rows`"):
        table.OnlineTable(FLOATS, max_rows=0)


def test_bytes_per_row_are_stated_and_replaced_rows_are_used_again() -> None:
    schema = table.Schema(
        (table.Key("id", "int64"),), tuple(table.Field(f"f{i}", "float32") for i in range(50))
    )
    made = table.OnlineTable(schema, rows=20_000)
    keys = np.arange(20_000)
    for event in range(3):
        column = np.zeros(20_000, np.float32)
        made.upsert(keys, np.full(20_000, event), {f.name: column for f in schema.fields})
    stats = made.stats()
    assert (stats.rows, stats.row_bytes) == (20_000, 256)
    assert stats.index_bytes / stats.rows <= 32
    assert stats.bytes_per_row <= 256 * 3 + 32


def test_threads_read_while_one_writes() -> None:
    made = table.OnlineTable(FLOATS)
    keys = np.arange(300)
    made.upsert(keys, np.zeros(300, np.int64), {f"f{i}": np.zeros(300, np.float32) for i in range(5)})
    done = threading.Event()
    torn: list[Any] = []

    def read() -> None:
        bound = made.bind(9000, matrix=True, max_age_us=10**15)
        assert bound.matrix is not None
        asked = np.tile(keys, 30)  # enough to give up the GIL
        while not done.is_set():
            n = bound.get(asked, NOW)
            rows = bound.matrix[:n]
            if not (rows == rows[:, :1]).all():
                torn.append(rows)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for one in readers:
        one.start()
    for event in range(300):
        column = np.full(300, event, np.float32)
        made.upsert(keys, np.full(300, event), {f"f{i}": column for i in range(5)})
    done.set()
    for one in readers:
        one.join()
    assert not torn


class AgainstADict(stateful.RuleBasedStateMachine):
    """Any sequence of batches: the table answers as a dict that keeps the newest does."""

    def __init__(self) -> None:
        super().__init__()
        self.table = table.OnlineTable(
            table.Schema(
                (table.Key("k", "string"),), (table.Field("x", "int64"), table.Field("t", "string"))
            ),
            seed=1,
        )
        self.rows: dict[str, tuple[int, int, int | None, str | None]] = {}

    names = st.sampled_from(["", "a", "b", "ab", "x" * 30, "y" * 100])
    row = st.tuples(
        names, st.integers(0, 5), st.integers(0, 3), st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | st.text(max_size=40),
    )  # fmt: skip

    @stateful.rule(rows=st.lists(row, max_size=8))
    def upsert(self, rows: list[Any]) -> None:
        before = dict(self.rows)
        older = 0
        for key, event, created, x, text in rows:
            if key in self.rows and (event, created) < self.rows[key][:2]:
                older += 1
            else:
                self.rows[key] = (event, created, x, text)
        got = self.table.upsert(
            [r[0] for r in rows], [r[1] for r in rows], {"x": [r[3] for r in rows], "t": [r[4] for r in rows]},
            created_us=[r[2] for r in rows],
        )  # fmt: skip
        assert got.older == older
        assert got.changed >= sum(before.get(k) != v for k, v in self.rows.items())

    @stateful.rule(keys=st.lists(names, max_size=3))
    def delete(self, keys: list[str]) -> None:
        there = {k for k in keys if k in self.rows}
        assert self.table.delete(keys).changed == len(there)
        for key in there:
            del self.rows[key]

    @stateful.rule(now=st.integers(0, 8), age=st.none() | st.integers(0, 4))
    def read(self, now: int, age: int | None) -> None:
        keys = ["", "a", "b", "ab", "x" * 30, "y" * 100, "never"]
        rows = self.table.get(keys, now_us=now, max_age_us=age)
        for i, key in enumerate(keys):
            want = self.rows.get(key)
            if want is None or want[0] > now:
                expected = (table.NOT_FOUND, 0, None, None)
            elif age is not None and now - want[0] > age:
                expected = (table.OUTSIDE_MAX_AGE, want[0], None, None)
            else:
                expected = (table.PRESENT, want[0], want[2], want[3])
            x = int(rows.values["x"][i]) if rows.valid["x"][i] else None
            assert (rows.status[i], rows.event_us[i], x, rows.values["t"][i]) == expected

    @stateful.invariant()
    def size(self) -> None:
        assert self.table.stats().rows == len(self.rows)


AgainstADict.TestCase.settings = hypothesis.settings(
    max_examples=60, stateful_step_count=25, deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
)
test_against_a_dict = AgainstADict.TestCase
