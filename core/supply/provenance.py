"""How a bundle came to be: an in-toto statement with SLSA's provenance predicate, sealed with the bundle's key.

The statement is about the manifest's digest, so it lies beside the manifest and is not listed in it: the same model has the same
digest whoever built it. It says who built it, from what, by which run and with which parameters, and which files were looked
through for pickles.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from mainspring.core import canonical, errors
from mainspring.core.models import signing
from mainspring.core.supply import builders, dsse

FILE: Final = "provenance.intoto.json"

#: The material that is the installed packages, by `environment.digest`.
ENVIRONMENT: Final = "environment"

_STATEMENT: Final = "https://in-toto.io/Statement/v1"
_PREDICATE: Final = "https://slsa.dev/provenance/v1"
_SCAN: Final = "scan"
_OPENSSF: Final = "openssf-public-key"


@dataclass(frozen=True)
class Material:
    """Something that went into a build. `digest` is by algorithm, as in-toto has it: `{"sha256": hex}`, `{"gitCommit": hex}`."""

    name: str
    digest: Mapping[str, str]
    uri: str = ""

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "digest": dict(self.digest)} | ({"uri": self.uri} if self.uri else {})


@dataclass(frozen=True)
class Scan:
    """What looked through every file for code that runs when it is read, and found none."""

    scanner: str
    version: str


@dataclass(frozen=True)
class Build:
    """What whoever writes a bundle says of how it was made. Times are UTC; what is not known is left out."""

    builder: str = builders.LIBRARY
    build_type: str = "urn:mainspring:build:library"
    version: str = ""
    """Of the builder."""
    invocation: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    materials: tuple[Material, ...] = ()
    started_at: datetime | None = None
    finished_at: datetime | None = None
    scans: tuple[Scan, ...] = ()
    """Beside our own, which every bundle passes when it is written."""


@dataclass(frozen=True)
class Subject:
    """The bundle that a statement is about: name, `sha256:` digest of its manifest, and its listed files by path."""

    name: str
    digest: str
    files: Mapping[str, str]


@dataclass(frozen=True)
class Provenance:
    """A verified statement."""

    builder: str
    build_type: str
    invocation: str
    parameters: Mapping[str, Any]
    materials: tuple[Material, ...]
    started_at: str
    finished_at: str
    scanned: frozenset[str]
    """Paths of the files that were looked through."""
    scanners: tuple[str, ...]
    openssf_key: bytes
    """Public key of `model.sig`, PEM."""
    signer: str


def seal(build: Build, subject: Subject, own: Scan, key: signing.SigningKey) -> bytes:
    """The sealed statement. `own`: what looked through every listed file when the bundle was written."""
    return dsse.seal(canonical.dumps(_statement(build, subject, own, key)), key)


def open_sealed(data: bytes, subject: Subject, trust: signing.TrustedKeys | None) -> Provenance:
    """`trust` None: the signature is not looked at.

    Errors: CorruptArtifact for a statement of another bundle or form; PolicyDenied for a signer that is not trusted.
    """
    artifact = f"{subject.digest}/{FILE}"
    payload, signer = dsse.open_sealed(data, artifact, trust)
    try:
        statement = json.loads(payload)
        about, kinds = statement["subject"], (statement["_type"], statement["predicateType"])
        expected = [{"name": subject.name, "digest": {"sha256": subject.digest.removeprefix("sha256:")}}]
        if about != expected or kinds != (_STATEMENT, _PREDICATE):
            raise _damaged(artifact, f"SLSA provenance of {expected}", f"{kinds[1]} of {about}")
        return _parsed(statement["predicate"], signer)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise _damaged(artifact, "an in-toto statement with SLSA provenance", repr(error)) from error


def require(found: Provenance | None, subject: Subject, believed: Collection[str]) -> None:
    """Whether this bundle may be used here at all.

    Errors: PolicyDenied, by rule `bundle.provenance` without one, `bundle.builder` for a builder that is not `believed`,
    `bundle.scanned` if a file was not looked through.
    """
    if found is None:
        if builders.UNATTESTED in believed:
            return
        raise _denied(
            "bundle.provenance",
            f"bundle `{subject.digest}` has no `{FILE}`, so nobody says how it was built; train or import it anew,"
            f" vouch for it by `mainspring bundle attest {subject.digest} --reason ...`, or let all such bundles in by a line"
            f" `unattested` in `{builders.FILE}` beside the trusted keys",
        )
    if found.builder not in believed:
        raise _denied(
            "bundle.builder",
            f"bundle `{subject.digest}` was built by `{found.builder}`, and believed here is"
            f" {', '.join(f'`{b}`' for b in sorted(believed)) or 'nobody'}; train or import it through the platform, or add"
            f" the builder to `{builders.FILE}` beside the trusted keys",
        )
    if unscanned := sorted(set(subject.files) - found.scanned):
        raise _denied(
            "bundle.scanned",
            f"files {unscanned} of bundle `{subject.digest}` were looked through by no scanner; write the bundle again with"
            " `BundleStore.write`, which scans",
        )


def _statement(build: Build, subject: Subject, own: Scan, key: signing.SigningKey) -> dict[str, Any]:
    metadata = {
        "invocationId": build.invocation,
        "startedOn": _time(build.started_at),
        "finishedOn": _time(build.finished_at),
    }
    scanned = canonical.dumps(
        {
            "files": sorted(subject.files),
            "scanners": [f"{s.scanner} {s.version}".strip() for s in (own, *build.scans)],
        }
    )
    return {
        "_type": _STATEMENT,
        "subject": [{"name": subject.name, "digest": {"sha256": subject.digest.removeprefix("sha256:")}}],
        "predicateType": _PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": build.build_type,
                "externalParameters": dict(build.parameters),
                "internalParameters": {},
                "resolvedDependencies": [m.to_json() for m in build.materials],
            },
            "runDetails": {
                "builder": {"id": build.builder}
                | ({"version": {"mainspring": build.version}} if build.version else {}),
                "metadata": {name: value for name, value in metadata.items() if value},
                "byproducts": [
                    _byproduct(_SCAN, "application/json", scanned),
                    _byproduct(_OPENSSF, "application/x-pem-file", key.p256_public_pem()),
                ],
            },
        },
    }


def _byproduct(name: str, media_type: str, content: bytes) -> dict[str, Any]:
    return {"name": name, "mediaType": media_type, "content": base64.b64encode(content).decode()}


def _parsed(predicate: dict[str, Any], signer: str) -> Provenance:
    definition, run = predicate["buildDefinition"], predicate["runDetails"]
    content = {b["name"]: base64.b64decode(b["content"], validate=True) for b in run["byproducts"]}
    scan = json.loads(content[_SCAN])
    metadata = run.get("metadata", {})
    return Provenance(
        builder=str(run["builder"]["id"]),
        build_type=str(definition["buildType"]),
        invocation=str(metadata.get("invocationId", "")),
        parameters=dict(definition["externalParameters"]),
        materials=tuple(
            Material(str(m["name"]), {str(k): str(v) for k, v in m["digest"].items()}, str(m.get("uri", "")))
            for m in definition.get("resolvedDependencies", [])
        ),
        started_at=str(metadata.get("startedOn", "")),
        finished_at=str(metadata.get("finishedOn", "")),
        scanned=frozenset(str(path) for path in scan["files"]),
        scanners=tuple(str(s) for s in scan["scanners"]),
        openssf_key=content[_OPENSSF],
        signer=signer,
    )


def _time(at: datetime | None) -> str:
    """RFC 3339 in UTC, whole seconds, as SLSA's examples have it."""
    return "" if at is None else at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _denied(rule: str, why: str) -> errors.PolicyDenied:
    return errors.PolicyDenied(f"rule `{rule}` denies it: {why}", rule_id=rule)


def _damaged(artifact: str, expected: str, got: str) -> errors.CorruptArtifact:
    return errors.CorruptArtifact(
        f"`{artifact}` is damaged: expected {expected}, got {got}; fetch or write the bundle again",
        artifact=artifact,
        expected=expected,
        got=got,
    )
