"""Which files of logs and reports are older than they may get, and their removal: each whole or not at all."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from mainspring.core import durable
from mainspring.core.contracts.retention import KeptKind, LegalHold
from mainspring.core.monitoring import read_log

__all__ = ["Item", "Places", "Sorted", "items", "remove", "sort"]

#: A log's file is written up to so long after the rows in it were answered: a hold covers it, too.
_WRITTEN_LATE: Final = timedelta(hours=1)
_GONE: Final = ".gone-"


@dataclass(frozen=True)
class Item:
    """One thing that is removed as a whole: a file, or the folder of a held batch or of a run's logs."""

    kind: KeptKind
    path: Path
    written_at: datetime
    """Nothing in it is newer."""

    def size(self) -> int:
        files = self.path.rglob("*") if self.path.is_dir() else [self.path]
        return sum(f.lstat().st_size for f in files if not f.is_dir())


@dataclass(frozen=True)
class Places:
    """Folders, each with the entries that are looked at: those of others are nobody's business."""

    predictions: Path
    endpoints: Sequence[str]
    reads: Path
    views: Sequence[str]
    workspace: Path
    """`Workspace.root`, which has skew reports and quarantines."""
    job_logs: Path
    """`JobLogs.root`, with a folder for each run."""


@dataclass(frozen=True)
class Sorted:
    old: tuple[Item, ...]
    """To be removed."""
    held: tuple[Item, ...]
    """Old enough, and kept by a hold."""
    kept: tuple[Item, ...]

    @classmethod
    def of(cls, parts: Sequence[Sorted]) -> Sorted:
        """All of them, in their order."""
        return cls(
            tuple(item for part in parts for item in part.old),
            tuple(item for part in parts for item in part.held),
            tuple(item for part in parts for item in part.kept),
        )


def items(places: Places, kinds: Iterable[KeptKind]) -> Iterator[Item]:
    """What there is of `kinds`. Files of a log say in their names when they were written; the rest says the disk.

    Names that no log gives are passed over.
    """
    for kind in kinds:
        if kind is KeptKind.PREDICTIONS:
            paths = [p for e in places.endpoints for p in (places.predictions / e).glob("*/*.parquet")]
        elif kind is KeptKind.READS:
            paths = [p for v in places.views for p in (places.reads / v).glob("*.parquet")]
        elif kind is KeptKind.SKEW_REPORTS:
            paths = list((places.workspace / "skew").glob("*.json"))
        elif kind is KeptKind.PIPELINE_CONTENTS:
            continue  # one is needed by another: `core/pipelines/contents.py` sorts them
        elif kind is KeptKind.LINEAGE_EVENTS:
            continue  # no files: rows of the control database, which removes them itself
        elif kind is KeptKind.JOB_LOGS:
            paths = [p for p in places.job_logs.glob("*") if p.is_dir() and p.name[0] != "."]
        else:
            paths = [p for p in places.workspace.glob("*.quarantine/*") if p.is_dir() and p.name[0] != "."]
        for path in sorted(paths):
            at = _written_at(path, by_name=kind in (KeptKind.PREDICTIONS, KeptKind.READS))
            if at is not None and not path.is_symlink():
                yield Item(kind, path, at)


def sort(
    found: Iterable[Item], days: Mapping[KeptKind, float], holds: Sequence[LegalHold], *, now: datetime
) -> Sorted:
    """Pure. Something exactly as old as it may get is kept."""
    old, held, kept = list[Item](), list[Item](), list[Item]()
    for item in found:
        if item.kind not in days or now - item.written_at <= timedelta(days=days[item.kind]):
            kept.append(item)
        elif any(_covers(hold, item) for hold in holds):
            held.append(item)
        else:
            old.append(item)
    return Sorted(tuple(old), tuple(held), tuple(kept))


def remove(item: Item) -> int:
    """Take it away; how many bytes that were. What another process took first, or has just used again, is 0.

    Errors: OSError.
    """
    try:
        size = item.size()
        if not item.path.is_dir() and item.kind is not KeptKind.PIPELINE_CONTENTS:
            item.path.unlink()
            return size
        # By its name it is there whole, or not at all; what a crash leaves is hidden, and removed by the next run.
        gone = item.path.with_name(f"{_GONE}{item.path.name}-{secrets.token_hex(4)}")
        item.path.rename(gone)
        if item.kind is KeptKind.PIPELINE_CONTENTS and _touched_since(item, gone):
            gone.rename(item.path)
            return 0
        durable.sync_folder(gone.parent)
    except FileNotFoundError:
        return 0
    sweep(gone.parent)
    return size


def _touched_since(item: Item, gone: Path) -> bool:
    """Whoever uses a content again touches it: before it has left its name, which shows here, or after, and then finds none."""
    return not gone.is_dir() and datetime.fromtimestamp(gone.lstat().st_mtime, UTC) > item.written_at


def sweep(folder: Path) -> None:
    """Remove what earlier removals have hidden. Errors: OSError."""
    for gone in folder.glob(f"{_GONE}*"):
        if gone.is_dir() and not gone.is_symlink():
            shutil.rmtree(gone)
        else:
            gone.unlink(missing_ok=True)


def _covers(hold: LegalHold, item: Item) -> bool:
    if hold.kind is not None and hold.kind is not item.kind:
        return False
    until = datetime.max.replace(tzinfo=UTC) if hold.until is None else hold.until + _WRITTEN_LATE
    return hold.since <= item.written_at <= until


def _written_at(path: Path, *, by_name: bool) -> datetime | None:
    try:
        if by_name:
            return read_log.written_at(path)
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except (ValueError, OverflowError, FileNotFoundError):
        return None
