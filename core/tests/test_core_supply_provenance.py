"""A bundle that does not say how it came about, or says it by the wrong mouth, is not opened for use."""

import base64
import dataclasses
import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from bundle_contents import CONTENTS
from cryptography.hazmat.primitives.asymmetric import ed25519
from securesystemslib import dsse as ssl_dsse
from securesystemslib import exceptions as ssl_errors
from securesystemslib import signer as ssl_signer

from mainspring.core import canonical, errors
from mainspring.core.contracts import prediction
from mainspring.core.models import bundle, signing, withdrawn
from mainspring.core.supply import builders, dsse, openssf, provenance

BUILD = provenance.Build(
    builder=builders.TRAIN,
    build_type="urn:mainspring:build:TrainModel.v1",
    version="1.2.3",
    invocation="run_1/abc",
    parameters={"epochs": 3, "seed": 5},
    materials=(
        provenance.Material("training-set", {"sha256": "a" * 64}),
        provenance.Material("mainspring", {"gitCommit": "b" * 40}),
    ),
    started_at=datetime(2026, 11, 1, 8, 0, tzinfo=timezone(timedelta(hours=2))),
    finished_at=datetime(2026, 11, 1, 7, 30, tzinfo=UTC),
    scans=(provenance.Scan("picklescan", "1.0.5"),),
)


class Home:
    def __init__(self, directory: Path) -> None:
        self.key = signing.ensure_key(directory / "keys" / "signer.pem")
        self.trusted = directory / "trusted"
        self.key.publish(self.trusted)
        self.store = bundle.BundleStore(directory / "bundles")

    def open(self, digest: str) -> bundle.Bundle:
        return self.store.open(digest, signing.TrustedKeys.load(self.trusted))

    def denied(self, digest: str) -> str:
        with pytest.raises(errors.PolicyDenied) as refused:
            self.open(digest)
        return refused.value.rule_id

    def seal(self, written: bundle.Bundle, change: Callable[[dict[str, Any]], object]) -> None:
        """What the key's owner would sign of a statement that `change` changed."""
        path = written.path / provenance.FILE
        statement = json.loads(base64.b64decode(json.loads(path.read_bytes())["payload"]))
        change(statement)
        replace(path, dsse.seal(canonical.dumps(statement), self.key))


def replace(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)
    path.write_bytes(data)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_it_says_who_built_it_from_what(home: Home) -> None:
    opened = home.open(home.store.write(CONTENTS, home.key, BUILD).digest)
    origin = opened.origin
    assert origin is not None
    assert (origin.builder, origin.build_type, origin.invocation) == (
        builders.TRAIN,
        BUILD.build_type,
        "run_1/abc",
    )
    assert (origin.started_at, origin.finished_at) == ("2026-11-01T06:00:00Z", "2026-11-01T07:30:00Z")
    assert (origin.materials, dict(origin.parameters)) == (BUILD.materials, {"epochs": 3, "seed": 5})
    assert origin.scanned == frozenset(opened.manifest.files)
    assert origin.scanners == ("mainspring.pickles 1", "picklescan 1.0.5")
    assert origin.signer == opened.signer == home.key.key_id


def test_others_read_it_as_what_the_standards_say(home: Home) -> None:
    """With nothing of ours: DSSE's encoding, an in-toto statement v1, SLSA's provenance v1."""
    written = home.store.write(CONTENTS, home.key, BUILD)
    envelope = json.loads((written.path / provenance.FILE).read_bytes())
    payload = base64.b64decode(envelope["payload"])
    signed = (
        f"DSSEv1 {len(envelope['payloadType'])} {envelope['payloadType']} {len(payload)} ".encode() + payload
    )
    public = ed25519.Ed25519PublicKey.from_public_bytes(home.key.public_bytes)
    public.verify(base64.b64decode(envelope["signatures"][0]["sig"]), signed)
    statement = json.loads(payload)
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    assert statement["subject"] == [
        {"name": "flight-delay", "digest": {"sha256": written.digest.removeprefix("sha256:")}}
    ]
    assert canonical.digest_file(written.path / "manifest.json") == written.digest
    predicate = statement["predicate"]
    assert predicate["buildDefinition"]["resolvedDependencies"][1] == {
        "name": "mainspring",
        "digest": {"gitCommit": "b" * 40},
    }
    assert predicate["runDetails"]["builder"] == {"id": builders.TRAIN, "version": {"mainspring": "1.2.3"}}


