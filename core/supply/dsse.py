"""DSSE envelopes: a payload, what kind it is, and one Ed25519 signature over both.

It is the form in which in-toto statements travel, so that tools of others can check ours. An envelope is canonical JSON and is
taken in that form only: no byte of it can change unseen.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Final

from mainspring.core import canonical, errors
from mainspring.core.models import signing

#: in-toto's statements, the only payload that is sealed here.
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"


def pae(payload: bytes, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """DSSE's pre-authentication encoding: what a signature covers (protocol version 1.0)."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def seal(payload: bytes, key: signing.SigningKey) -> bytes:
    """The envelope of a payload, signed by `key`. The same again gives the same bytes."""
    return _envelope(payload, key.key_id, key.sign_message(pae(payload)))


def open_sealed(data: bytes, artifact: str, trust: signing.TrustedKeys | None) -> tuple[bytes, str]:
    """The payload and the id of its signer. `trust` None: the signature is not looked at.

    Errors: CorruptArtifact for another form, or a signature that does not verify; PolicyDenied for a signer that is not trusted.
    """
    try:
        fields = json.loads(data)
        (only,) = fields["signatures"]
        payload = base64.b64decode(fields["payload"], validate=True)
        key_id, signature = str(only["keyid"]), base64.b64decode(only["sig"], validate=True)
    except (KeyError, TypeError, ValueError, RecursionError, binascii.Error) as error:
        raise _malformed(artifact, repr(error)) from error
    if _envelope(payload, key_id, signature) != data:
        raise _malformed(artifact, "other fields, payload type or layout")
    if trust is not None:
        trust.verify_message(artifact, pae(payload), signing.Signature(key_id, signature))
    return payload, key_id


def _envelope(payload: bytes, key_id: str, signature: bytes) -> bytes:
    return canonical.dumps(
        {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"keyid": key_id, "sig": base64.b64encode(signature).decode()}],
        }
    )


def _malformed(artifact: str, why: str) -> errors.CorruptArtifact:
    return errors.CorruptArtifact(
        f"`{artifact}` is no DSSE envelope of one in-toto statement ({why}); fetch it again from where it was written",
        artifact=artifact,
        expected="canonical JSON of a DSSE envelope",
        got=why,
    )
