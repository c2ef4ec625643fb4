"""Point-in-time joins against the reference: ties, ages, empty runs, keys that nobody has, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.native import asof, reference_asof
from mainspring.native.status import NativeError

EDGES = st.sampled_from([-(2**63), -(2**63) + 1, 2**63 - 1, 2**63 - 2])
TIME = st.integers(0, 12) | EDGES
AGE = st.none() | st.sampled_from([0, 1, 3, 2**63 - 1])


def int64(values: Any) -> Any:
    return np.array(values, np.int64)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.lists(TIME, max_size=9), min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(-1, 3), TIME), max_size=20),
    AGE,
)
def test_search_equals_the_reference(runs: Any, asked: Any, max_age: int | None) -> None:
    times = int64([time for run in runs for time in sorted(run)])
    starts = int64(np.cumsum([0, *map(len, runs)]))
    of = int64([min(run, len(runs) - 1) for run, _ in asked])
    as_of = int64([time for _, time in asked])
    got = asof.search(times, starts, of, as_of, max_age=max_age)
    np.testing.assert_array_equal(got, reference_asof.search(times, starts, of, as_of, max_age=max_age))


ROW = st.tuples(st.integers(-1, 3), TIME, TIME)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(ROW, max_size=25),
    st.lists(st.tuples(st.integers(-1, 3), TIME), max_size=20),
    AGE,
    st.booleans(),
    st.randoms(),
)
def test_newest_equals_the_reference(
    rows: Any, asked: Any, max_age: int | None, known_only: bool, random: Any
) -> None:
    numbers = list(range(len(rows)))
    random.shuffle(numbers)
    arrays = [int64([row[i] for row in rows]) for i in range(3)] + [int64(numbers)]
    arrays += [int64([q[i] for q in asked]) for i in range(2)]
    options: Any = {"n_keys": 4, "max_age": max_age, "known_only": known_only}
    np.testing.assert_array_equal(asof.newest(*arrays, **options), reference_asof.newest(*arrays, **options))


def test_long_runs_equal_the_reference() -> None:
    made = np.random.default_rng(3)
    lengths = [0, 1, 2, 63, 64, 65, 1000]
    times = np.concatenate([np.sort(made.integers(0, 500, n)) for n in lengths])
    starts = int64(np.cumsum([0, *lengths]))
    runs, as_of = made.integers(-1, len(lengths), 300), made.integers(-5, 505, 300)
    np.testing.assert_array_equal(
        asof.search(times, starts, runs, as_of, max_age=40),
        reference_asof.search(times, starts, runs, as_of, max_age=40),
    )


TIMES, STARTS, RUNS, AS_OF = int64([1, 2, 3]), int64([0, 2, 3]), int64([0, 1]), int64([5, 5])


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"times": TIMES.astype(np.int32)}, "bad_dtype"),
        ({"times": [1, 2, 3]}, "bad_dtype"),
        ({"as_of": int64([5])}, "bad_shape"),
        ({"starts": int64([])}, "bad_shape"),
        ({"times": int64([[1, 2, 3]])}, "bad_shape"),
        ({"times": np.arange(6)[::2]}, "not_contiguous"),
        ({"runs": int64([0, 2])}, "out_of_range"),
        ({"starts": int64([0, 2, 4])}, "out_of_range"),
        ({"starts": int64([0, 2, 1])}, "out_of_range"),
        ({"starts": int64([-1, 2, 3])}, "out_of_range"),
        ({"max_age": -1}, "out_of_range"),
    ],
)
def test_what_makes_no_sense_is_refused(changed: Any, code: str) -> None:
    arguments = {"times": TIMES, "starts": STARTS, "runs": RUNS, "as_of": AS_OF} | changed
    with pytest.raises(NativeError) as caught:
        asof.search(**arguments)
    assert caught.value.code == code


@pytest.mark.parametrize("which", ["row_keys", "keys"])
def test_a_key_that_is_not_there_is_refused(which: str) -> None:
    arguments = {
        "row_keys": RUNS,
        "events": AS_OF,
        "created": AS_OF,
        "numbers": RUNS,
        "keys": RUNS,
        "as_of": AS_OF,
    }
    assert asof.newest(**arguments, n_keys=2).tolist() == [0, 1]
    with pytest.raises(NativeError, match="a key that is there, got 7") as caught:
        asof.newest(**(arguments | {which: int64([0, 7])}), n_keys=2)
    assert caught.value.code == "out_of_range"
