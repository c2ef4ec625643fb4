"""Batches that failed, kept whole with their reports, readable by name, until an approver releases them.

    <path>/<name>/manifest.json    what the batch is, why it was refused, what went on serving instead
    <path>/<name>/data/...         its files, as they were made
    <path>/<name>/release.json     who let it in, when and why; absent while it is held

A name is the batch's dataset and the digest of its content: the same bad batch twice is held once.
"""

from __future__ import annotations

import difflib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mainspring.core import canonical, durable, errors, identity, projects
from mainspring.core.contracts import base
from mainspring.core.features import folders
from mainspring.core.quality.report import QualityReport

__all__ = ["Held", "Quarantine", "Release"]

KIND: Final = "quarantined batch"
_DATA: Final = "data"
_RELEASE: Final = "release.json"


class Release(projects.Report):
    """Who let a failed batch in, and why."""

    by: str
    reason: str
    at: base.UtcTime


class Held(projects.Report):
    """One failed batch. `kind`, `inputs`, `detail` are what its folder would have been published with."""

    name: str
    dataset: str
    kind: str
    inputs: dict[str, Any]
    detail: dict[str, Any]
    reports: tuple[QualityReport, ...]
    instead_of: str
    """Digest of what went on serving when it was refused; empty if there was nothing yet."""
    unlisted: tuple[str, ...] = ()
    """Files that its folder keeps without naming them by content, because whoever uses them changes them."""
    release: Release | None = None

    @property
    def failed(self) -> tuple[projects.CheckResult, ...]:
        return tuple(check for report in self.reports for check in report.failed)

    def without_values(self) -> Held:
        """What may be told to whoever may not see the data: checks and counts, no value of any row."""
        bare = tuple(r.model_copy(update={"columns": (), "profiles": ()}) for r in self.reports)
        return self.model_copy(update={"reports": bare})


@dataclass(frozen=True)
class Quarantine:
    """The failed batches below `path`. Nothing is created before there is one."""

    path: Path

    @classmethod
    def beside(cls, target: Path) -> Quarantine:
        """Where batches of the folder `target` are held unless it is said otherwise."""
        return cls(target.with_name(f"{target.name}.quarantine"))

    def hold(
        self,
        made: Path,
        *,
        dataset: str,
        kind: str,
        inputs: Mapping[str, Any],
        detail: Mapping[str, Any],
        reports: tuple[QualityReport, ...],
        instead_of: str,
        unlisted: frozenset[str] = frozenset(),
    ) -> Held:
        """Take every file of the folder `made`, whole or not at all. Errors: OSError if the disk refuses."""
        what = {"kind": kind, "inputs": dict(inputs), "instead_of": instead_of}
        name = f"{dataset}-{canonical.digest([what, canonical.digest_tree(made)])[7:19]}"

        def take(new: Path) -> Mapping[str, Any]:
            (new / _DATA).mkdir()
            for path in sorted(made.iterdir()):
                shutil.move(path, new / _DATA / path.name)
            return {
                "dataset": dataset,
                "detail": dict(detail),
                "reports": [r.model_dump(mode="json") for r in reports],
                "unlisted": sorted(unlisted),
            }

        folders.publish(self.path / name, kind=KIND, inputs=what, write=take)
        # Released once and refused again: it is held again. Who released it then is on record where that was done.
        (self.path / name / _RELEASE).unlink(missing_ok=True)
        return self.read(name)

    def names(self) -> tuple[str, ...]:
        """Every batch, held or released, by name."""
        if not self.path.is_dir():
            return ()
        return tuple(
            sorted(p.parent.name for p in self.path.glob(f"*/{folders.MANIFEST}") if p.parent.name[0] != ".")
        )

    def read(self, name: str) -> Held:
        """The batch called `name`, checked to its last byte. Errors: NotFound with close names, CorruptArtifact."""
        folders.read(self._folder(name), kind=KIND)
        return self.describe(name)

    def describe(self, name: str) -> Held:
        """As :meth:`read`, by what its manifest says alone: for lists, which must not read all the data there is."""
        folder = self._folder(name)
        try:
            manifest = json.loads((folder / folders.MANIFEST).read_bytes())
            release = json.loads((folder / _RELEASE).read_bytes()) if (folder / _RELEASE).exists() else None
            told = {**manifest["inputs"], **manifest["detail"]}
            return Held.model_validate({"name": name, **told, "release": release})
        except (OSError, ValueError, KeyError, TypeError) as error:  # pydantic's error is a ValueError
            raise errors.CorruptArtifact(
                f"`{folder}` does not say what it holds: {error}; move it away, and ingest the batch again",
                artifact=str(folder),
                expected="a quarantined batch",
                got="another manifest",
            ) from error

    def data(self, name: str) -> Path:
        """The folder with the batch's files. Errors: NotFound."""
        return self._folder(name) / _DATA

    def copy_to(self, name: str, target: Path) -> None:
        """The batch's files into the empty folder `target`, by hard links where the file system has them.

        Not the unlisted ones: whoever changes them there must not change what is held.
        """
        source, unlisted = self.data(name), self.describe(name).unlisted
        for path in sorted(p for p in source.rglob("*") if p.is_file()):
            relative = path.relative_to(source)
            copy = target / relative
            copy.parent.mkdir(parents=True, exist_ok=True)
            if relative.as_posix() in unlisted:
                shutil.copy2(path, copy)
                continue
            try:
                os.link(path, copy)
            except OSError:
                shutil.copy2(path, copy)

    def mark(self, name: str, release: Release) -> Held:
        """Keep that it was let in. Errors: OSError."""
        durable.replace_file(self._folder(name) / _RELEASE, release.model_dump_json(indent=1))
        return self.read(name)

    def _folder(self, name: str) -> Path:
        known = self.names()
        if name in known:
            return self.path / name
        close = tuple(difflib.get_close_matches(name, known, n=3))
        raise errors.NotFound(
            f"no batch `{name}` in quarantine `{self.path}`; "
            + (f"did you mean `{close[0]}`" if close else f"held are {list(known)}"),
            resource="quarantined batch",
            name=name,
            did_you_mean=close,
        )


def approve(actor: identity.Actor, reason: str, name: str) -> Release:
    """What goes on record when `actor` lets a failed batch in. Errors: PermissionDenied, InvalidRequest."""
    actor.require("approver")
    if not reason.strip():
        raise errors.InvalidRequest(
            f"`reason` is empty; say why batch `{name}` may be used although it failed", field="reason"
        )
    return Release(by=actor.name, reason=reason.strip(), at=base.utc_now())