def test_the_library_of_in_toto_s_makers_verifies_it(home: Home) -> None:
    written = home.store.write(CONTENTS, home.key, BUILD)
    data = (written.path / provenance.FILE).read_bytes()
    theirs = ssl_signer.SSlibKey(
        home.key.key_id, "ed25519", "ed25519", {"public": home.key.public_bytes.hex()}
    )
    assert list(ssl_dsse.Envelope.from_dict(json.loads(data)).verify([theirs], 1)) == [home.key.key_id]
    changed = json.loads(data)
    changed["payload"] = base64.b64encode(base64.b64decode(changed["payload"]) + b" ").decode()
    with pytest.raises(ssl_errors.VerificationError):
        ssl_dsse.Envelope.from_dict(changed).verify([theirs], 1)


def test_the_first_provenance_stays_and_another_builder_conflicts(home: Home) -> None:
    written = home.store.write(CONTENTS, home.key, BUILD)
    later = dataclasses.replace(BUILD, invocation="run_1/later")
    assert home.store.write(CONTENTS, home.key, later) == written
    with pytest.raises(errors.Conflict, match="built by `urn:mainspring:builder:train`"):
        home.store.write(CONTENTS, home.key)
    assert home.open(written.digest) == written


def test_without_one_a_bundle_opens_only_where_that_is_written_down(home: Home) -> None:
    written = home.store.write(CONTENTS, home.key)
    (written.path / provenance.FILE).unlink()
    with pytest.raises(errors.CorruptArtifact, match="missing or extra"):
        home.open(written.digest)
    (written.path / openssf.FILE).unlink()
    assert home.denied(written.digest) == "bundle.provenance"
    (home.trusted / builders.FILE).write_text("train\nunattested  # those of before\n")
    assert home.open(written.digest).origin is None
    looked_at = home.store.open(written.digest, signing.TrustedKeys.load(home.trusted), even_withdrawn=True)
    assert looked_at.origin is None


VOUCHED = provenance.Build(
    builder=builders.ATTESTED, parameters={"attested_by": "ann", "reason": "trained in March"}
)


@pytest.fixture
def old(home: Home) -> bundle.Bundle:
    """As a release before provenance wrote it."""
    written = home.store.write(CONTENTS, home.key)
    for name in (provenance.FILE, openssf.FILE):
        (written.path / name).unlink()
    return written


def attest(home: Home, digest: str, key: signing.SigningKey | None = None) -> bundle.Bundle:
    return home.store.attest(digest, key or home.key, signing.TrustedKeys.load(home.trusted), VOUCHED)


