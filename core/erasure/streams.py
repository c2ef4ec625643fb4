"""The stored state of a project's streams, as a place of an erasure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mainspring.core import errors
from mainspring.core.contracts.erasure import Found, Uncovered
from mainspring.core.erasure.matching import BySubject
from mainspring.core.features.streams import forgetting, snapshots

__all__ = ["StreamStates"]


@dataclass(frozen=True)
class StreamStates:
    """One state file a stream, or a share of its partitions, in `<folder>/<project>.<stream>[.<share>]`.

    A reader that is at work holds its folder and forgets by itself, by the list of erased subjects: its next state is without
    them. The state of one that has stopped is written again here. Rows are keys of the subject.
    """

    folder: Path
    project: str
    name: str = "state of streams"

    def find(self, subject: BySubject) -> Found:
        counts, histories = list[int](), list[Uncovered]()
        for folder in self._folders():
            n, found = _keys(folder, subject)
            counts += [n] if n else []
            if found is not None and any(".open." in name for name in found.arrays):
                histories.append(_history(folder.name))
        return Found(place=self.name, rows=sum(counts), items=len(counts), uncovered=histories)

    def erase(self, subject: BySubject) -> Found:
        """Errors: Conflict for a state that a reader holds and that still has the subject; as :meth:`find`."""
        rows = items = 0
        for folder in self._folders():
            if not _keys(folder, subject)[0] and not any(folder.glob("*.new")):
                continue
            try:
                held = snapshots.SnapshotFolder(folder)
            except errors.Conflict as error:
                raise errors.Conflict(
                    f"the reader of stream `{folder.name}` still keeps the subject: it has not written its state since, or reads"
                    " another list of erased subjects (`protection.erased_dir`); wait for its next state or stop it, and ask for"
                    " the erasure again",
                    resource="stream state",
                    name=folder.name,
                ) from error
            with held:
                n, found = _keys(folder, subject)
                if found is not None:
                    held.replace(found)
                rows, items = rows + n, items + bool(n)
        return Found(place=self.name, rows=rows, items=items)

    def _folders(self) -> Iterator[Path]:
        # A slug has no dot: nobody else's name begins so.
        yield from sorted(p for p in self.folder.glob(f"{self.project}.*") if p.is_dir())


def _history(stream: str) -> Uncovered:
    return Uncovered(
        what=f"history of stream `{stream}`",
        why="where it is its reader alone knows: it was searched if it lies in the project's folder or in a declared place"
        " (`protection.erasure_places`)",
    )


def _keys(folder: Path, subject: BySubject) -> tuple[int, snapshots.Snapshot | None]:
    """How many of the keys in a folder's state are the subject's, and the state without them. Errors: CorruptArtifact."""
    found = snapshots.read(folder)
    if found is None:
        return 0, None

    def gone(field: str, value: Any) -> bool:
        # In a file that does not name its fields every part of a key may be the subject's.
        return subject.is_key(field or subject.subject.entity, value)

    n, kept = forgetting.count(found.arrays, found.key_fields, gone)
    return n, snapshots.Snapshot(found.definition, found.key_fields, kept)
