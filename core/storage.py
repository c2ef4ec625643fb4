"""What a project keeps on this machine's disks, by place. Only looks: no file is opened but the names of owners."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mainspring.core import settings
from mainspring.core.contracts.storage import StoragePlace
from mainspring.core.models import bundle

__all__ = ["Owned", "measure"]

#: Where a bundle, and a notebook workspace, say whose they are: a file, and the keys on the way there.
_BUNDLE_OF: Final = (bundle.MANIFEST, "project")
_NOTEBOOK_OF: Final = ("workspace.json", "asked", "project")


@dataclass(frozen=True)
class Owned:
    """The folders that say themselves whose they are, by project: looked through once, however many projects there are."""

    bundles: Mapping[str, Sequence[Path]]
    notebooks: Mapping[str, Sequence[Path]]

    @classmethod
    def look(cls, in_force: settings.Settings) -> Owned:
        return cls(
            bundles=_by_project(bundle.BundleStore(in_force.serving.bundle_dir).folders(), _BUNDLE_OF),
            notebooks=_by_project(_in(in_force.notebooks.dir), _NOTEBOOK_OF),
        )


def measure(
    in_force: settings.Settings, project: str, owned: Owned, *, endpoints: Sequence[str], views: Sequence[str]
) -> dict[StoragePlace, int]:
    """Bytes by place, as files are long; one with several names counts once in a place, and links are not followed.

    `endpoints` and `views` are the project's: serving's logs are by those. Files come and go meanwhile: what is gone has nothing.
    """
    serving = in_force.serving
    root = in_force.stack.state_dir / "projects" / project
    own = {root / "pipelines": StoragePlace.PIPELINES, root / "job_logs": StoragePlace.JOB_LOGS}
    held = serving.pushes_dir / "quarantine"
    found = {
        StoragePlace.TABLES: [root, in_force.stack.state_dir / "probes" / f"{project}.jsonl"],
        **{place: [folder] for folder, place in own.items()},
        StoragePlace.BUNDLES: list(owned.bundles.get(project, ())),
        StoragePlace.PREDICTIONS: [serving.predictions_dir / name for name in endpoints],
        StoragePlace.READS: [serving.reads_dir / name for name in views],
        # A held push is called by its view and twelve digits of its digest.
        StoragePlace.PUSHES: [p for p in _in(held) if p.name.rpartition("-")[0] in views],
        # A state is called by its project, its stream and, of several readers, the share.
        StoragePlace.STREAMS: [
            p for p in _in(in_force.streams.state_dir) if p.name.startswith(f"{project}.")
        ],
        StoragePlace.NOTEBOOKS: list(owned.notebooks.get(project, ())),
    }
    return {place: _bytes(paths, frozenset(own) - set(paths)) for place, paths in found.items()}


def _by_project(folders: Iterable[Path], said: Sequence[str]) -> dict[str, list[Path]]:
    found = dict[str, list[Path]]()
    for folder in folders:
        found.setdefault(_project(folder, *said), []).append(folder)
    return found


def _project(folder: Path, file: str, *keys: str) -> str:
    try:
        found = json.loads((folder / file).read_bytes())
        for key in keys:
            found = found[key]
    except (OSError, ValueError, KeyError, TypeError):
        return ""  # not a folder of its kind, or one that is being written
    return str(found)


def _bytes(paths: Iterable[Path], skip: frozenset[Path]) -> int:
    seen, total = set[tuple[int, int]](), 0
    for path in paths:
        for one in _files(path, skip):
            if one.st_nlink > 1:
                if (one.st_dev, one.st_ino) in seen:
                    continue
                seen.add((one.st_dev, one.st_ino))
            total += one.st_size
    return total


def _files(path: Path, skip: frozenset[Path]) -> Iterator[os.stat_result]:
    waiting = [path]
    while waiting:
        here = waiting.pop()
        try:
            if here.is_file() and not here.is_symlink():
                yield here.stat()
                continue
            with os.scandir(here) as entries:
                for entry in entries:
                    below = here / entry.name
                    if entry.is_dir(follow_symlinks=False):
                        waiting += [] if below in skip else [below]
                    elif entry.is_file(follow_symlinks=False):
                        yield entry.stat(follow_symlinks=False)
        except OSError:
            continue  # gone meanwhile, or never there


def _in(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