def test_somebody_may_vouch_for_one_without(
    home: Home, old: bundle.Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as m:
        replace_file = bundle.BundleStore._replace

        def dies(self: bundle.BundleStore, path: Path, content: bytes) -> None:
            if path.name == provenance.FILE:
                raise KeyboardInterrupt
            replace_file(self, path, content)

        m.setattr(bundle.BundleStore, "_replace", dies)
        with pytest.raises(KeyboardInterrupt):
            attest(home, old.digest)
    with pytest.raises(errors.CorruptArtifact, match="missing or extra"):
        home.open(old.digest)
    attested = attest(home, old.digest)
    assert attested.digest == old.digest and attested.origin is not None
    assert attested.origin.parameters == {"attested_by": "ann", "reason": "trained in March"}
    assert attested.origin.scanned == set(attested.manifest.files)
    assert home.open(old.digest) == attested == attest(home, old.digest)
    (home.trusted / builders.FILE).write_text("train\nimport\n")
    assert home.denied(old.digest) == "bundle.builder"


def test_nobody_vouches_for_what_is_known_changed_withdrawn_or_by_a_stranger(
    home: Home, old: bundle.Bundle, tmp_path: Path
) -> None:
    built = home.store.write(dataclasses.replace(CONTENTS, card="# Another\n"), home.key, BUILD)
    with pytest.raises(errors.Conflict, match="says already how it was built"):
        attest(home, built.digest)
    trust = signing.TrustedKeys.load(tmp_path / "nobody")
    with pytest.raises(errors.PolicyDenied):
        home.store.attest(old.digest, home.key, trust, VOUCHED)
    gone = prediction.BundleWithdrawal(
        digest=old.digest, reason="wrong labels", by="ann", at=datetime(2026, 11, 1, tzinfo=UTC)
    )
    withdrawn.mark(home.store.root, gone)
    with pytest.raises(errors.PolicyDenied):
        attest(home, old.digest)
    shutil.rmtree(home.store.root)
    with pytest.raises(errors.NotFound):
        attest(home, old.digest)
    changed = home.store.write(CONTENTS, home.key)
    replace(changed.path / bundle.CARD, b"# Changed\n")
    with pytest.raises(errors.CorruptArtifact):
        attest(home, changed.digest)


@pytest.mark.parametrize(
    ("lines", "rule"),
    [
        ("library\n", ""),
        ("# ours\n train \n\nlibrary # by hand\n", ""),
        ("urn:mainspring:builder:library\n", ""),
        ("train\nimport\n", "bundle.builder"),
        ("https://ci.example/builder@v1\n", "bundle.builder"),
        ("", "bundle.builder"),
        ("# nobody\n", "bundle.builder"),
    ],
)
def test_who_is_believed_lies_beside_the_keys(home: Home, lines: str, rule: str) -> None:
    digest = home.store.write(CONTENTS, home.key).digest
    (home.trusted / builders.FILE).write_text(lines)
    if rule:
        assert home.denied(digest) == rule
    else:
        assert home.open(digest).digest == digest


def test_a_line_that_is_no_builder_believes_nobody(home: Home) -> None:
    digest = home.store.write(CONTENTS, home.key).digest
    (home.trusted / builders.FILE).write_text("library\neverybody\n")
    with pytest.raises(errors.InvalidSettings, match="everybody"):
        home.open(digest)


def test_another_builder_s_word_counts_where_it_is_believed(home: Home) -> None:
    theirs = dataclasses.replace(BUILD, builder="https://ci.example/builder@v1")
    digest = home.store.write(CONTENTS, home.key, theirs).digest
    assert home.denied(digest) == "bundle.builder"
    (home.trusted / builders.FILE).write_text("https://ci.example/builder@v1\n")
    opened = home.open(digest)
    assert opened.origin is not None and opened.origin.builder == "https://ci.example/builder@v1"


def test_a_file_that_nobody_looked_through_is_refused(home: Home) -> None:
    """The key's owner wrote it by hand, around the store that scans."""
    written = home.store.write(CONTENTS, home.key)

    def forget(statement: dict[str, Any]) -> None:
        scan = statement["predicate"]["runDetails"]["byproducts"][0]
        found = json.loads(base64.b64decode(scan["content"]))
        found["files"].remove("weights.safetensors")
        scan["content"] = base64.b64encode(canonical.dumps(found)).decode()

    home.seal(written, forget)
    assert home.denied(written.digest) == "bundle.scanned"


def test_provenance_of_another_bundle_is_none(home: Home) -> None:
    written = home.store.write(CONTENTS, home.key)
    other = home.store.write(dataclasses.replace(CONTENTS, card="other"), home.key, BUILD)
    replace(written.path / provenance.FILE, (other.path / provenance.FILE).read_bytes())
    with pytest.raises(errors.CorruptArtifact, match="SLSA provenance of"):
        home.open(written.digest)


def test_provenance_by_a_stranger_is_none(home: Home, tmp_path: Path) -> None:
    """He signs that the platform trained it, and cannot sign as the platform."""
    written = home.store.write(CONTENTS, home.key)
    stranger = Home(tmp_path / "elsewhere")
    theirs = stranger.store.write(CONTENTS, stranger.key, BUILD)
    assert theirs.digest == written.digest
    for name in (provenance.FILE, openssf.FILE):
        replace(written.path / name, (theirs.path / name).read_bytes())
    assert home.denied(written.digest) == "bundle.trusted-signer"


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.update(predicateType="https://slsa.dev/provenance/v0.2"),
        lambda s: s.update(_type="https://in-toto.io/Statement/v0.1"),
        lambda s: s["subject"].append(s["subject"][0]),
        lambda s: s["subject"][0].update(name="other"),
        lambda s: s["predicate"]["runDetails"].pop("builder"),
        lambda s: s["predicate"]["runDetails"].update(byproducts=[]),
        lambda s: s["predicate"]["buildDefinition"].update(externalParameters=3),
        lambda s: s["predicate"]["buildDefinition"]["resolvedDependencies"][0].pop("digest"),
        lambda s: s.pop("predicate"),
        lambda s: s["predicate"]["runDetails"]["byproducts"][0].update(content="!"),
    ],
)
def test_a_signed_statement_of_another_form_is_refused(
    home: Home, change: Callable[[dict[str, Any]], object]
) -> None:
    written = home.store.write(CONTENTS, home.key, BUILD)
    home.seal(written, change)
    with pytest.raises(errors.CorruptArtifact):
        home.open(written.digest)
    home.seal(home.store.write(dataclasses.replace(CONTENTS, card="x"), home.key), lambda s: None)


