"""A model as an immutable, signed directory, named by the digest of its manifest.

    <root>/<64 hex>/manifest.json       canonical JSON: what the model is, and every other file's digest
                    plan.json           the fitted transform plan, canonical JSON
                    model.json          how the model is asked, canonical JSON: a network's architecture
                    weights.safetensors what was learned; another file for other kinds (`manifest.LEARNED`)
                    card.md             for people
                    signature.json      over the manifest's digest
                    provenance.intoto.json   who built it from what, sealed (`supply/provenance.py`)
                    model.sig           OpenSSF's signature, for tools of others (`supply/openssf.py`)

The last three are the files that the manifest does not list; a bundle of a release before them has only the first, until somebody
vouches for it (:meth:`BundleStore.attest`). Nothing of a bundle is used before all of it is verified, and :meth:`Bundle.read` verifies again what it returns:
a file that changes after `open` is caught, too.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from mainspring.core import canonical, durable, errors
from mainspring.core.models import manifest as manifests
from mainspring.core.models import pickles, signing, withdrawn
from mainspring.core.models.manifest import (
    CARD,
    LEARNED,
    MANIFEST,
    MODEL,
    PLAN,
    SIGNATURE,
    UNLISTED,
    WEIGHTS,
    BundleContents,
    FileEntry,
    Kind,
    Manifest,
)
from mainspring.core.supply import dsse, openssf, provenance

__all__ = [
    "CARD",
    "LEARNED",
    "MANIFEST",
    "MODEL",
    "PLAN",
    "SIGNATURE",
    "UNLISTED",
    "UNLISTED_BYTES",
    "WEIGHTS",
    "Bundle",
    "BundleContents",
    "BundleStore",
    "FileEntry",
    "Kind",
    "Manifest",
    "check_listing",
]

_HEX: Final = re.compile(r"[0-9a-f]{64}")

#: Those two come together or not at all.
_ATTESTED: Final = frozenset({provenance.FILE, openssf.FILE})
#: The most that a file may have that no manifest lists.
UNLISTED_BYTES: Final = 16 << 20
#: Beside itself: whoever signs or attests a bundle anew leaves OpenSSF's signature as it is.
_NOT_COVERED: Final = (SIGNATURE, provenance.FILE)


@dataclass(frozen=True)
class Bundle:
    """A verified bundle. Immutable, thread-safe."""

    path: Path
    digest: str
    manifest: Manifest
    signer: str
    """The id of the key that signed it."""
    origin: provenance.Provenance | None = None
    """None: a bundle of a release that wrote none."""

    @property
    def subject(self) -> provenance.Subject:
        """What its provenance is about."""
        return _subject(self.digest, self.manifest)

    def read(self, name: str) -> bytes:
        """One listed file's bytes, verified as they are read. Errors: NotFound, CorruptArtifact."""
        entry = self.manifest.files.get(name)
        if entry is None:
            raise _not_found("file", name, tuple(self.manifest.files))
        return _read_verified(self.path, name, entry)

    @property
    def plan(self) -> bytes:
        """The fitted plan's canonical JSON."""
        return self.read(PLAN)

    @property
    def model(self) -> dict[str, Any]:
        """How the model is asked: of a network its architecture."""
        value: dict[str, Any] = json.loads(self.read(MODEL))
        return value

    @property
    def kind(self) -> Kind:
        return self.manifest.kind

    @property
    def weights(self) -> bytes:
        """What was learned: the bytes of the kind's own file; none of an ensemble, whose steps have theirs."""
        name = LEARNED[self.kind]
        return self.read(name) if name else b""


