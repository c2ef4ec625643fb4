"""RFC 6962's tree over a log that grows: what is kept of it is some hashes, and a row costs two.

Of leaves `begin` to `end` the roots of the largest whole subtrees are kept, a left and a right one a level at most. Those of the leaves from
0 on give the root; parts that follow one another are joined without their leaves.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from mainspring.platform.audit import merkle

__all__ = ["TILE", "Part", "consistency", "path", "root_of", "roots_in"]

#: Leaves whose common root is kept for proofs: 32 kB for a million rows, and a proof reads three times so many hashes at most.
_TILE_LEVEL: Final = 10
TILE: Final = 1 << _TILE_LEVEL
_digest: Final = type(hashlib.sha256()).digest

#: The root of leaves `low` to `high`, which are a part of the tree: it begins at a multiple of its size.
RootOf = Callable[[int, int], bytes]


@dataclass
class Part:
    """Of leaves from `begin` on; `tiles` are the roots of each whole 1024 of them, of a part that nothing was joined to."""

    begin: int = 0
    end: int = 0
    _left: dict[int, bytes] = field(default_factory=dict)
    _right: dict[int, bytes] = field(default_factory=dict)
    tiles: list[bytes] = field(default_factory=list)

    def copy(self) -> Part:
        return Part(self.begin, self.end, dict(self._left), dict(self._right), list(self.tiles))

    def extend(self, leaves: Sequence[bytes]) -> None:
        """Loops are C's: some 0.8 microseconds a leaf, of which nearly all is SHA-256 (x86-64, 2026-11)."""
        self._add(0, self.end, _hashes(map(merkle.LEAF.__add__, leaves)))
        self.end += len(leaves)

    def join(self, after: Part) -> None:
        """Take in the part that begins where this one ends. Errors: ValueError for another."""
        if after.begin != self.end:
            raise ValueError(f"a part from {after.begin} on does not follow leaf {self.end}")
        begin = after.begin
        for level, node in [*sorted(after._left.items()), *sorted(after._right.items(), reverse=True)]:
            self._add(level, begin >> level, [node])
            begin += 1 << level
        self.end = after.end
        self.tiles.clear()

    def root(self) -> bytes:
        """Of all leaves; `begin` is 0. Of none: the hash of nothing."""
        if self.begin:
            raise ValueError(f"a part from {self.begin} on has no root of the tree")
        peaks = [node for _, node in sorted(self._right.items())]
        if not peaks:
            return hashlib.sha256(b"").digest()
        root = peaks[0]
        for peak in peaks[1:]:
            root = hashlib.sha256(merkle.NODE + peak + root).digest()
        return root

    def _add(self, level: int, index: int, nodes: list[bytes]) -> None:
        """Nodes of one level that follow those that are there; two siblings go up as one."""
        while nodes:
            if level == _TILE_LEVEL:
                self.tiles += nodes
            if waiting := self._right.pop(level, None):
                nodes, index = [waiting, *nodes], index - 1
            elif index % 2:  # its sibling is of the part before
                self._left[level] = nodes[0]
                nodes, index = nodes[1:], index + 1
            if len(nodes) % 2:
                self._right[level] = nodes[-1]
            nodes, level, index = _above(nodes), level + 1, index // 2


def root_of(nodes: Sequence[bytes]) -> bytes:
    """Of subtrees of one size, the last one of that or less."""
    level = list(nodes)
    while len(level) > 1:
        level = _above(level) + level[len(level) & ~1 :]
    return level[0]


def path(index: int, size: int, root: RootOf) -> list[bytes]:
    """The siblings on the way from leaf `index` to the root of `size` leaves (RFC 6962, 2.1.1). Errors: IndexError."""
    if not 0 <= index < size:
        raise IndexError(index)
    found, low, high = [], 0, size
    while high - low > 1:
        middle = low + _half(high - low)
        if index < middle:
            found.append(root(middle, high))
            high = middle
        else:
            found.append(root(low, middle))
            low = middle
    return found[::-1]


def consistency(older: int, size: int, root: RootOf) -> list[bytes]:
    """What shows that the tree of `size` leaves begins with that of the first `older` (RFC 6962, 2.1.2). Errors: IndexError."""
    if not 0 < older <= size:
        raise IndexError(older)
    found, low, high, is_older = [], 0, size, True
    while older != high:
        middle = low + _half(high - low)
        if older <= middle:
            found.append(root(middle, high))
            high = middle
        else:
            found.append(root(low, middle))
            low, is_older = middle, False
    if not is_older:
        found.append(root(low, high))
    return found[::-1]


def roots_in(tiles: Sequence[bytes], leaves: Mapping[int, Sequence[bytes]]) -> RootOf:
    """Of a tree of which these tiles are kept, and the leaves of some by the tile's number: of those that are asked into, and of the last
    one that is not whole."""

    def root(low: int, high: int) -> bytes:
        tile = low // TILE
        if high - low < TILE:
            return merkle.Tree(leaves[tile][low % TILE : (high - 1) % TILE + 1]).root
        rest = [merkle.Tree(leaves[high // TILE]).root] if high % TILE else []
        return root_of([*tiles[tile : high // TILE], *rest])

    return root


def _half(size: int) -> int:
    """The largest power of two below."""
    return 1 << ((size - 1).bit_length() - 1)


def _above(nodes: list[bytes]) -> list[bytes]:
    """Of each two; one that is left over waits."""
    each = iter(nodes)
    return _hashes(map(b"".join, zip(itertools.repeat(merkle.NODE), each, each, strict=False)))


def _hashes(of: map[bytes]) -> list[bytes]:
    return list(map(_digest, map(hashlib.sha256, of)))