@pytest.mark.parametrize(
    "change",
    [
        lambda e: e.update(payloadType="application/json"),
        lambda e: e.update(signatures=[]),
        lambda e: e["signatures"].append(e["signatures"][0]),
        lambda e: e.update(extra=1),
        lambda e: e.update(payload=e["payload"] + "\n"),
        lambda e: e.pop("payload"),
        lambda e: e["signatures"][0].update(sig="AAAA"),
    ],
)
def test_an_envelope_of_another_form_is_refused(
    home: Home, change: Callable[[dict[str, Any]], object]
) -> None:
    written = home.store.write(CONTENTS, home.key)
    path = written.path / provenance.FILE
    envelope = json.loads(path.read_bytes())
    change(envelope)
    replace(path, canonical.dumps(envelope))
    with pytest.raises(errors.CorruptArtifact):
        home.open(written.digest)


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"{}", b"[" * 100_000, b"\xff", b'{"signatures":[1]}'])
def test_what_is_no_envelope_is_refused(home: Home, data: bytes) -> None:
    written = home.store.write(CONTENTS, home.key)
    for name in (provenance.FILE, openssf.FILE):
        good = (written.path / name).read_bytes()
        replace(written.path / name, data)
        with pytest.raises(errors.CorruptArtifact):
            home.open(written.digest)
        replace(written.path / name, good)
    assert home.open(written.digest) == written


def test_written_to_the_store_s_folder_by_whoever_may_is_not_enough(home: Home, tmp_path: Path) -> None:
    """What a copy into the bucket or the folder of bundles comes to: all there, signed, and by nobody who counts."""
    stranger = Home(tmp_path / "elsewhere")
    theirs = stranger.store.write(dataclasses.replace(CONTENTS, weights=b"evil"), stranger.key, BUILD)
    home.store.root.mkdir()
    shutil.copytree(theirs.path, home.store.root / theirs.path.name)
    assert home.denied(theirs.digest) == "bundle.trusted-signer"