class BundleStore:
    """Bundles in one directory of a local file system. Safe for concurrent processes: entries appear whole."""

    def __init__(self, root: Path) -> None:
        self.root: Final = root

    def write(
        self,
        contents: BundleContents,
        key: signing.SigningKey,
        build: provenance.Build = provenance.Build(),  # noqa: B008 - frozen
        trust: signing.TrustedKeys | None = None,
    ) -> Bundle:
        """Sign and store; the same contents by the same key and builder again are a no-op: the first provenance stays. So are
        those by another key that `trust` has: while keys change, whoever comes again after a crash has the next one.

        Durable on return: files and folders are synced before and after the rename that makes them visible.
        Errors: InvalidRequest for malformed contents; Conflict if another key signed or another builder built the same
        contents; CorruptArtifact if they are stored but damaged.
        """
        manifest = contents.manifest()
        manifest_bytes = canonical.dumps(manifest.model_dump(mode="json"))
        digest = canonical.digest_bytes(manifest_bytes)
        signature = key.sign(digest)
        final = self.root / digest.removeprefix("sha256:")
        if not final.exists():
            beside = {SIGNATURE: signature.to_bytes(), **_attested(digest, manifest, key, build)}
            self._publish({**contents.files(), MANIFEST: manifest_bytes, **beside}, final)
        stored = _verify(final, digest)
        if stored.signer != key.key_id and (trust is None or stored.signer not in trust.key_ids):
            raise errors.Conflict(
                f"bundle `{digest}` is already signed by `{stored.signer}`; trust that key or change the contents",
                resource="bundle",
                name=digest,
            )
        if stored.origin is not None and stored.origin.builder != build.builder:
            raise errors.Conflict(
                f"bundle `{digest}` is there already, built by `{stored.origin.builder}` and not by `{build.builder}`; use it"
                " as it is, or change the contents",
                resource="bundle",
                name=digest,
            )
        return stored if stored.signer == key.key_id or trust is None else _verify(final, digest, trust)

    def signature(self, digest: str) -> signing.Signature | None:
        """What stands there as its signature now, unverified; None for no such bundle. Errors: CorruptArtifact."""
        path = self.root / digest.removeprefix("sha256:")
        if not os.path.lexists(path / SIGNATURE):
            return None
        return signing.Signature.from_bytes(_read(path / SIGNATURE, f"{digest}/{SIGNATURE}"), digest)

    def sign_again(
        self, digest: str, key: signing.SigningKey, trust: signing.TrustedKeys
    ) -> tuple[Bundle, signing.Signature]:
        """Put `key`'s signature in the place of the one that is there, after every byte was verified by `trust`.

        The digest is of the contents, so the bundle keeps its name. Readers find the old signature or the new one.
        Returns the bundle as it was, and the signature that was there. Errors: those of :meth:`open`.
        """
        found = self.open(digest, trust, even_withdrawn=True)
        before = self.signature(digest) or key.sign(digest)
        # The signature last: what a crash left half done is still found as one of the old key's.
        if found.origin is not None and found.origin.signer != key.key_id:
            sealed = _read(found.path / provenance.FILE, f"{digest}/{provenance.FILE}")
            payload, _ = dsse.open_sealed(sealed, f"{digest}/{provenance.FILE}", trust)
            self._replace(found.path / provenance.FILE, dsse.seal(payload, key))
        if before.key_id != key.key_id:
            self._replace(found.path / SIGNATURE, key.sign(digest).to_bytes())
        return found, before

    def attest(
        self, digest: str, key: signing.SigningKey, trust: signing.TrustedKeys, build: provenance.Build
    ) -> Bundle:
        """Say of a bundle that has no provenance how it came to be here: its every byte was verified and looked through by now.

        Its digest stays. The same again is a no-op, and goes on where a crash left one of the two files, with which nobody opens it.
        Errors: those of :meth:`open`, but for the builder's; Conflict if it has provenance of another builder.
        """
        withdrawn.check(self.root, digest)
        path = self.root / digest.removeprefix("sha256:")
        if _HEX.fullmatch(path.name) and not os.path.lexists(path / provenance.FILE):
            (path / openssf.FILE).unlink(missing_ok=True)
        found = self.open(digest, trust, even_withdrawn=True)
        if found.origin is None:
            files = _attested(digest, found.manifest, key, build)
            for name in (openssf.FILE, provenance.FILE):
                self._replace(found.path / name, files[name])
        elif found.origin.builder != build.builder:
            raise errors.Conflict(
                f"bundle `{digest}` says already how it was built, by `{found.origin.builder}`; there is nothing to vouch for",
                resource="bundle",
                name=digest,
            )
        return self.open(digest, trust, even_withdrawn=True)

    def _replace(self, path: Path, content: bytes) -> None:
        """In one step. The new file is written beside the bundles: within one it would be a file too many."""
        fresh = self.root / f".signing-{secrets.token_hex(8)}"
        try:
            with fresh.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            fresh.chmod(0o444)
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)
        durable.sync_folder(path.parent)

    def open(self, digest: str, trust: signing.TrustedKeys, *, even_withdrawn: bool = False) -> Bundle:
        """The bundle, after every byte of it was verified. `even_withdrawn`: for a look at it, and not for use; its builder is
        not asked for then, either.

        Errors: InvalidRequest for no digest; NotFound with close names; CorruptArtifact for a changed, missing or
        extra file, a link, or a signature that does not verify; PolicyDenied if the signer or the builder is not trusted, a
        file was not scanned, or the bundle was withdrawn.
        """
        name = digest.removeprefix("sha256:")
        if not _HEX.fullmatch(name) or name == digest:
            raise errors.InvalidRequest(
                f"`{digest}` is no bundle digest; expected `sha256:` and 64 hex digits", field="digest"
            )
        path = self.root / name
        if not os.path.lexists(path):
            raise _not_found("bundle", digest, self.list())
        if not even_withdrawn:
            withdrawn.check(self.root, digest)
        opened = _verify(path, digest, trust)
        if not even_withdrawn:
            provenance.require(opened.origin, opened.subject, trust.builders)
        return opened

    def list(self) -> tuple[str, ...]:
        """The digests of all stored bundles, sorted; what is being written is not among them."""
        return tuple(f"sha256:{folder.name}" for folder in self.folders())

    def folders(self) -> tuple[Path, ...]:
        """Those of all stored bundles, whatever is in them, sorted."""
        if not self.root.is_dir():
            return ()
        return tuple(sorted(p for p in self.root.iterdir() if _HEX.fullmatch(p.name)))

    def _publish(self, files: Mapping[str, bytes], final: Path) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        temporary = self.root / f".writing-{secrets.token_hex(8)}"
        try:
            for name, data in files.items():
                path = temporary / name
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                path.chmod(0o444)
            for folder in (*(p for p in temporary.rglob("*") if p.is_dir()), temporary):
                durable.sync_folder(folder)
            try:
                temporary.rename(final)
            except OSError:
                # Another process may have published the same contents: the caller verifies what is there.
                if not final.exists():
                    raise
            durable.sync_folder(self.root)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def check_listing(digest: str, manifest: bytes, sizes: Mapping[str, int]) -> None:
    """Before a bundle is brought from elsewhere: what lies there, in bytes by name, is what a manifest of that digest lists.

    Errors: CorruptArtifact.
    """
    if (got := canonical.digest_bytes(manifest)) != digest:
        raise _corrupt(f"{digest}/{MANIFEST}", digest, got)
    listed = {name: entry.bytes for name, entry in _parse(manifest, digest).files.items()}
    for name, size in sizes.items():
        if name in listed:
            if size != listed[name]:
                raise _corrupt(f"{digest}/{name}", f"{listed[name]} bytes", f"{size} bytes")
        elif name not in UNLISTED:
            raise _corrupt(digest, f"files {sorted(listed)}", f"a file `{name}` more")
        elif size > UNLISTED_BYTES:
            raise _corrupt(f"{digest}/{name}", f"at most {UNLISTED_BYTES} bytes", f"{size} bytes")


