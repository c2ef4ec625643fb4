"""`mainspring erasure`: the right to erasure, and what proves it."""

from __future__ import annotations

from typing import Any

import rich_click as click

from mainspring.platform.cli import output, session

__all__ = ["erasure"]


@click.group()
def erasure() -> None:
    """Erasure of one subject's rows everywhere, with a certificate."""


@erasure.command("verify")
@click.argument("certificate", type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--trusted",
    type=click.Path(exists=True, file_okay=False),
    help="A folder with public keys (`*.pub.pem`) of who may sign; default: the platform's own.",
)
@click.option("--key", "subject_key", default="", help="Whose it is said to be; needs the key for subjects.")
@click.option(
    "--subjects-key",
    type=click.Path(exists=True, dir_okay=False),
    help="The file of the key for subjects; default: our own.",
)
@session.JSON
def erasure_verify(
    certificate: str, trusted: str | None, subject_key: str, subjects_key: str | None, as_json: bool
) -> None:
    """Prove a certificate without any server: who signed it, that no row was left, and with `--key` whose it is."""
    from pathlib import Path

    from mainspring.core import settings
    from mainspring.core.erasure import certificate as certificates
    from mainspring.core.erasure import subjects
    from mainspring.core.models import signing

    folder = Path(trusted) if trusted else settings.load().serving.trusted_keys_dir
    found, signer = certificates.open_sealed(Path(certificate).read_bytes(), signing.TrustedKeys.load(folder))
    told: dict[str, Any] = {
        **found.model_dump(mode="json"),
        "rows_erased": found.rows_erased,
        "signer": signer,
    }
    if subject_key:
        file = Path(subjects_key) if subjects_key else settings.load().protection.subjects_key
        certificates.require_subject(found, subject_key, subjects.SubjectHasher.load(file))
        told["is_of_key"] = True
    output.show(told, as_json=as_json)
