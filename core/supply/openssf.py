"""The signature that OpenSSF's `model_signing verify` takes, beside ours: `model.sig`, a Sigstore bundle over a P-256 key.

`model_signing` takes elliptic curve keys of NIST's only, and ours are Ed25519: the P-256 key is derived from ours, so there is no
second secret to keep, to mount or to rotate. Its public half is part of the signed provenance, and lies beside the trusted keys:

    model_signing verify key BUNDLE --signature BUNDLE/model.sig --public_key TRUSTED/<key id>.openssf.pem

Written by hand, 40 lines of JSON, because the package brings Sigstore's whole client into every process that signs; the package is
what the tests ask. Signing imports elliptic curves when it is first called.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Final

from mainspring.core import canonical, errors
from mainspring.core.models import signing
from mainspring.core.supply import dsse

FILE: Final = "model.sig"

_MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
_STATEMENT: Final = "https://in-toto.io/Statement/v1"
_PREDICATE: Final = "https://model_signing/signature/v1.0"


def sign(name: str, files: Mapping[str, str], ignored: tuple[str, ...], key: signing.SigningKey) -> bytes:
    """`files`: relative path to `sha256:<hex>`; `ignored`: files of the folder that are not covered, beside this one."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    payload = _payload(name, files, ignored)
    signature = key.p256().sign(dsse.pae(payload), ec.ECDSA(hashes.SHA256()))
    return _bundle(payload, signature, key.p256_public_pem())


def verify(
    data: bytes,
    name: str,
    files: Mapping[str, str],
    ignored: tuple[str, ...],
    public_pem: bytes,
    artifact: str,
) -> None:
    """Errors: CorruptArtifact unless it is exactly what :func:`sign` writes of these files by the key of `public_pem`."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    payload = _payload(name, files, ignored)
    try:
        (only,) = json.loads(data)["dsseEnvelope"]["signatures"]
        signature = base64.b64decode(only["sig"], validate=True)
        public = serialization.load_pem_public_key(public_pem)
        if not isinstance(public, ec.EllipticCurvePublicKey):
            raise ValueError("its key is of no elliptic curve")
        public.verify(signature, dsse.pae(payload), ec.ECDSA(hashes.SHA256()))
    except (KeyError, TypeError, ValueError, RecursionError, InvalidSignature) as error:
        raise _damaged(artifact, repr(error)) from error
    if _bundle(payload, signature, public_pem) != data:
        raise _damaged(artifact, "other fields or another layout")


def _payload(name: str, files: Mapping[str, str], ignored: tuple[str, ...]) -> bytes:
    resources = [
        {"name": path, "algorithm": "sha256", "digest": files[path].removeprefix("sha256:")}
        for path in sorted(files, key=PurePosixPath)
    ]
    root = hashlib.sha256(b"".join(bytes.fromhex(r["digest"]) for r in resources)).hexdigest()
    return canonical.dumps(
        {
            "_type": _STATEMENT,
            "subject": [{"name": name, "digest": {"sha256": root}}],
            "predicateType": _PREDICATE,
            "predicate": {
                "serialization": {
                    "method": "files",
                    "hash_type": "sha256",
                    "allow_symlinks": False,
                    "ignore_paths": sorted((FILE, *ignored)),
                },
                "resources": resources,
            },
        }
    )


def _bundle(payload: bytes, signature: bytes, public_pem: bytes) -> bytes:
    return canonical.dumps(
        {
            "mediaType": _MEDIA_TYPE,
            "verificationMaterial": {
                "publicKey": {"hint": hashlib.sha256(public_pem).hexdigest()},
                "tlogEntries": [],
            },
            "dsseEnvelope": {
                "payload": base64.b64encode(payload).decode(),
                "payloadType": dsse.PAYLOAD_TYPE,
                "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
            },
        }
    )


def _damaged(artifact: str, why: str) -> errors.CorruptArtifact:
    return errors.CorruptArtifact(
        f"`{artifact}` is not the OpenSSF signature of its bundle ({why}); fetch the bundle again from where it was written",
        artifact=artifact,
        expected="a signature over every listed file",
        got=why,
    )