def _verify(path: Path, digest: str, trust: signing.TrustedKeys | None = None) -> Bundle:
    if path.is_symlink() or not path.is_dir():
        raise _corrupt(digest, "a folder", "a link or a file")
    found = set(_regular_files(path, digest))
    for name in (MANIFEST, SIGNATURE):
        if name not in found:
            raise _corrupt(f"{digest}/{name}", "the file", "no file")
    manifest_bytes = _read(path / MANIFEST, f"{digest}/{MANIFEST}")
    if (got := canonical.digest_bytes(manifest_bytes)) != digest:
        raise _corrupt(f"{digest}/{MANIFEST}", digest, got)
    signature = signing.Signature.from_bytes(_read(path / SIGNATURE, f"{digest}/{SIGNATURE}"), digest)
    # The signature comes before any parsing of what it covers.
    if trust is not None:
        trust.verify(digest, signature)
    manifest = _parse(manifest_bytes, digest)
    attested = bool(found & _ATTESTED)
    listed = set(manifest.files) | {MANIFEST, SIGNATURE} | (_ATTESTED if attested else set())
    if found != listed:
        difference = sorted(found ^ listed)
        raise _corrupt(digest, f"files {sorted(listed)}", f"missing or extra {difference}")
    for name, entry in manifest.files.items():
        if pickles.is_pickle(_read_verified(path, name, entry)):
            raise _corrupt(f"{digest}/{name}", "no pickle, which runs code when it is read", "a pickle")
    return Bundle(
        path=path,
        digest=digest,
        manifest=manifest,
        signer=signature.key_id,
        origin=_origin(path, digest, manifest, trust) if attested else None,
    )


