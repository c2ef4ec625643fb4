"""Who vouches for a bundle: Ed25519 keys in files, and the set of public keys that may be believed.

A signature covers the manifest's digest behind a domain prefix, so a signature made for anything else in the
platform can never be replayed as a bundle's. A key is named by the SHA-256 of its 32 raw public bytes (RFC 8032).
"""

from __future__ import annotations

import json
import os
import re
import secrets
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from mainspring.core import canonical, durable, errors
from mainspring.core.models import withdrawn_keys
from mainspring.core.supply import builders

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

ALGORITHM: Final = "ed25519"
DOMAIN: Final = b"mainspring.bundle.v1\x00"
PUBLIC_SUFFIX: Final = ".pub.pem"
#: The derived P-256 key's, for `model_signing verify`; nothing of ours reads it.
OPENSSF_SUFFIX: Final = ".openssf.pem"
#: The rule that denies what a withdrawn key signed; an unknown key is denied by another.
WITHDRAWN_RULE: Final = "bundle.signer-withdrawn"

_P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_SIGNATURE_HEX: Final = re.compile(r"[0-9a-f]{128}")
_KEY_ID: Final = re.compile(r"sha256:[0-9a-f]{64}")


def _key_id(key: ed25519.Ed25519PublicKey) -> str:
    return canonical.digest_bytes(key.public_bytes_raw())


@dataclass(frozen=True)
class Signature:
    """A signature and the id of the key that made it; `to_bytes` is the content of `signature.json`."""

    key_id: str
    value: bytes

    def to_bytes(self) -> bytes:
        return canonical.dumps(
            {"algorithm": ALGORITHM, "key_id": self.key_id, "signature": self.value.hex(), "version": 1}
        )

    @classmethod
    def from_bytes(cls, data: bytes, artifact: str) -> Self:
        """Exactly the form `to_bytes` writes. Errors: CorruptArtifact for any other."""
        try:
            fields = json.loads(data)
            key_id, value = str(fields["key_id"]), str(fields["signature"])
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise _malformed(artifact, repr(error)) from error
        if not _KEY_ID.fullmatch(key_id) or not _SIGNATURE_HEX.fullmatch(value):
            raise _malformed(artifact, "key id or signature of another form")
        signature = cls(key_id, bytes.fromhex(value))
        if signature.to_bytes() != data:
            raise _malformed(artifact, "other fields, version or layout")
        return signature


def _malformed(artifact: str, why: str) -> errors.CorruptArtifact:
    return errors.CorruptArtifact(
        f"signature of `{artifact}` is malformed ({why}); fetch the bundle again from where it was written",
        artifact=artifact,
        expected=f"canonical JSON of an {ALGORITHM} signature",
        got=why,
    )


