"""What proves an erasure: an in-toto statement about the subject's keyed hash, sealed as bundles' provenance is.

It can be checked on any machine with the public keys alone; whose it is, only who has the key for subjects can say.
"""

from __future__ import annotations

import json
from typing import Any, Final

from pydantic import ValidationError

from mainspring.core import canonical, errors
from mainspring.core.contracts.erasure import ErasureCertificate
from mainspring.core.erasure.subjects import SubjectHasher
from mainspring.core.models import signing
from mainspring.core.supply import dsse

__all__ = ["open_sealed", "require_subject", "seal"]

_STATEMENT: Final = "https://in-toto.io/Statement/v1"
_PREDICATE: Final = "urn:mainspring:predicate:erasure:v1"
#: How the digest of the statement's subject was made, as in-toto wants it named.
_ALGORITHM: Final = "hmac-sha256"


def seal(certificate: ErasureCertificate, key: signing.SigningKey) -> bytes:
    """The sealed certificate; the same again gives the same bytes.

    Errors: InvariantViolated for one that leaves rows behind: it proves nothing.
    """
    left = [place.place for place in certificate.places if place.rows_after]
    if left:
        raise errors.InvariantViolated(
            f"rows are left in {left}, and a certificate would say that they are erased",
            where="erasure.certificate",
        )
    statement = {
        "_type": _STATEMENT,
        "subject": [_subject(certificate)],
        "predicateType": _PREDICATE,
        "predicate": certificate.model_dump(mode="json"),
    }
    return dsse.seal(canonical.dumps(statement), key)


def open_sealed(data: bytes, trust: signing.TrustedKeys) -> tuple[ErasureCertificate, str]:
    """The certificate and the id of its signer.

    Errors: CorruptArtifact for another form, a changed byte, or one that leaves rows behind; PolicyDenied for a signer that is
    not trusted.
    """
    artifact = "certificate of erasure"
    payload, signer = dsse.open_sealed(data, artifact, trust)
    try:
        statement: Any = json.loads(payload)
        if (statement["_type"], statement["predicateType"]) != (_STATEMENT, _PREDICATE):
            raise ValueError(f"it is a statement of {statement['predicateType']}")
        found = ErasureCertificate.model_validate(statement["predicate"])
        if statement["subject"] != [_subject(found)]:
            raise ValueError("its subject is another one than it tells of")
        if left := [place.place for place in found.places if place.rows_after]:
            raise ValueError(f"rows are left in {left}")
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        why = str(error.errors()[0]["msg"]) if isinstance(error, ValidationError) else str(error)
        raise errors.CorruptArtifact(
            f"`{artifact}` proves no erasure: {why}; fetch it again with `mainspring erasure certificate`",
            artifact=artifact,
            expected="an in-toto statement of a finished erasure",
            got=why,
        ) from error
    return found, signer


def require_subject(certificate: ErasureCertificate, key: str, hasher: SubjectHasher) -> None:
    """Errors: Conflict if it is of somebody else."""
    if hasher.hash(certificate.project, certificate.entity, key) != certificate.subject_hash:
        raise errors.Conflict(
            f"the certificate is of another `{certificate.entity}` of `{certificate.project}`, or the key file is another"
            " organisation's; compare both",
            resource="certificate",
            name=certificate.erasure_id,
        )


def _subject(certificate: ErasureCertificate) -> dict[str, Any]:
    name = f"{certificate.project}/{certificate.entity}"
    return {"name": name, "digest": {_ALGORITHM: certificate.subject_hash}}
