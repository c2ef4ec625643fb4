"""Erasures: asked for by one person, decided by another, on record without a name, and proven offline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from mainspring.core.contracts import base
from mainspring.core.contracts.erasure import CertifiedPlace, ErasureCertificate, LegalGround
from mainspring.core.erasure import certificate
from mainspring.core.erasure.subjects import Subject, SubjectHasher
from mainspring.core.models import signing
from mainspring.platform.cli import main as cli


def sealed(tmp_path: Path) -> bytes:
    """A certificate of `N102`, signed by a key that `tmp_path/trusted` has."""
    key = signing.ensure_key(tmp_path / "signing.key")
    key.publish(tmp_path / "trusted")
    hasher, at = SubjectHasher.load(tmp_path / "subjects.key"), base.utc_now()
    told = ErasureCertificate(
        erasure_id="era_1",
        project="flights",
        entity="tailnum",
        subject_hash=hasher.of(Subject("flights", "tailnum", "N102")),
        ground=LegalGround.OBJECTION,
        requested_by="ana",
        requested_at=at,
        approved_by="ben",
        approved_at=at,
        erased_at=at,
        places=[CertifiedPlace(place="online store", rows_before=3, items_before=1, rows_after=0)],
    )
    return certificate.seal(told, key)


def test_a_certificate_is_verified_without_a_server(tmp_path: Path) -> None:
    file = tmp_path / "certificate.json"
    file.write_bytes(sealed(tmp_path))

    def verify(*more: str, code: int = 0) -> Any:
        told = ["erasure", "verify", str(file), "--trusted", str(tmp_path / "trusted"), *more, "--json"]
        done = CliRunner().invoke(cli.cli, told)
        assert done.exit_code == code, done.output
        return json.loads(done.stdout)["data"] if code == 0 else done.output

    told = verify()
    assert (told["rows_erased"], told["entity"]) == (3, "tailnum") and "N102" not in json.dumps(told)
    mine = ("--subjects-key", str(tmp_path / "subjects.key"))
    assert verify("--key", "N102", *mine)["is_of_key"] is True
    assert "of another `tailnum`" in verify("--key", "N101", *mine, code=1)
    assert "no key for subjects" in verify("--key", "N102", "--subjects-key", str(file), code=78)
    file.write_bytes(file.read_bytes().replace(b'"payload"', b'"payl0ad"'))
    assert "no DSSE envelope" in verify(code=1)
