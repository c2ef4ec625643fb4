"""Where a subject's rows may be: each place finds them and erases them, and both can be repeated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol

from mainspring.core import durable
from mainspring.core.contracts.erasure import Found
from mainspring.core.erasure import files
from mainspring.core.erasure.matching import BySubject, Matcher
from mainspring.core.features import folders, segment_manifest

__all__ = ["ErasurePlace", "FolderPlace", "ObjectsPlace", "files_of", "leave_out", "scrub"]

#: The rows of sorted segments (`features/segment_file.py`).
_SEGMENT: Final = ".rows.arrow"


class ErasurePlace(Protocol):
    """One kind of place."""

    @property
    def name(self) -> str:
        """As certificates call it."""
        ...

    def find(self, subject: BySubject) -> Found:
        """What is there now: read anew each time. Errors: CorruptArtifact for what cannot be read, DependencyDown."""
        ...

    def erase(self, subject: BySubject) -> Found:
        """What was erased by this call; again it is nothing. A crash in the middle leaves each item whole, as it was or
        without the rows. Errors: as :meth:`find`.
        """
        ...


@dataclass(frozen=True)
class _Unit:
    """Files that are erased together."""

    kind: Literal["published", "segments", "loose"]
    folder: Path
    files: list[Path]


@dataclass(frozen=True)
class FolderPlace:
    """Files, and files below folders: published ones, whose manifests follow, and loose ones. What is not there has nothing.

    Sorted segments that hold the subject are removed whole: they are made of files, and made again from them.
    """

    name: str
    roots: Sequence[Path]
    skip: frozenset[Path] = frozenset()

    def find(self, subject: BySubject) -> Found:
        rows, items, datasets, clean = 0, 0, set[str](), set[str]()
        for unit in self._units():
            found = [n for path in unit.files if (n := files.count(path, subject))]
            rows, items = rows + sum(found), items + len(found)
            if unit.kind == "published":
                (datasets if found else clean).add(folders.digest_of(unit.folder))
        return Found(
            place=self.name, rows=rows, items=items, datasets=sorted(datasets), clean=sorted(clean - datasets)
        )

    def erase(self, subject: BySubject) -> Found:
        rows = items = 0
        for unit in self._units():
            held = [(path, n) for path in unit.files if (n := files.count(path, subject))]
            if not held:
                continue
            rows, items = rows + sum(n for _, n in held), items + len(held)
            if unit.kind == "published":
                scrub(unit.folder, subject)
            elif unit.kind == "segments":
                _remove_segments(unit)
            else:
                for path, _ in held:
                    files.erase(path, subject)
        return Found(place=self.name, rows=rows, items=items)

    def _units(self) -> Iterator[_Unit]:
        for root in self.roots:
            if root.is_dir():
                yield from self._below(root)
            elif _is_searched(root):
                yield _Unit("loose", root.parent, [root])

    def _below(self, folder: Path) -> Iterator[_Unit]:
        """What is erased as a whole. A published folder within one belongs to the outer."""
        if folder in self.skip:
            return
        if folders.is_published(folder):
            yield _Unit("published", folder, files_of(folder))
            return
        try:
            entries = sorted(folder.iterdir())
        except FileNotFoundError:
            return  # replaced while we looked; the look that proves it sees what is in its place
        segments = [p for p in entries if p.name.endswith(_SEGMENT)]
        if segments:
            yield _Unit("segments", folder, segments)
        yield _Unit("loose", folder, [p for p in entries if _is_searched(p)])
        for entry in entries:
            if entry.is_dir() and not entry.is_symlink():
                yield from self._below(entry)


@dataclass(frozen=True)
class ObjectsPlace:
    """Contents of a store that are named by their digests: one that holds the subject is removed whole.

    A run that needs it says that it is gone and which step makes it again. Tables and JSON are searched; archives and other files
    that a team's step made are not, and a certificate says so.
    """

    name: str
    root: Path

    def find(self, subject: BySubject) -> Found:
        counts = [n for path in self._objects() if (n := self._count(path, subject))]
        return Found(place=self.name, rows=sum(counts), items=len(counts))

    def erase(self, subject: BySubject) -> Found:
        rows = items = 0
        for path in self._objects():
            if n := self._count(path, subject):
                path.unlink(missing_ok=True)
                durable.sync_folder(path.parent)
                rows, items = rows + n, items + 1
        return Found(place=self.name, rows=rows, items=items)

    def _objects(self) -> Iterator[Path]:
        if self.root.is_dir():
            yield from sorted(p for p in self.root.glob("*/*") if p.is_file() and not p.is_symlink())

    def _count(self, path: Path, subject: BySubject) -> int:
        if files.is_parquet(path):
            return files.count(path, subject)
        return files.count_json(path, subject)


def files_of(folder: Path) -> list[Path]:
    """The files with rows below a folder, links left out."""
    return sorted(p for p in folder.rglob("*") if _is_searched(p))


def scrub(folder: Path, matcher: Matcher) -> int:
    """A published folder without the rows that match, all of it or nothing; how many those were."""

    def without(new: Path) -> int:
        return sum(files.erase(path, matcher) for path in files_of(new))

    return folders.edit(folder, without)


def leave_out(folder: Path, matcher: Matcher) -> int:
    """A folder, published or not, without the rows that match; how many those were."""
    if folders.is_published(folder):
        return scrub(folder, matcher)
    return sum(files.erase(path, matcher) for path in files_of(folder))


def _remove_segments(unit: _Unit) -> None:
    """The manifest first: without it nobody looks for what it names."""
    (unit.folder / segment_manifest.MANIFEST).unlink(missing_ok=True)
    durable.sync_folder(unit.folder)
    for path in unit.files:
        path.unlink(missing_ok=True)
        path.with_name(path.name.replace(_SEGMENT, ".keys.arrow")).unlink(missing_ok=True)
    durable.sync_folder(unit.folder)


def _is_searched(path: Path) -> bool:
    return path.suffix in files.SUFFIXES and path.is_file() and not path.is_symlink()
