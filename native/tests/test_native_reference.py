"""The specification itself: hashes against frozen vectors, and each operation against answers worked out by hand."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest
from numpy.typing import NDArray

from mainspring.native import reference, reference_xxh3

VECTORS = json.loads((pathlib.Path(__file__).parent / "hash_vectors.json").read_text())
TEXT = (VECTORS["text"] * 60).encode()
MASK = (1 << 64) - 1


def i64(*values: int) -> NDArray[np.int64]:
    return np.array(values, np.int64)


def f32(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


@pytest.mark.parametrize(("value", "seed", "want"), VECTORS["int64"])
def test_int64_hash_is_frozen(value: int, seed: int, want: str) -> None:
    assert f"{int(reference.hash64(i64(value), seed)[0]):016x}" == want

    def mix(x: int) -> int:  # once more, in Python's integers
        x = (x ^ x >> 32) * 0xBF58476D1CE4E5B9 & MASK
        x = (x ^ x >> 29) * 0x94D049BB133111EB & MASK
        return x ^ x >> 32

    assert f"{mix(mix(seed + 0x9E3779B97F4A7C15 & MASK) ^ value & MASK):016x}" == want


@pytest.mark.parametrize(("values", "seed", "want"), VECTORS["cross"])
def test_cross_is_frozen(values: list[int], seed: int, want: str) -> None:
    assert f"{int(reference.cross64([i64(v) for v in values], seed)[0]):016x}" == want


@pytest.mark.parametrize(("size", "seed", "want"), VECTORS["utf8"])
def test_utf8_hash_equals_xxhash(size: int, seed: int, want: str) -> None:
    """The vectors come from xxHash's own implementation (0.8 and later give the same)."""
    assert f"{reference_xxh3.xxh3_64(TEXT[:size], seed):016x}" == want


def test_every_bit_of_a_value_moves_every_bit_of_its_hash() -> None:
    """Half of the time, for counting values too, which is what ids are."""
    x = np.arange(20_000, dtype=np.int64)
    h = reference.hash64(x, 0)
    for bit in range(64):
        changed = h ^ reference.hash64(x ^ np.int64(np.uint64(1 << bit).view(np.int64)), 0)
        share = [float(((changed >> np.uint64(j)) & np.uint64(1)).mean()) for j in range(64)]
        assert min(share) > 0.48 and max(share) < 0.52


def test_seeds_widths_and_order_matter() -> None:
    x = i64(5, -5)
    assert (reference.hash64(x, 0) != reference.hash64(x, 1)).all()
    assert (reference.hash64(x.astype(np.int32), 3) == reference.hash64(x, 3)).all()
    a, b = i64(1, 2), i64(2, 1)
    assert (reference.cross64([a, b], 0) != reference.cross64([b, a], 0)).all()
    assert (reference.cross64([a], 4) == reference.hash64(a, 4)).all()
    strings = reference.hash_utf8(["x", "y"], 0)
    assert (reference.cross64([a, strings], 0) == reference.cross64([a, strings.view(np.int64)], 0)).all()


def test_buckets_are_even_and_leave_zero_to_the_missing() -> None:
    x = np.arange(100_000, dtype=np.int64)
    missing = reference.is_missing(x)
    ids = reference.bucket_of(reference.hash64(x, 0), 11, missing)
    counts = np.bincount(ids, minlength=11)
    assert counts[0] == 0 and len(counts) == 11
    assert (np.abs(counts[1:] - 10_000) < 500).all()
    holes = i64(reference.MISSING, 7)
    assert reference.bucket_of(reference.hash64(holes, 0), 2, reference.is_missing(holes)).tolist() == [0, 1]
    top = np.array([MASK, 0], np.uint64)
    assert reference.bucket_of(top, 2**31 - 1, np.zeros(2, np.bool_)).tolist() == [2**31 - 2, 1]


def test_missing_by_type() -> None:
    assert reference.is_missing(i64(reference.MISSING, 0)).tolist() == [True, False]
    assert reference.is_missing(np.array([-(2**31)], np.int32)).tolist() == [False]
    assert reference.is_missing(f32(np.nan, -0.0)).tolist() == [True, False]
    assert reference.is_missing(["", None, b"", " "]).tolist() == [True, True, True, False]