class SigningKey:
    """A private key in memory. Immutable, thread-safe; its repr shows the public id only."""

    def __init__(self, private: ed25519.Ed25519PrivateKey) -> None:
        self._private = private
        self.key_id: Final = _key_id(private.public_key())

    def __repr__(self) -> str:
        return f"SigningKey({self.key_id})"

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a PEM file. Errors: MissingTool without one, Misconfigured if others may read it or it is no key."""
        try:
            with path.open("rb") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                data = file.read()
        except FileNotFoundError as error:
            raise errors.MissingTool(
                f"no signing key `{path.name}`; create it with `signing.ensure_key` or mount the secret",
                tool=path.name,
            ) from error
        if mode & 0o077:
            raise errors.Misconfigured(
                f"signing key `{path.name}` has mode {mode:04o}, expected 0600; run `chmod 600` on it and consider it"
                " leaked if others had access"
            )
        try:
            private = serialization.load_pem_private_key(data, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            # The cause may quote key material: the message does not repeat it.
            raise errors.Misconfigured(
                f"signing key `{path.name}` is no readable PEM private key; replace it"
            ) from error
        if not isinstance(private, ed25519.Ed25519PrivateKey):
            raise errors.Misconfigured(f"signing key `{path.name}` is not Ed25519; replace it")
        return cls(private)

    def sign(self, digest: str, *, domain: bytes = DOMAIN) -> Signature:
        """Sign a digest, of a bundle unless `domain` says of what. The same digest gives the same signature."""
        return Signature(self.key_id, self._private.sign(domain + digest.encode()))

    def sign_message(self, message: bytes) -> bytes:
        """Sign a message that says itself what it is of, as DSSE's encoding does (`DSSEv1 ...`): no domain is put before it."""
        return self._private.sign(message)

    @property
    def public_bytes(self) -> bytes:
        """The 32 raw bytes of the public half (RFC 8032)."""
        return self._private.public_key().public_bytes_raw()

    def p256(self) -> ec.EllipticCurvePrivateKey:
        """The P-256 key that belongs to this one, for formats that know no Ed25519: HKDF-SHA256 of the private bytes, 64 bits
        more than the order has (FIPS 186-5, A.2.1). Nothing of this key can be told from it."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        info = b"mainspring.openssf.p256.v1"
        wide = HKDF(hashes.SHA256(), 40, salt=None, info=info).derive(self._private.private_bytes_raw())
        return ec.derive_private_key(int.from_bytes(wide, "big") % (_P256_ORDER - 1) + 1, ec.SECP256R1())

    def p256_public_pem(self) -> bytes:
        return _pem(self.p256().public_key())

    def publish(self, directory: Path) -> Path:
        """Write the public half into a trust directory, named by key id; again is a no-op. A mark that is there stays."""
        directory.mkdir(parents=True, exist_ok=True)
        name = self.key_id.removeprefix("sha256:")
        path = directory / (name + PUBLIC_SUFFIX)
        _replace(directory / (name + OPENSSF_SUFFIX), self.p256_public_pem())
        _replace(path, _pem(self._private.public_key()))
        return path


def _pem(key: ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _replace(path: Path, data: bytes) -> None:
    if path.is_file() and path.read_bytes() == data:
        return  # its age is that of the key
    temporary = path.with_name(f".{secrets.token_hex(8)}")
    temporary.write_bytes(data)
    temporary.replace(path)


def _new_key() -> bytes:
    return ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def ensure_key(path: Path) -> SigningKey:
    """The key in `path`, created with mode 0600 if there is none. Two processes racing get the same key."""
    durable.ensure_secret(path, _new_key)
    return SigningKey.load(path)


class TrustedKeys:
    """The public keys whose signatures are believed, and the builders. Immutable, thread-safe; the empty set believes nobody."""

    def __init__(
        self,
        keys: Iterable[ed25519.Ed25519PublicKey],
        builders: frozenset[str] = builders.KNOWN,
        withdrawn: Mapping[str, str] | None = None,
    ) -> None:
        """`withdrawn`: keys that are not believed, whoever has them, by id, and why."""
        self.builders: Final = builders
        self._withdrawn: Mapping[str, str] = dict(withdrawn or {})
        self._keys: Mapping[str, ed25519.Ed25519PublicKey] = {
            key_id: k for k in keys if (key_id := _key_id(k)) not in self._withdrawn
        }

    @classmethod
    def load(cls, directory: Path, *, even_withdrawn: bool = False) -> Self:
        """Every `*.pub.pem` of a directory that has no mark, and its `builders.txt`; ids come from the keys, not the file names.

        `even_withdrawn`: marks do not count, for who asks what a signature says and not whether to use it.
        Errors: InvalidSettings naming each file that holds no Ed25519 public key, or a line that is no builder. No directory: nobody is trusted.
        """
        # The marks first: one that is made meanwhile is of a key that was trusted when this began.
        withdrawn: dict[str, str] = {}
        for key_id in () if even_withdrawn else withdrawn_keys.marked(directory):
            found = withdrawn_keys.find(directory, key_id)
            withdrawn[key_id] = "" if found is None else found.reason
        keys: list[ed25519.Ed25519PublicKey] = []
        problems: list[str] = []
        for path in sorted(directory.glob("*" + PUBLIC_SUFFIX)):
            try:
                key = serialization.load_pem_public_key(path.read_bytes())
            except (ValueError, UnsupportedAlgorithm):
                problems.append(path.name)
                continue
            if isinstance(key, ed25519.Ed25519PublicKey):
                keys.append(key)
            else:
                problems.append(path.name)
        if problems:
            raise errors.InvalidSettings(
                f"trusted keys {problems} are not Ed25519 public keys in PEM; replace or remove them",
                problems=tuple(problems),
            )
        return cls(keys, builders.read(directory), withdrawn)

    def public_hex(self, key_id: str) -> str:
        """The 32 raw bytes of a key of the set."""
        return self._keys[key_id].public_bytes_raw().hex()

    @property
    def key_ids(self) -> tuple[str, ...]:
        return tuple(sorted(self._keys))

    def verify(self, digest: str, signature: Signature, *, domain: bytes = DOMAIN) -> None:
        """`domain` as in :meth:`SigningKey.sign`. Errors: PolicyDenied for a signer not in the set, CorruptArtifact if a trusted key did not sign this."""
        self._verify(f"bundle `{digest}`", digest, domain + digest.encode(), signature)

    def verify_message(self, artifact: str, message: bytes, signature: Signature) -> None:
        """Of :meth:`SigningKey.sign_message`. Errors: as :meth:`verify`."""
        self._verify(f"`{artifact}`", artifact, message, signature)

    def _verify(self, what: str, artifact: str, message: bytes, signature: Signature) -> None:
        key = self._keys.get(signature.key_id)
        if key is None and signature.key_id in self._withdrawn:
            raise errors.PolicyDenied(
                f"rule `{WITHDRAWN_RULE}` denies it: {what} is signed by `{signature.key_id}`, which was"
                f" withdrawn: {self._withdrawn[signature.key_id]}; sign it again with `mainspring keys vouch`, or deploy"
                " another one",
                rule_id=WITHDRAWN_RULE,
                cause=signature.key_id,
            )
        if key is None:
            raise errors.PolicyDenied(
                f"{what} is signed by `{signature.key_id}`, which is none of {len(self._keys)} trusted keys;"
                " publish that key to the trust directory or sign with a trusted one",
                rule_id="bundle.trusted-signer",
                cause=signature.key_id,
            )
        try:
            key.verify(signature.value, message)
        except InvalidSignature as error:
            raise errors.CorruptArtifact(
                f"signature of {what} does not verify with key `{signature.key_id}`; fetch the bundle again"
                " from where it was written",
                artifact=artifact,
                expected=f"a signature by {signature.key_id}",
                got="another signature",
            ) from error