def _subject(digest: str, manifest: Manifest) -> provenance.Subject:
    files = {name: entry.digest for name, entry in manifest.files.items()}
    return provenance.Subject(manifest.name, digest, files)


def _attested(
    digest: str, manifest: Manifest, key: signing.SigningKey, build: provenance.Build
) -> dict[str, bytes]:
    """`contents.files()` has looked through every file by now, or refused it."""
    subject = _subject(digest, manifest)
    return {
        provenance.FILE: provenance.seal(build, subject, provenance.Scan("mainspring.pickles", "1"), key),
        openssf.FILE: openssf.sign(
            digest.removeprefix("sha256:"), {**subject.files, MANIFEST: digest}, _NOT_COVERED, key
        ),
    }


def _origin(
    path: Path, digest: str, manifest: Manifest, trust: signing.TrustedKeys | None
) -> provenance.Provenance:
    subject = _subject(digest, manifest)
    artifact = f"{digest}/{provenance.FILE}"
    opened = provenance.open_sealed(_read(path / provenance.FILE, artifact), subject, trust)
    artifact = f"{digest}/{openssf.FILE}"
    signed = _read(path / openssf.FILE, artifact)
    openssf.verify(
        signed,
        digest.removeprefix("sha256:"),
        {**subject.files, MANIFEST: digest},
        _NOT_COVERED,
        opened.openssf_key,
        artifact,
    )
    return opened


def _parse(data: bytes, digest: str) -> Manifest:
    if not manifests.is_canonical(data):
        raise _corrupt(f"{digest}/{MANIFEST}", "canonical JSON", "another layout")
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        raise _corrupt(f"{digest}/{MANIFEST}", "a manifest of schema version 1", str(error)) from error
    if missing := [n for n in manifests.required(manifest.kind) if n not in manifest.files]:
        raise _corrupt(digest, f"files {list(manifests.required(manifest.kind))}", f"no {missing}")
    if unsafe := [n for n in manifest.files if not manifests.is_safe(n) or n in manifests.UNLISTED]:
        raise _corrupt(digest, "relative paths inside the bundle", str(unsafe))
    if manifest.files[PLAN].digest != manifest.plan_digest:
        raise _corrupt(f"{digest}/{PLAN}", manifest.plan_digest, manifest.files[PLAN].digest)
    return manifest


def _regular_files(path: Path, digest: str) -> Iterator[str]:
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            item = Path(folder, name)
            relative = item.relative_to(path).as_posix()
            mode = item.lstat().st_mode
            if stat.S_ISREG(mode):
                yield relative
            elif not stat.S_ISDIR(mode):
                raise _corrupt(f"{digest}/{relative}", "a regular file", "a link or special file")
            elif not any(item.iterdir()):
                raise _corrupt(f"{digest}/{relative}", "no empty folder", "an empty folder")


def _read(path: Path, artifact: str) -> bytes:
    try:
        # O_NOFOLLOW: the file must not have become a link since it was looked at.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
            return file.read()
    except OSError as error:
        raise _corrupt(artifact, "a readable regular file", error.strerror or repr(error)) from error


def _read_verified(root: Path, name: str, entry: FileEntry) -> bytes:
    data = _read(root / name, f"sha256:{root.name}/{name}")
    got = canonical.digest_bytes(data)
    if len(data) != entry.bytes or got != entry.digest:
        raise _corrupt(f"sha256:{root.name}/{name}", entry.digest, got)
    return data


def _corrupt(artifact: str, expected: str, got: str) -> errors.CorruptArtifact:
    return errors.CorruptArtifact(
        f"`{artifact}` is damaged: expected {expected}, got {got}; fetch or write the bundle again",
        artifact=artifact,
        expected=expected,
        got=got,
    )


def _not_found(resource: str, name: str, known: tuple[str, ...]) -> errors.NotFound:
    close = tuple(difflib.get_close_matches(name, known, n=3))
    return errors.NotFound(
        f"no {resource} `{name}`; "
        + (f"did you mean `{close[0]}`" if close else f"{len(known)} are there, none with a close name"),
        resource=resource,
        name=name,
        did_you_mean=close,
    )