def test_vocabulary() -> None:
    assert reference.vocabulary(i64(7, reference.MISSING, 5, 6), [5, 7]).tolist() == [3, 0, 2, 1]
    assert reference.vocabulary(["b", "", None, "ö", "c"], ["ö", "b"]).tolist() == [3, 0, 0, 2, 1]


@pytest.mark.parametrize(
    ("right", "want"), [(False, [0, 1, 1, 2, 3, 0, 3, 4]), (True, [0, 0, 1, 1, 2, 0, 3, 4])]
)
def test_bucketise_says_where_a_boundary_belongs(right: bool, want: list[int]) -> None:
    x = f32(-1.0, -0.0, 0.5, 1.0, 2.0, -np.inf, np.inf, np.nan)
    assert reference.bucketise(x, [0.0, 1.0, 2.0], right=right).tolist() == want
    finite = x[:-1]
    assert want[:-1] == np.digitize(finite, [0.0, 1.0, 2.0], right=right).tolist()


def events(*pairs: tuple[int, float]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    return i64(*(t for t, _ in pairs)), f32(*(v for _, v in pairs))


def one(
    pairs: list[tuple[int, float]], aggregate: reference.Aggregate, *, as_of: int = 100, width: int = 10
) -> float:
    times, values = events(*pairs)
    whole = i64(0, len(pairs))
    return float(reference.window(whole, times, values, i64(as_of), width=width, aggregate=aggregate)[0])


def test_window_is_half_open_and_blind_to_the_future() -> None:
    inside = [(91, 1.0), (100, 2.0)]
    for outside in ([], [(90, 100.0)], [(101, 100.0)], [(reference.MISSING, 9.0)], [(95, np.nan)]):
        pairs = sorted(inside + outside)
        assert one(pairs, "count") == 2.0
        assert one(pairs, "sum") == 3.0
        assert one(pairs, "mean") == 1.5
        assert one(pairs, "max") == 2.0
        assert one(pairs, "min") == 1.0
        assert one(pairs, "last") == 2.0


def test_window_of_no_events() -> None:
    assert one([], "count") == 0.0
    assert one([(3, 5.0)], "sum") == 0.0
    for aggregate in ("mean", "max", "min", "last"):
        assert np.isnan(one([(3, 5.0)], aggregate))
        assert np.isnan(one([(95, 5.0)], aggregate, as_of=reference.MISSING))


def test_window_at_the_ends_of_time() -> None:
    first, final = -(2**63) + 1, 2**63 - 1
    pairs = [(first, 1.0), (final, 2.0)]
    assert one(pairs, "sum", as_of=final, width=final) == 2.0
    assert one(pairs, "sum", as_of=first + 3, width=final) == 1.0
    assert one(pairs, "count", as_of=-2, width=final) == 1.0


def test_last_is_by_list_and_zeros_are_positive() -> None:
    assert one([(99, 1.0), (95, 2.0)], "last") == 2.0
    for aggregate in ("sum", "mean", "max", "min"):
        assert not np.signbit(one([(95, -0.0)], aggregate))
    assert np.signbit(one([(95, -0.0)], "last"))
    assert np.isnan(one([(95, np.inf), (96, -np.inf)], "sum"))


def test_sum_is_a_tree_of_sixteen_lanes_over_what_was_selected() -> None:
    """1e8 swallows 1.0 in float32, so the order shows; what lies outside of the window does not move lanes."""
    values = [1e8, *[1.0] * 31]
    assert float(f32(1e8 + 1.0)[0]) == 1e8  # so the lane of 1e8 stays, and the others hold 2.0
    want = f32(1e8)[0]
    for added in (2.0, 4.0, 8.0, 16.0):
        want += np.float32(added)
    assert float(want) == 1e8 + 24.0  # 2.0 was swallowed, 4.0 rounded up to 8.0
    pairs = [(91, v) for v in values]
    assert one(pairs, "sum") == float(want)
    assert one([(1, 9.0), *pairs, (200, 9.0)], "sum") == float(want)
    assert one([pairs[0], (1, 9.0), *pairs[1:]], "sum") == float(want)


def test_bag_offsets_begin_at_zero() -> None:
    assert reference.bag_offsets(i64(3, 3, 5)).tolist() == [0, 0, 2]
