"""Vocabularies of strings: the reference's ids from every way in, whole strings compared, senseless lists refused."""

from __future__ import annotations

from typing import Any

import hypothesis
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import strategies as st

from mainspring.native import (
    device_plan,
    program,
    reference,
    reference_program,
    reference_xxh3,
    status,
    targets,
)

TARGETS = targets.available()
LAYOUTS = (pa.string(), pa.large_string(), pa.string_view(), pa.binary())


def spec_of(*vocabularies: list[str], offset: int = 0) -> dict[str, Any]:
    """Of the strings `c`, each with its own vocabulary; beside them a hash and a cross of the same."""
    return {
        "version": 1,
        "inputs": [{"name": "c", "type": "string"}, {"name": "u", "type": "int64"}],
        "ids": [
            *({"op": "vocabulary", "source": "c", "values": v, "offset": offset} for v in vocabularies),
            {"op": "hash", "source": "c", "buckets": 1000, "seed": 3},
            {"op": "cross", "sources": ["c", "u"], "buckets": 1000},
            {"op": "vocabulary", "source": "u", "values": [-1, 0, 1]},
        ],
    }


WORDS = st.text(max_size=6) | st.sampled_from(
    ["a", "ab", "\0", "ü" * 6, "ü" * 7, "x" * 12, "x" * 13, "x" * 250]
)
LISTS = st.lists(WORDS.filter(bool), max_size=30, unique=True)


@st.composite
def cases(draw: st.DrawFn) -> tuple[dict[str, Any], list[str | None], tuple[int, int]]:
    """Two vocabularies, rows of their words, of others and of holes, and where to cut the rows."""
    first, second = draw(LISTS), draw(LISTS)
    known = st.sampled_from([*first, *second, "a"])
    near = st.builds(lambda word, i: word[:i] + word[i + 1 :], known, st.integers(0, 6))
    rows = draw(st.lists(st.none() | WORDS | known | near, max_size=40))
    spec = spec_of(first, second, offset=draw(st.sampled_from([0, 7, 2**31 - 40])))
    return spec, rows, (draw(st.integers(0, 40)), draw(st.integers(0, 40)))


@hypothesis.settings(max_examples=150, deadline=None, derandomize=True)
@hypothesis.given(case=cases(), layout=st.sampled_from(LAYOUTS))
def test_any_strings_by_every_way_in(
    case: tuple[dict[str, Any], list[str | None], tuple[int, int]], layout: pa.DataType
) -> None:
    spec, strings, (front, back) = case
    numbers = np.arange(len(strings)) - 2
    _, want = reference_program.run(spec, {"c": strings, "u": numbers})
    array = pa.array(strings, pa.string()).cast(layout)
    chunked = pa.chunked_array([array[:front], array[front:]], layout)
    kept = slice(front, max(front, len(strings) - back))
    for target in TARGETS:
        compiled = program.Program(spec, target=target)
        for given in (strings, tuple(strings), array, chunked):
            np.testing.assert_array_equal(compiled.run({"c": given, "u": numbers}).ids, want)
        part = {"c": array[kept.start : kept.stop], "u": numbers[kept]}
        np.testing.assert_array_equal(compiled.run(part).ids, want[:, kept])
        row = compiled.row()
        for i, fields in enumerate({"c": s, "u": int(n)} for s, n in zip(strings, numbers, strict=True)):
            for run, one in ((row.run_fields, fields), (row.run_packed, compiled.pack(fields))):
                row.ids[:] = -1
                run(one)
                np.testing.assert_array_equal(row.ids[:, 0], want[:, i])


def test_many_words_on_many_threads() -> None:
    words = [f"word {i}" for i in range(50_000)]
    rng = np.random.default_rng(0)
    strings = [None if i < 500 else f"word {i}" for i in rng.integers(0, 60_000, 40_000)] + ["word 39999"]
    compiled = program.Program(spec_of(words[:40_000]))
    columns = {"c": strings, "u": np.zeros(len(strings), np.int64)}
    want = reference.vocabulary(strings, words[:40_000])
    assert {0, 1, 2 + 39_999} <= {*want.tolist()} and compiled.id_sizes[0] == 40_002
    for threads in range(1, 9):
        np.testing.assert_array_equal(compiled.run(columns, threads=threads).ids[0], want)


def test_words_that_share_what_a_slot_keeps_of_the_hash() -> None:
    """Of a vocabulary of one a slot keeps the upper half, and the last bit chooses it: these two share both."""
    one, other = "word 19831", "word 132704"
    hashes = [reference_xxh3.xxh3_64(s.encode(), 0) for s in (one, other)]
    assert len({(h >> 32, h & 1) for h in hashes}) == 1 and one != other
    for known in (one, other):
        ids = program.Program(spec_of([known])).run({"c": [one, other], "u": np.zeros(2, np.int64)}).ids
        assert ids[0].tolist() == [2 if s == known else 1 for s in (one, other)]


def test_no_packed_row_makes_an_id_beyond_the_vocabulary() -> None:
    compiled = program.Program(spec_of(["a", "b"], offset=10))
    packed = compiled.pack({"c": "b", "u": 0})
    assert packed[8:16] == b"\1" + bytes(7)  # the int, then what the strings became
    row = compiled.row()
    for value in (-(2**63), -(2**63) + 1, -2, -1, 0, 1, 2, 3, 2**32, 2**63 - 1):
        row.run_packed(packed[:8] + value.to_bytes(8, "little", signed=True) + packed[16:])
        want = {-(2**63): 10, 0: 12, 1: 13}.get(value, 11)
        assert row.ids[0, 0] == want


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["a", 5], ["`ids[0].values[1]` must be a string", "`5`"]),
        ([None], ["`ids[0].values[0]` must be a string"]),
        (["a", ""], ["`ids[0].values[1]` must be a string, and not the empty one", "leave it out"]),
        (["a", "b", "a"], ["`ids[0].values[2]` must be new, got `'a'`"]),
        (["\ud800"], ["`ids[0].values[0]` must be valid Unicode"]),
        ("ab", ["`ids[0].values` must be a list"]),
    ],
)
def test_senseless_lists_are_refused(values: Any, words: list[str]) -> None:
    with pytest.raises(status.NativeError) as caught:
        program.Program(spec_of(values))
    assert caught.value.code == "bad_spec"
    for word in words:
        assert word in str(caught.value)


def test_ids_stay_within_an_int32() -> None:
    with pytest.raises(
        status.NativeError, match=r"`ids\[0\]`: `offset` must be 0 or more, and every id an int32"
    ):
        program.Program(spec_of(["a"], offset=2**31 - 3))
    program.Program(spec_of(["a"], offset=2**31 - 4))


def test_a_device_takes_none() -> None:
    with pytest.raises(status.NativeError, match="a device takes no strings, got `c`") as caught:
        device_plan.compile(spec_of(["a"]))
    assert caught.value.code == "bad_spec"
