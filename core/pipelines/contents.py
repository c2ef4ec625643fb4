"""What a project's pipelines have made and nobody needs any more: runs, answers in the cache, and contents.

A run that is under way, young or held keeps all that it refers to, however old that is; the rest goes by its age. Packs stay:
a run on record names its own. `latest/` and `environments/` stay, too: small, and what a cache's miss is explained with.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from mainspring.core import retention
from mainspring.core.contracts.retention import KeptKind, LegalHold
from mainspring.core.pipelines import cache
from mainspring.core.pipelines.store import PipelineStore, leaves

__all__ = ["sort"]

_KIND: Final = KeptKind.PIPELINE_CONTENTS


def sort(
    store: PipelineStore,
    days: Mapping[KeptKind, float],
    holds: Sequence[LegalHold],
    *,
    under_way: Collection[str],
    now: datetime,
) -> retention.Sorted:
    """What may go, what a hold keeps, and the rest. Reads every record that stays. `under_way`: ids of runs. Errors: OSError."""
    runs = _with_those_under_way(retention.sort(_runs(store), days, holds, now=now), under_way)
    keys, digests = set[str](), set[str]()
    for item in (*runs.held, *runs.kept):
        for path in (item.path / "made").glob("*.json"):
            if (refers := _digests(path)) is not None:
                keys.add(path.stem)
                digests |= refers
    answers = retention.sort(_files(store.root / "cache", keys), days, holds, now=now)
    for item in (*answers.held, *answers.kept):
        digests |= _digests(item.path) or set()
    # What a kept run or answer refers to is no item: neither old nor young, it is needed.
    contents = retention.sort(
        _files(store.root / "objects", {digest.removeprefix("sha256:") for digest in digests}),
        days,
        holds,
        now=now,
    )
    # Runs go first, contents last: what a crash leaves has all that it names, or is named by nothing.
    return retention.Sorted.of((runs, answers, contents))


def _with_those_under_way(found: retention.Sorted, under_way: Collection[str]) -> retention.Sorted:
    """A run may wait for somebody's approval for longer than contents are kept."""
    spared = tuple(item for item in found.old if item.path.name in under_way)
    old = tuple(item for item in found.old if item.path.name not in under_way)
    return retention.Sorted(old, found.held, (*found.kept, *spared))


def _runs(store: PipelineStore) -> Iterator[retention.Item]:
    for folder in sorted((store.root / "runs").glob("[!.]*")):
        if folder.is_dir() and not folder.is_symlink():
            yield retention.Item(_KIND, folder, _newest(folder))


def _newest(folder: Path) -> datetime:
    """When anything in it was last written."""
    newest = 0.0
    for at, _, names in os.walk(folder):
        for path in (at, *(os.path.join(at, name) for name in names)):
            with contextlib.suppress(FileNotFoundError):  # a run may be at work in it
                newest = max(newest, os.lstat(path).st_mtime)
    return datetime.fromtimestamp(newest, UTC)


def _files(folder: Path, needed: Collection[str]) -> Iterator[retention.Item]:
    """Of a folder of folders; `needed` are names without their ending."""
    for path in sorted(folder.glob("[!.]*/[!.]*")):
        if path.stem in needed:
            continue
        with contextlib.suppress(FileNotFoundError):  # another process has taken it
            at = datetime.fromtimestamp(path.lstat().st_mtime, UTC)
            yield retention.Item(_KIND, path, at)


def _digests(record: Path) -> set[str] | None:
    """What an answer refers to; None for one that cannot be read: it was never kept, as the cache has it."""
    try:
        kept = cache.Kept.model_validate_json(record.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    return {leaf.digest for leaf in leaves(kept.value)}
