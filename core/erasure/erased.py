"""Who was erased, by keyed hash: what comes again of them, late or replayed, is not taken in.

One small file, which whoever takes rows in follows (`core/watched.py`): a new entry is in force within a second in every process of
the host. It imports nothing that serving does not have anyway.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mainspring.core import canonical, errors, settings, watched
from mainspring.core.erasure.subjects import Subject, SubjectHasher, text_of

__all__ = ["Check", "Entry", "ErasedList"]

FILE: Final = "subjects.json"
_VERSION: Final = 1


@dataclass(frozen=True)
class Entry:
    """One erased subject."""

    project: str
    entity: str
    columns: tuple[str, ...]
    """Names that the key has in tables, the entity's own among them."""
    views: tuple[str, ...]
    """Online views of the project whose pushes are looked at."""
    subject_hash: str
    erasure_id: str


class Check:
    """Which keys are erased, for one project's columns. Immutable, thread-safe.

    Speed: 2.8 us a value that is looked at (CPU time of one busy core, 2026-11); nothing where nobody was erased.
    """

    def __init__(self, entries: Iterable[Entry], hasher: SubjectHasher) -> None:
        self._hasher = hasher
        self._by_column: dict[str, dict[tuple[str, str], set[str]]] = {}
        for entry in entries:
            for column in entry.columns:
                known = self._by_column.setdefault(column, {})
                known.setdefault((entry.project, entry.entity), set()).add(entry.subject_hash)
        self.columns: Final = frozenset(self._by_column)

    def is_erased(self, column: str, key: str) -> bool:
        """`key` as text (:func:`subjects.text_of`)."""
        for (project, entity), hashes in self._by_column.get(column, {}).items():
            if self._hasher.hash(project, entity, key) in hashes:
                return True
        return False

    def rows(self, columns: Mapping[str, Sequence[Any]], n: int) -> NDArray[np.bool_]:
        """Which of `n` rows are an erased subject's, (n,). Columns that no entry names are not looked at."""
        found = np.zeros(n, np.bool_)
        for name in self.columns & set(columns):
            known: dict[Any, bool] = {}
            for i, value in enumerate(columns[name]):
                key = text_of(value)
                if key is None:
                    continue
                if key not in known:
                    known[key] = self.is_erased(name, key)
                if known[key]:
                    found[i] = True
        return found


class ErasedList:
    """The file and the key of its hashes. Thread-safe; several processes may read it, and one at a time adds."""

    def __init__(self, folder: Path, key_file: Path) -> None:
        """The key is made with the first entry. Errors: Misconfigured for a file that cannot be read."""
        self._key_file = key_file
        none: tuple[Entry, ...] = ()
        self._file = watched.Watched(folder / FILE, _parse, none)
        self._made: tuple[tuple[Entry, ...], dict[str, Check], dict[str, Check]] | None = None

    @classmethod
    def of(cls, protection: settings.ProtectionSettings) -> ErasedList:
        return cls(protection.erased_dir, protection.subjects_key)

    def entries(self) -> tuple[Entry, ...]:
        """As of at most a second ago."""
        return self._file.get()

    def hasher(self) -> SubjectHasher:
        """Errors: InvalidSettings, OSError."""
        return SubjectHasher.load(self._key_file)

    def add(self, subject: Subject, *, views: Sequence[str], erasure_id: str) -> Entry:
        """Keep a subject out from now on. The same again changes nothing but adds columns and views that are new.

        Errors: Overloaded if another process adds; OSError.
        """
        wanted = Entry(
            subject.project,
            subject.entity,
            tuple(sorted(subject.columns)),
            tuple(sorted(views)),
            self.hasher().of(subject),
            erasure_id,
        )

        def edit(entries: tuple[Entry, ...]) -> tuple[tuple[Entry, ...], bytes]:
            after = _with(entries, wanted)
            return after, canonical.dumps({"version": _VERSION, "subjects": [asdict(e) for e in after]})

        after = self._file.change(edit)
        return next(e for e in after if _is_same(e, wanted))

    def of_view(self, view: str) -> Check | None:
        """What to hold a push of an online view against; None: nobody was erased from it."""
        return self._checks()[0].get(view)

    def of_project(self, project: str) -> Check | None:
        """What to hold a project's tables against; None: nobody was erased from it."""
        return self._checks()[1].get(project)

    def _checks(self) -> tuple[dict[str, Check], dict[str, Check]]:
        entries = self._file.get()
        made = self._made
        if made is None or made[0] is not entries:
            views, projects = dict[str, list[Entry]](), dict[str, list[Entry]]()
            for entry in entries:
                projects.setdefault(entry.project, []).append(entry)
                for view in entry.views:
                    views.setdefault(view, []).append(entry)
            hasher = self.hasher() if entries else SubjectHasher(b"")
            made = self._made = (
                entries,
                {name: Check(found, hasher) for name, found in views.items()},
                {name: Check(found, hasher) for name, found in projects.items()},
            )
        return made[1], made[2]


def _with(entries: tuple[Entry, ...], wanted: Entry) -> tuple[Entry, ...]:
    for i, entry in enumerate(entries):
        if _is_same(entry, wanted):
            columns = tuple(sorted({*entry.columns, *wanted.columns}))
            views = tuple(sorted({*entry.views, *wanted.views}))
            both = Entry(entry.project, entry.entity, columns, views, entry.subject_hash, entry.erasure_id)
            return (*entries[:i], both, *entries[i + 1 :])
    return (*entries, wanted)


def _is_same(one: Entry, other: Entry) -> bool:
    return (one.project, one.entity, one.subject_hash) == (other.project, other.entity, other.subject_hash)


def _parse(content: bytes) -> tuple[Entry, ...]:
    """Errors: CorruptArtifact."""
    try:
        document = json.loads(content)
        if document["version"] != _VERSION:
            raise ValueError(f"version {document['version']}")
        return tuple(
            Entry(
                str(e["project"]),
                str(e["entity"]),
                tuple(map(str, e["columns"])),
                tuple(map(str, e["views"])),
                str(e["subject_hash"]),
                str(e["erasure_id"]),
            )
            for e in document["subjects"]
        )
    except (ValueError, KeyError, TypeError) as error:
        raise errors.CorruptArtifact(
            f"`{FILE}` of erased subjects cannot be read: {error}; restore it, or what was erased is taken in again",
            artifact=FILE,
            expected=f"version {_VERSION}",
            got="another content",
        ) from error
