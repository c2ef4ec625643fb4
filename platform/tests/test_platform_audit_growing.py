"""The tree that is kept of a growing log is RFC 6962's, however it grew."""

from __future__ import annotations

import functools
import hashlib
import itertools
import random

import pytest

from mainspring.platform.audit import growing, merkle

LEAVES = [hashlib.sha256(b"%d" % i).digest() for i in range(2_600)]


@functools.cache
def naive(low: int, high: int) -> bytes:
    """As the RFC writes it: split at the largest power of two below."""
    if high - low == 1:
        return hashlib.sha256(b"\x00" + LEAVES[low]).digest()
    middle = low + (1 << ((high - low - 1).bit_length() - 1))
    return hashlib.sha256(b"\x01" + naive(low, middle) + naive(middle, high)).digest()


def test_row_by_row_the_root_is_the_naive_one() -> None:
    part = growing.Part()
    assert part.root() == merkle.Tree([]).root == hashlib.sha256(b"").digest()
    for size in range(1, 201):
        part.extend(LEAVES[size - 1 : size])
        assert part.root() == naive(0, size) == merkle.Tree(LEAVES[:size]).root
        assert part.end == size


@pytest.mark.parametrize("seed", range(40))
def test_in_random_pieces_and_joined_parts_it_is_the_same(seed: int) -> None:
    choose = random.Random(seed)
    size = choose.randrange(1, len(LEAVES) + 1)
    cuts = sorted({0, size, *(choose.randrange(size + 1) for _ in range(choose.randrange(12)))})
    grown, joined = growing.Part(), growing.Part()
    for begin, end in itertools.pairwise(cuts):
        grown.extend(LEAVES[begin:end])
        other = growing.Part(begin, begin)
        at = choose.randrange(begin, end + 1)
        other.extend(LEAVES[begin:at])
        other.extend(LEAVES[at:end])
        joined.join(other.copy())
        assert grown.root() == joined.root() == naive(0, end)
    assert grown.tiles == [naive(t * 1024, (t + 1) * 1024) for t in range(size // 1024)]
    with pytest.raises(ValueError, match="does not follow"):
        joined.join(growing.Part(size + 1, size + 1))
    with pytest.raises(ValueError, match="no root"):
        growing.Part(1, 1).root()


def test_a_copy_does_not_grow_with_it() -> None:
    part = growing.Part()
    part.extend(LEAVES[:1500])
    kept = part.copy()
    part.extend(LEAVES[1500:])
    assert (kept.root(), len(kept.tiles)) == (naive(0, 1500), 1)


def test_roots_of_nodes_are_those_of_their_leaves() -> None:
    for size in range(1, 65):
        whole = [naive(low, min(low + 8, size)) for low in range(0, size, 8)]
        assert growing.root_of(whole) == naive(0, size)


def test_paths_are_those_of_the_tree_of_a_pack() -> None:
    for size in range(1, 70):
        tree = merkle.Tree(LEAVES[:size])
        for index in range(size):
            assert growing.path(index, size, naive) == tree.proof(index)
        for index in (-1, size):
            with pytest.raises(IndexError):
                growing.path(index, size, naive)


@pytest.mark.parametrize("size", [1, 2, 1023, 1024, 1025, 2047, 2048, 2049, 2600])
def test_proofs_are_made_of_tiles_and_the_leaves_of_few(size: int) -> None:
    part = growing.Part()
    part.extend(LEAVES[:size])
    for asked in sorted(
        {1, 2, 700, 1023, 1024, 1025, 1500, 2048, 2500, size - 1, size} & set(range(1, size + 1))
    ):
        few = {(asked - 1) // growing.TILE, size // growing.TILE}
        leaves = {t: LEAVES[:size][t * 1024 : (t + 1) * 1024] for t in few}
        root = growing.roots_in(part.tiles, leaves)
        assert growing.path(asked - 1, size, root) == growing.path(asked - 1, size, naive)
        assert growing.consistency(asked, size, root) == growing.consistency(asked, size, naive)
