"""The quarantines of a project, beside the folders of its workspaces."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mainspring.core import errors
from mainspring.core.contracts import quality
from mainspring.core.quality import quarantine

_SUFFIX = ".quarantine"


@dataclass(frozen=True)
class Place:
    """A held batch, and the folder that it would take the place of."""

    held: quarantine.Held
    target: Path

    def view(self, project: str, *, with_reports: bool = False) -> quality.HeldBatch:
        release = self.held.release
        return quality.HeldBatch(
            project=project,
            name=self.held.name,
            dataset=self.held.dataset,
            workspace=self.target.parent.name,
            failed=tuple(check.name for check in self.held.failed),
            instead_of=self.held.instead_of,
            reports=tuple(r.model_dump(mode="json") for r in self.held.without_values().reports)
            if with_reports
            else (),
            released_by=release.by if release else "",
            released_reason=release.reason if release else "",
            released_at=release.at if release else None,
        )


def places(state_dir: Path, project: str) -> Iterator[Place]:
    """Every batch of a project that exists, by workspace and name. Errors: CorruptArtifact."""
    for folder in sorted((state_dir / "projects" / project).glob(f"*/*{_SUFFIX}")):
        found = quarantine.Quarantine(folder)
        target = folder.with_name(folder.name.removesuffix(_SUFFIX))
        for name in found.names():
            yield Place(found.describe(name), target)


def find(state_dir: Path, project: str, name: str) -> Place:
    """Errors: NotFound with close names, CorruptArtifact."""
    known = {place.held.name: place for place in places(state_dir, project)}
    if name in known:
        return known[name]
    close = tuple(difflib.get_close_matches(name, known, n=3))
    hint = f"did you mean `{close[0]}`" if close else f"see `mainspring quarantine list {project}`"
    raise errors.NotFound(
        f"project `{project}` has no batch `{name}` in quarantine; {hint}",
        resource="quarantined batch",
        name=name,
        did_you_mean=close,
    )
