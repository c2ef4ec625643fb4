"""The audit log in a folder that is kept elsewhere: pieces that go on where the one before ended, and the checkpoints that sign them.

Nothing leaves the database for it (`docs/adr/0063-the-audit-log-is-kept-whole.md`). A piece is `rows-FIRST-LAST.jsonl.gz`, lines as an export has them;
`checkpoints.jsonl` goes as far as the last piece. Whoever has the public keys proves it without us: the pieces one after another are an export.
"""

from __future__ import annotations

import gzip
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mainspring.core import durable, errors
from mainspring.platform.audit import verification

__all__ = ["Archive", "Piece"]

_NAME: Final = re.compile(r"rows-(\d{12})-(\d{12})\.jsonl\.gz")
_CHECKPOINTS: Final = "checkpoints.jsonl"


@dataclass(frozen=True)
class Piece:
    """Rows `first` to `last` of the log."""

    path: Path
    first: int
    last: int

    def lines(self) -> Iterator[bytes]:
        """Errors: CorruptArtifact for one that was cut or is none."""
        try:
            with gzip.open(self.path) as file:
                yield from file
        except (OSError, EOFError) as error:
            raise errors.CorruptArtifact(
                f"`{self.path.name}` cannot be read: {error}; put it back from another copy of the archive",
                artifact=self.path.name,
            ) from error


class Archive:
    """One folder. One writer at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def pieces(self) -> list[Piece]:
        """In order. Errors: CorruptArtifact where one is missing between two others, or at the beginning."""
        named = ((path, _NAME.fullmatch(path.name)) for path in sorted(self._folder.glob("rows-*")))
        found = [Piece(path, int(name[1]), int(name[2])) for path, name in named if name]
        end = 0
        for piece in found:
            if piece.first != end + 1:
                raise errors.CorruptArtifact(
                    f"rows {end + 1} to {piece.first - 1} are not in the archive `{self._folder}`; put that piece back from another"
                    " copy of it",
                    artifact=str(self._folder),
                )
            end = piece.last
        return found

    def end(self) -> int:
        """The number of its last row; 0: it has none. Errors: CorruptArtifact."""
        return max((piece.last for piece in self.pieces()), default=0)

    def verify(
        self, keys: verification.Keys, checkpoints: Sequence[bytes] | None = None, *, tree: bool = False
    ) -> verification.Finding:
        """Of every row from the first on; without `checkpoints` by those in the folder, which go as far as it does.

        With others, such as those in a bucket, a part of which is enough, it is also the log that they sign. Errors: CorruptArtifact.
        """
        own = self._checkpoints()
        lines = itertools.chain.from_iterable(piece.lines() for piece in self.pieces())
        signed = own if checkpoints is None else upto(checkpoints, self.end())
        return verification.verify(lines, signed, keys, tree=tree)

    def add(
        self, export: Iterable[bytes], checkpoints: Callable[[], Sequence[bytes]], keys: verification.Keys
    ) -> verification.Finding:
        """Take in the rows that follow its last one, bytes of an export up to a checkpoint; there they are when the whole archive with them is as it was signed.

        `checkpoints` are asked for once the rows are here: an export ends at one that is taken for it. Nothing new is no change. Errors: CorruptArtifact, and then the archive is as it was.
        """
        first, last = self.end() + 1, self.end()
        self._folder.mkdir(parents=True, exist_ok=True)
        fresh = self._folder / ".fresh.jsonl.gz"
        try:
            with fresh.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as file:
                for some in export:
                    file.write(some)
                    last += some.count(b"\n")
            signed = upto(checkpoints(), last)
            both = (*self.pieces(), *([Piece(fresh, first, last)] if last >= first else []))
            lines = itertools.chain.from_iterable(piece.lines() for piece in both)
            found = verification.verify(lines, signed, keys)
            if not found.ok:
                raise errors.CorruptArtifact(
                    f"the log does not go on from row {first - 1} of this archive as it was signed: {found.problem}; nothing is added."
                    " If the database was put back from a copy, keep this archive and begin another one in an empty folder",
                    artifact=str(self._folder),
                )
            if last >= first:
                durable.place_file(
                    self._folder / f"rows-{first:012d}-{last:012d}.jsonl.gz", lambda path: _move(fresh, path)
                )
            durable.replace_file(self._folder / _CHECKPOINTS, b"".join(signed))
        finally:
            fresh.unlink(missing_ok=True)
        return found

    def _checkpoints(self) -> list[bytes]:
        path = self._folder / _CHECKPOINTS
        return path.read_bytes().splitlines(keepends=True) if path.exists() else []


def upto(checkpoints: Sequence[bytes], last: int) -> list[bytes]:
    """Those up to the one of row `last`; all of them where none is of that row, which whoever verifies is told."""
    ends = [number for number, line in enumerate(checkpoints, 1) if _sequence(line) == last]
    return list(checkpoints[: ends[-1]] if ends else checkpoints)


def _sequence(line: bytes) -> int:
    """0 for what is malformed; whoever verifies says so."""
    try:
        return int(json.loads(line)["sequence"])
    except (KeyError, TypeError, ValueError):
        return 0


def _move(fresh: Path, path: Path) -> None:
    fresh.rename(path)
