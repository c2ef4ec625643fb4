"""Where a subject's rows may be: each place finds them and erases them, and both can be repeated."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol

from mainspring.core import durable
from mainspring.core.contracts.erasure import Found, Uncovered
from mainspring.core.erasure import contents, files
from mainspring.core.erasure.matching import BySubject, Matcher
from mainspring.core.features import folders, segment_manifest

__all__ = [
    "OTHER_FORMS",
    "ErasurePlace",
    "FolderPlace",
    "LogsPlace",
    "ObjectsPlace",
    "files_of",
    "leave_out",
    "not_searched",
    "scrub",
]

#: The rows of sorted segments (`features/segment_file.py`).
_SEGMENT: Final = ".rows.arrow"
_SEGMENTS: Final = (_SEGMENT, ".keys.arrow")
#: Of what is not covered, so many names are told.
_NAMED: Final = 3
#: Files of rows, or of anything, that are not searched in folders.
OTHER_FORMS: Final = (
    ".arrow", ".avro", ".bz2", ".csv", ".feather", ".gz", ".ndjson", ".new", ".npy", ".npz", ".orc", ".pickle", ".pkl", ".tar",
    ".tgz", ".tsv", ".xlsx", ".xz", ".zip", ".zst",
)  # fmt: skip


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
    unknown: Sequence[str] = ()
    """Names of files that may have rows and are not searched."""


@dataclass(frozen=True)
class FolderPlace:
    """Files, and files below folders: published ones, whose manifests follow, and loose ones. What is not there has nothing.

    Sorted segments that hold the subject are removed whole: they are made of files, and made again from them.
    """

    name: str
    roots: Sequence[Path]
    skip: frozenset[Path] = frozenset()

    def find(self, subject: Matcher) -> Found:
        rows, items, datasets, clean = 0, 0, set[str](), set[str]()
        unknown = list[str]()
        for unit in self._units():
            unknown += unit.unknown
            found = [n for path in unit.files if (n := files.count(path, subject))]
            rows, items = rows + sum(found), items + len(found)
            if unit.kind == "published":
                (datasets if found else clean).add(folders.digest_of(unit.folder))
        return Found(
            place=self.name,
            rows=rows,
            items=items,
            datasets=sorted(datasets),
            clean=sorted(clean - datasets),
            uncovered=[not_searched(self.name, unknown)] if unknown else [],
        )

    def erase(self, subject: Matcher) -> Found:
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
            yield _Unit("published", folder, files_of(folder), _unknown(folder.rglob("*")))
            return
        try:
            entries = sorted(folder.iterdir())
        except FileNotFoundError:
            return  # replaced while we looked; the look that proves it sees what is in its place
        segments = [p for p in entries if p.name.endswith(_SEGMENT)]
        if segments:
            yield _Unit("segments", folder, segments)
        unknown = _unknown(p for p in entries if not p.name.endswith(_SEGMENTS))
        yield _Unit("loose", folder, [p for p in entries if _is_searched(p)], unknown)
        for entry in entries:
            if entry.is_dir() and not entry.is_symlink():
                yield from self._below(entry)


@dataclass(frozen=True)
class ObjectsPlace:
    """Files of any form, below a folder, that steps of pipelines made: one that names the subject is removed whole.

    A run that needs it says that it is gone and which step makes it again. What nobody can search is told as not covered.
    """

    name: str
    root: Path
    skip: tuple[str, ...] = ()
    """Suffixes of what another place looks at."""

    def find(self, subject: BySubject) -> Found:
        counts, unknown = list[int](), list[str]()
        for path, answer in self._answers(subject):
            if answer.rows:
                counts.append(answer.rows)
            elif not answer.is_known:
                unknown.append(path.name)
        uncovered = [not_searched(self.name, unknown)] if unknown else []
        return Found(place=self.name, rows=sum(counts), items=len(counts), uncovered=uncovered)

    def erase(self, subject: BySubject) -> Found:
        rows = items = 0
        for path, answer in self._answers(subject):
            if answer.rows:
                path.unlink(missing_ok=True)
                durable.sync_folder(path.parent)
                rows, items = rows + answer.rows, items + 1
        return Found(place=self.name, rows=rows, items=items)

    def _answers(self, subject: BySubject) -> Iterator[tuple[Path, contents.Answer]]:
        for path in sorted(self.root.rglob("*")):
            if path.is_symlink() or not path.is_file() or path.suffix in self.skip:
                continue
            # One that is gone meanwhile has nothing.
            with contextlib.suppress(FileNotFoundError):
                yield path, contents.search(path, subject)


@dataclass(frozen=True)
class LogsPlace:
    """Logs of jobs: one with a line in which the subject's key is a word is removed whole, whosever word it is.

    Nobody can say what a word of a log means, and a log is worth less than what it may tell of somebody.
    """

    name: str
    root: Path

    def find(self, subject: BySubject) -> Found:
        counts = [rows for _, rows in self._naming(subject)]
        return Found(place=self.name, rows=sum(counts), items=len(counts))

    def erase(self, subject: BySubject) -> Found:
        counts = list[int]()
        for path, rows in self._naming(subject):
            path.unlink(missing_ok=True)
            durable.sync_folder(path.parent)
            counts.append(rows)
        return Found(place=self.name, rows=sum(counts), items=len(counts))

    def _naming(self, subject: BySubject) -> Iterator[tuple[Path, int]]:
        """Logs, and how many of their lines name the subject."""
        for path in sorted(self.root.rglob("*.log")):
            # One that is gone meanwhile has nothing.
            with contextlib.suppress(FileNotFoundError):
                text = path.read_text(encoding="utf-8", errors="replace")
                if contents.names(text, subject):  # few do: lines are looked at of these alone
                    yield path, sum(contents.names(line, subject) for line in text.splitlines())


def not_searched(place: str, names: Sequence[str]) -> Uncovered:
    """What a certificate says of files that may have the subject, for all that anybody knows."""
    such = ", ".join(f"`{name}`" for name in sorted(names)[:_NAMED])
    return Uncovered(
        what=f"{place}: {len(names)} of a form that nobody can search, such as {such}",
        why="neither a table, nor JSON, nor an archive of these; remove them, or see that they name nobody",
    )


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


def _unknown(paths: Iterable[Path]) -> list[str]:
    return [p.name for p in paths if p.suffix in OTHER_FORMS and p.is_file() and not p.is_symlink()]
