"""An exported audit log verified by several processes, each a share of its bytes: the same findings, sooner.

A share says what it would follow, by its own first line, and is good or not; shares are good together if each follows the one before.
Where one is not, or does not follow, the log is read once more from its start (`verification.verify`), which finds what is wrong and where.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import json
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from mainspring.core import errors
from mainspring.platform.audit import exported, growing, verification

__all__ = ["verify"]

#: Lines that are read together, in bytes: about as many as are looked at together.
_READ_BYTES: Final = 160 << 10
#: More are no sooner there than they have started.
_MOST_JOBS: Final = 64


@dataclass(frozen=True)
class _Share:
    """Good rows: where they begin, and where they end, each by the number and the hash of the row before."""

    first: tuple[int, bytes]
    last: tuple[int, bytes]
    parts: tuple[growing.Part, ...] = ()
    """Where the tree is asked for: its rows as parts that follow one another, each but the last up to a length with a signed root."""


def verify(
    export: Path,
    checkpoints: Sequence[bytes],
    keys: verification.Keys,
    *,
    jobs: int,
    allow_unsigned: bool = False,
    tree: bool = False,
) -> verification.Finding:
    """As `verification.verify`, of a file. Errors: InvalidRequest for `jobs` below 1 or above 64."""
    if not 1 <= jobs <= _MOST_JOBS:
        raise errors.InvalidRequest(f"{jobs} jobs cannot verify; give 1 to {_MOST_JOBS}", field="jobs")
    found = _in_shares(export, checkpoints, keys, jobs, allow_unsigned, tree) if jobs > 1 else None
    if found is not None:
        return found
    with export.open("rb") as file:
        return verification.verify(file, checkpoints, keys, allow_unsigned=allow_unsigned, tree=tree)


def _in_shares(
    export: Path,
    checkpoints: Sequence[bytes],
    keys: verification.Keys,
    jobs: int,
    allow_unsigned: bool,
    tree: bool,
) -> verification.Finding | None:
    """None: something is not right, and it takes a look at the whole to say what."""
    try:
        signed = verification.read_signed(checkpoints, keys)
    except verification.BadCheckpoints:
        return None
    roots = sorted(signed.roots) if tree else None
    edges = _edges(export, jobs)
    # Started anew: whoever calls may have threads.
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(jobs, mp_context=context) as pool:
        asked = [
            pool.submit(_share, export, *edge, signed.heads, roots) for edge in itertools.pairwise(edges)
        ]
        shares = [one.result() for one in asked]
    place, whole, proved = (0, exported.NOTHING), growing.Part(), 0
    for share in shares:
        if share is None or share.first != place:
            return None
        place = share.last
        for part in share.parts:
            whole.join(part)
            if root := signed.roots.get(whole.end) if part.end > part.begin else None:
                if root != f"sha256:{whole.root().hex()}":
                    return None
                proved += 1
    count, previous = place
    return verification.ended(previous, count, signed, allow_unsigned=allow_unsigned, roots=proved)


def _edges(export: Path, jobs: int) -> list[int]:
    """Where shares begin, each with a line, and the file ends."""
    size = export.stat().st_size
    edges = {0, size}
    with export.open("rb") as file:
        for i in range(1, jobs):
            file.seek(size * i // jobs)
            file.readline()
            edges.add(file.tell())
    return sorted(edges)


def _share(
    export: Path, begin: int, end: int, heads: Mapping[int, str], roots: Sequence[int] | None
) -> _Share | None:
    """None: not all of it is good."""
    with export.open("rb") as file:
        file.seek(begin)
        if (first := _first(file.readline())) is None:
            return None
        file.seek(begin)
        (count, previous), lengths = first, sorted(heads)
        parts = [] if roots is None else [growing.Part(count, count)]
        for lines in _read(file, end - begin):
            hashes = verification.good(lines, previous, count, heads, lengths)
            if not hashes:
                return None
            if roots is not None:
                _grow(parts, verification.leaves(hashes), roots)
            previous, count = hashes[-64:], count + len(lines)
    return _Share(first, (count, previous), tuple(parts))


def _grow(parts: list[growing.Part], leaves: Sequence[bytes], roots: Sequence[int]) -> None:
    begin = parts[-1].end
    for length in verification.between(roots, begin, begin + len(leaves)):
        parts[-1].extend(leaves[parts[-1].end - begin : length - begin])
        parts.append(growing.Part(length, length))
    parts[-1].extend(leaves[parts[-1].end - begin :])


def _first(line: bytes) -> tuple[int, bytes] | None:
    """What the line says that it follows; whether it does is asked with the others."""
    try:
        row = json.loads(line)["row"]
        return int(row["sequence"]) - 1, str(row["previous_hash"]).removeprefix("sha256:").encode()
    except (KeyError, TypeError, ValueError):
        return None


def _read(file: BinaryIO, left: int) -> Iterator[list[bytes]]:
    """The next `left` bytes, which are whole lines."""
    while left > 0:
        # It stops after the line by which they are more than it is told.
        lines = file.readlines(min(_READ_BYTES, left) - 1)
        if not lines:
            return
        yield lines
        left -= sum(map(len, lines))
