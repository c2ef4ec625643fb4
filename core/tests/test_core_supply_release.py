"""Releases: what is written verifies, and nothing else does."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from mainspring.core import canonical, errors
from mainspring.core.models import signing
from mainspring.core.supply import dsse, release

COMMIT = "a" * 40
FILES = {"mainspring-1.2.3-py3-none-any.whl": b"wheel", "CHANGES.md": b"## 1.2.3\n", "contracts.zip": b"zip"}
AT = datetime(2026, 11, 29, tzinfo=UTC)


@pytest.fixture
def key(tmp_path: Path) -> signing.SigningKey:
    return signing.ensure_key(tmp_path / "release.key")


def trust(*keys: signing.SigningKey) -> signing.TrustedKeys:
    return signing.TrustedKeys([ed25519.Ed25519PublicKey.from_public_bytes(k.public_bytes) for k in keys])


@pytest.fixture
def folder(tmp_path: Path, key: signing.SigningKey) -> Path:
    made = tmp_path / "mainspring-1.2.3"
    release.write(made, FILES, key, version="1.2.3", commit=COMMIT, started_at=AT, finished_at=AT)
    return made


def test_what_is_written_verifies(folder: Path, key: signing.SigningKey) -> None:
    found = release.verify(folder, trust(key))
    assert (found.version, found.commit, found.signer) == ("1.2.3", COMMIT, key.key_id)
    assert set(found.files) == {*FILES, release.SUMS}
    sums = dict(line.split("  ")[::-1] for line in (folder / release.SUMS).read_text().splitlines())
    assert sums == {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()}
    assert list(folder.parent.glob(".mainspring*")) == [], "nothing half is left"


def add(folder: Path) -> None:
    (folder / "setup.sh").write_text("curl")


def link(folder: Path) -> None:
    (folder / "CHANGES.md").rename(folder.parent / "elsewhere")
    (folder / "CHANGES.md").symlink_to(folder.parent / "elsewhere")


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (add, "setup.sh"),
        (link, "CHANGES.md"),
        (lambda folder: (folder / "contracts.zip").unlink(), "contracts.zip"),
        (lambda folder: (folder / release.SUMS).write_bytes(b""), release.SUMS),
        (
            lambda folder: (folder / "mainspring-1.2.3-py3-none-any.whl").write_bytes(b"whee!"),
            "mainspring-1.2.3",
        ),
    ],
)
def test_any_change_is_found(
    folder: Path, key: signing.SigningKey, change: Callable[[Path], object], names: str
) -> None:
    change(folder)
    with pytest.raises(errors.CorruptArtifact, match=names):
        release.verify(folder, trust(key))


def test_every_byte_of_the_statement_counts(folder: Path, key: signing.SigningKey) -> None:
    path = folder / release.PROVENANCE
    whole = path.read_bytes()
    for at in range(0, len(whole), 37):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises((errors.CorruptArtifact, errors.PolicyDenied)):
            release.verify(folder, trust(key))


def test_only_who_is_trusted_releases(folder: Path, tmp_path: Path) -> None:
    stranger = signing.ensure_key(tmp_path / "stranger.key")
    with pytest.raises(errors.PolicyDenied):
        release.verify(folder, trust(stranger))
    with pytest.raises(errors.NotFound, match=r"provenance\.intoto\.json"):
        release.verify(tmp_path, trust(stranger))


def test_a_statement_about_a_bundle_is_none_about_a_release(folder: Path, key: signing.SigningKey) -> None:
    payload, _signer = dsse.open_sealed((folder / release.PROVENANCE).read_bytes(), "x", None)
    other = json.loads(payload)
    other["predicate"]["buildDefinition"]["buildType"] = "urn:mainspring:build:library"
    (folder / release.PROVENANCE).write_bytes(dsse.seal(canonical.dumps(other), key))
    with pytest.raises(errors.CorruptArtifact, match="signed statement"):
        release.verify(folder, trust(key))


@pytest.mark.parametrize(
    ("files", "commit", "error"),
    [
        ({"a/b": b""}, COMMIT, errors.InvalidRequest),
        ({release.SUMS: b""}, COMMIT, errors.InvalidRequest),
        (FILES, "HEAD", errors.InvalidRequest),
    ],
)
def test_what_is_no_release_is_not_written(
    tmp_path: Path, key: signing.SigningKey, files: dict[str, bytes], commit: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        release.write(tmp_path / "r", files, key, version="1", commit=commit, started_at=AT, finished_at=AT)
    assert not (tmp_path / "r").exists()


def test_a_release_is_made_once(folder: Path, key: signing.SigningKey) -> None:
    before = (folder / release.PROVENANCE).read_bytes()
    with pytest.raises(errors.Conflict, match="made once"):
        release.write(folder, FILES, key, version="1.2.3", commit=COMMIT, started_at=AT, finished_at=AT)
    assert (folder / release.PROVENANCE).read_bytes() == before


def test_packs_are_of_no_time(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("b.json", "a.json"):
        (tmp_path / "in" / name).write_text(name)
    files = list((tmp_path / "in").iterdir())
    packed = release.pack(tmp_path / "in", files)
    assert packed == release.pack(tmp_path / "in", reversed(files))
    (tmp_path / "out.zip").write_bytes(packed)
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert [(i.filename, i.date_time[0]) for i in archive.infolist()] == [
            ("a.json", 1980),
            ("b.json", 1980),
        ]


def test_changes_are_those_of_the_version() -> None:
    text = "# Changelog\n\n## Unreleased\n\n- new\n\n## [1.2.0] - 2026-11-01\n\n- two\n\n## 1.1.0\n- one\n"
    assert release.changes_of(text, "1.2.0") == "## [1.2.0] - 2026-11-01\n\n- two\n"
    assert release.changes_of(text, "1.1.0") == "## 1.1.0\n- one\n"
    with pytest.raises(errors.NotFound, match="Unreleased"):
        release.changes_of(text, "1.3.0")
