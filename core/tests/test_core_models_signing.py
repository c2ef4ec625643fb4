"""Keys are private files, and a signature is for bundles only."""

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from mainspring.core import canonical, errors
from mainspring.core.models import signing

DIGEST = canonical.digest("a bundle")


def test_key_file_is_private_stable_and_unshown(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "k.pem"
    key = signing.ensure_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert signing.ensure_key(path).key_id == key.key_id
    assert [p.name for p in path.parent.iterdir()] == ["k.pem"]
    assert repr(key) == f"SigningKey({key.key_id})"


def test_key_id_is_the_digest_of_the_public_bytes(tmp_path: Path) -> None:
    private = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))
    assert signing.SigningKey(private).key_id == canonical.digest_bytes(
        private.public_key().public_bytes_raw()
    )


def test_signature_is_bound_to_the_domain(tmp_path: Path) -> None:
    private = ed25519.Ed25519PrivateKey.generate()
    trust = signing.TrustedKeys([private.public_key()])
    key = signing.SigningKey(private)
    trust.verify(DIGEST, key.sign(DIGEST))
    with pytest.raises(errors.CorruptArtifact):
        trust.verify(DIGEST, signing.Signature(key.key_id, private.sign(DIGEST.encode())))
    with pytest.raises(errors.CorruptArtifact):
        trust.verify(canonical.digest("another"), key.sign(DIGEST))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_readable_key_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "k.pem"
    signing.ensure_key(path)
    path.chmod(mode)
    with pytest.raises(errors.Misconfigured, match="expected 0600"):
        signing.ensure_key(path)


def test_absent_or_foreign_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "k.pem"
    with pytest.raises(errors.MissingTool):
        signing.SigningKey.load(path)
    path.touch(mode=0o600)
    with pytest.raises(errors.Misconfigured, match="PEM"):
        signing.SigningKey.load(path)
    path.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    with pytest.raises(errors.Misconfigured, match="not Ed25519"):
        signing.SigningKey.load(path)


def test_trust_directory(tmp_path: Path) -> None:
    keys = [signing.ensure_key(tmp_path / f"{i}.pem") for i in range(2)]
    trusted = tmp_path / "trusted"
    for key in keys:
        assert key.publish(trusted) == key.publish(trusted)
    assert signing.TrustedKeys.load(trusted).key_ids == tuple(sorted(k.key_id for k in keys))
    (trusted / "bad.pub.pem").write_text("no key")
    with pytest.raises(errors.InvalidSettings) as invalid:
        signing.TrustedKeys.load(trusted)
    assert invalid.value.problems == ("bad.pub.pem",)


def test_signature_has_one_form() -> None:
    key = signing.SigningKey(ed25519.Ed25519PrivateKey.generate())
    signature = key.sign(DIGEST)
    data = signature.to_bytes()
    assert signing.Signature.from_bytes(data, DIGEST) == signature
    for bad in (
        b"",
        b"[]",
        b"{}",
        b"\xff",
        data + b"\n",
        data.replace(b"ed25519", b"none"),
        data.replace(b'"version":1', b'"version":2'),
        data.replace(b'"version":1', b'"version":1,"x":1'),
    ):
        with pytest.raises(errors.CorruptArtifact):
            signing.Signature.from_bytes(bad, DIGEST)
