"""A release as a folder: the wheel and what teams need beside it, under one signed statement of which files it is made of.

    mainspring-X.Y.Z-*.whl        what is installed
    requirements.txt              the exact pins that it was tested with
    sbom.cdx.json                 CycloneDX: those pins with their licences
    CHANGES.md                    this version's part of the changelog
    contracts.zip                 JSON Schemas of what starts processes and what they answer
    histories.zip                 histories of workflows that every later version replays
    deploy.zip                    manifests for a cluster
    surface.zip                   commands, options, routes, settings, ... that others build on
    SHA256SUMS                    for `sha256sum --check`
    provenance.intoto.json        in-toto statement with SLSA's provenance over all of the above, in a DSSE envelope

The same tree and wheel give the same files but for the provenance, which has times.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from mainspring.core import canonical, durable, errors
from mainspring.core.models import signing
from mainspring.core.supply import dsse

__all__ = ["PROVENANCE", "SUMS", "Release", "changes_of", "pack", "sums", "verify", "write"]

PROVENANCE: Final = "provenance.intoto.json"
SUMS: Final = "SHA256SUMS"
BUILDER: Final = "urn:mainspring:builder:release"

_STATEMENT: Final = "https://in-toto.io/Statement/v1"
_PREDICATE: Final = "https://slsa.dev/provenance/v1"
_BUILD_TYPE: Final = "urn:mainspring:build:release:v1"
_COMMIT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
#: The first moment that a zip can have: entries are of no time.
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Release:
    """A verified one."""

    version: str
    commit: str
    files: Mapping[str, str]
    """Digest (`sha256:`) of each file that the statement is about."""
    signer: str


def write(
    folder: Path,
    files: Mapping[str, bytes],
    key: signing.SigningKey,
    *,
    version: str,
    commit: str,
    started_at: datetime,
    finished_at: datetime,
) -> Release:
    """Sums and provenance beside `files`, all of it or nothing: the folder must not be there.

    Errors: Conflict if it is there; InvalidRequest for a commit that is none, or a name with a folder in it.
    """
    if folder.exists():
        raise errors.Conflict(
            f"`{folder.name}` is there already, and a release is made once; remove it, or raise the version",
            resource="release",
            name=folder.name,
        )
    if not _COMMIT.fullmatch(commit):
        raise errors.InvalidRequest(f"`{commit}` is no commit of a repository", field="commit")
    if wrong := [n for n in files if Path(n).name != n or n in (SUMS, PROVENANCE)]:
        raise errors.InvalidRequest(f"`{wrong[0]}` is no name for a file of a release", field="files")
    digests, summed = _digests(files), sums(files)
    digests[SUMS] = hashlib.sha256(summed).hexdigest()
    statement = {
        "_type": _STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in sorted(digests.items())],
        "predicateType": _PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": _BUILD_TYPE,
                "externalParameters": {"version": version},
                "resolvedDependencies": [{"name": "source", "digest": {"gitCommit": commit}}],
            },
            "runDetails": {
                "builder": {"id": BUILDER, "version": {"mainspring": version}},
                "metadata": {"startedOn": started_at.isoformat(), "finishedOn": finished_at.isoformat()},
            },
        },
    }
    sealed = dsse.seal(canonical.dumps(statement), key)
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        for name, data in {**files, SUMS: summed, PROVENANCE: sealed}.items():
            durable.replace_file(new / name, data)
        new.chmod(0o755)
        new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)  # nothing is left of it after the rename
    return Release(version, commit, {n: f"sha256:{d}" for n, d in digests.items()}, key.key_id)


def verify(folder: Path, trust: signing.TrustedKeys) -> Release:
    """Every file is what the statement says, and there is no other.

    Errors: NotFound without a statement; CorruptArtifact naming the file that is missing, changed or too many, or a statement of
    another form; PolicyDenied for a signer that is not trusted.
    """
    path = folder / PROVENANCE
    if not path.is_file():
        raise errors.NotFound(
            f"`{folder.name}` has no `{PROVENANCE}`; name the folder of a release",
            resource="release",
            name=folder.name,
        )
    payload, signer = dsse.open_sealed(path.read_bytes(), PROVENANCE, trust)
    try:
        statement: Any = json.loads(payload)
        if (statement["_type"], statement["predicateType"]) != (_STATEMENT, _PREDICATE):
            raise ValueError("it is of another kind")
        definition = statement["predicate"]["buildDefinition"]
        if (
            definition["buildType"] != _BUILD_TYPE
            or statement["predicate"]["runDetails"]["builder"]["id"] != BUILDER
        ):
            raise ValueError("it is of another builder")
        version = str(definition["externalParameters"]["version"])
        (source,) = definition["resolvedDependencies"]
        commit = str(source["digest"]["gitCommit"])
        expected = {str(s["name"]): str(s["digest"]["sha256"]) for s in statement["subject"]}
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise _corrupt(PROVENANCE, "an in-toto statement about a release", repr(error)) from error
    found = {p.name for p in folder.iterdir()} - {PROVENANCE}
    for name in sorted(found ^ set(expected)):
        raise _corrupt(name, *(("a file", "none") if name in expected else ("no such file", "one more")))
    for name, digest in sorted(expected.items()):
        is_plain = (folder / name).is_file() and not (folder / name).is_symlink()
        got = _digest(folder / name) if is_plain else "no plain file"
        if got != digest:
            raise _corrupt(name, digest, got)
    return Release(version, commit, {n: f"sha256:{d}" for n, d in expected.items()}, signer)


def sums(files: Mapping[str, bytes]) -> bytes:
    """What `SHA256SUMS` says of them, for `sha256sum --check`."""
    return "".join(f"{digest}  {name}\n" for name, digest in _digests(files).items()).encode()


def _digests(files: Mapping[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())}


def pack(root: Path, files: Iterable[Path]) -> bytes:
    """A zip of these files by their path below `root`; the same contents give the same bytes."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for path in sorted(files):
            entry = zipfile.ZipInfo(path.relative_to(root).as_posix(), _EPOCH)
            archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
    return written.getvalue()


def changes_of(changelog: str, version: str) -> str:
    """The part of a changelog in Keep a Changelog's form that is about `version`. Errors: NotFound if there is none."""
    heads = list(re.finditer(r"^## \[?([^\]\s]+)\]?.*$", changelog, re.MULTILINE))
    for i, head in enumerate(heads):
        if head[1] == version:
            end = heads[i + 1].start() if i + 1 < len(heads) else len(changelog)
            return changelog[head.start() : end].rstrip() + "\n"
    raise errors.NotFound(
        f"the changelog has no part about {version}; give `## Unreleased` that name and a date, and commit it",
        resource="changelog",
        name=version,
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _corrupt(name: str, expected: str, got: str) -> errors.CorruptArtifact:
    return errors.CorruptArtifact(
        f"`{name}` is not what the release's signed statement says; fetch the release again", artifact=name,
        expected=expected, got=got,
    )  # fmt: skip
