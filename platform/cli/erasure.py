"""`mainspring erasure`: the right to erasure, and what proves it."""

from __future__ import annotations

from typing import Any, Final

import rich_click as click

from mainspring.core import errors
from mainspring.platform.cli import output, session

__all__ = ["erasure"]

_COLUMNS: Final = (
    "erasure_id",
    "entity",
    "state",
    "requested_by",
    "decided_by",
    "rows_erased",
    "requested_at",
)
#: As `contracts.erasure.LegalGround`, which is not imported for `--help`; a test compares them.
_GROUNDS: Final = ("no-longer-needed", "consent-withdrawn", "objection", "unlawful", "legal-duty", "child")


@click.group()
def erasure() -> None:
    """Erasure of one subject's rows everywhere, with a certificate."""


@erasure.command("request")
@click.argument("project_name")
@click.argument("entity")
@click.option(
    "--key", "key_file", type=click.File(), default="-", help="A file with the subject's key; default: stdin."
)
@click.option("--also", multiple=True, help="Another column that holds the same key; as often as needed.")
@click.option("--ground", type=click.Choice(_GROUNDS), required=True, help="GDPR, article 17(1), (a) to (f).")
@click.option("--reason", required=True, help="Why, without the key in it: it is on record.")
@session.AS
@session.JSON
def erasure_request(
    project_name: str,
    entity: str,
    key_file: Any,
    also: tuple[str, ...],
    ground: str,
    reason: str,
    actor: str,
    as_json: bool,
) -> None:
    """Ask for the erasure of one ENTITY (the join key's name). Its key is read from stdin, so that no shell remembers it."""
    from mainspring.core.contracts import erasure as contracts

    asked = contracts.ErasureCreate.model_validate(
        {
            "entity": entity,
            "key": key_file.read().strip(),
            "also": list(also),
            "ground": ground,
            "reason": reason,
        }
    )
    with session.client(actor or "developer@local") as client:
        _show(client.request_erasure(project_name, asked).model_dump(mode="json"), as_json)


@erasure.command("list")
@click.argument("project_name")
@session.AS
@session.JSON
def erasure_list(project_name: str, actor: str, as_json: bool) -> None:
    """A project's erasures, newest first."""
    found, before = [], ""
    with session.client(actor or "developer@local") as client:
        while True:
            page = client.erasures(project_name, before=before)
            found += page.items
            if not (before := page.next):
                break
    output.show(found, as_json=as_json, columns=_COLUMNS)


@erasure.command("show")
@click.argument("project_name")
@click.argument("erasure_id")
@session.AS
@session.JSON
def erasure_show(project_name: str, erasure_id: str, actor: str, as_json: bool) -> None:
    """Where one is, and what became of it."""
    with session.client(actor or "developer@local") as client:
        _show(client.erasure(project_name, erasure_id).model_dump(mode="json"), as_json)


@erasure.command("approve")
@click.argument("project_name")
@click.argument("erasure_id")
@click.option("--reason", default="")
@session.AS
@session.JSON
def erasure_approve(project_name: str, erasure_id: str, reason: str, actor: str, as_json: bool) -> None:
    """Let it be erased, as somebody else than who asked. It cannot be undone."""
    _decide(project_name, erasure_id, True, reason, actor, as_json)


@erasure.command("reject")
@click.argument("project_name")
@click.argument("erasure_id")
@click.option("--reason", required=True)
@session.AS
@session.JSON
def erasure_reject(project_name: str, erasure_id: str, reason: str, actor: str, as_json: bool) -> None:
    """Nothing is erased."""
    _decide(project_name, erasure_id, False, reason, actor, as_json)


@erasure.command("certificate")
@click.argument("project_name")
@click.argument("erasure_id")
@click.option("--out", required=True, type=click.Path(dir_okay=False), help="A file; replaced when complete.")
@session.AS
@session.JSON
def erasure_certificate(project_name: str, erasure_id: str, out: str, actor: str, as_json: bool) -> None:
    """Write the sealed certificate of one that is done."""
    from pathlib import Path

    from mainspring.core import durable

    with session.client(actor or "developer@local") as client:
        found = client.erasure(project_name, erasure_id)
    if not found.certificate:
        raise errors.Conflict(
            f"erasure `{erasure_id}` is `{found.state}` and has no certificate; it has one when it is `done`",
            resource="erasure",
            name=erasure_id,
        )
    durable.replace_file(Path(out).absolute(), found.certificate)
    output.show({"file": out, "rows_erased": found.rows_erased, "state": found.state}, as_json=as_json)


@erasure.command("replay")
@click.argument("project_name")
@session.JSON
def erasure_replay(project_name: str, as_json: bool) -> None:
    """Erase everybody who was erased before from files that were put back, on the machine that has them. No key is needed."""
    from mainspring.core import settings
    from mainspring.core.erasure import erasing

    found = erasing.replay(settings.load(), project_name)
    output.show(
        [f.model_dump(mode="json") for f in found], as_json=as_json, columns=("place", "rows", "items")
    )


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


def _decide(
    project_name: str, erasure_id: str, approve: bool, reason: str, actor: str, as_json: bool
) -> None:
    from mainspring.core.contracts import erasure as contracts

    decision = contracts.ErasureDecision(approve=approve, reason=reason)
    with session.client(actor or "approver@local") as client:
        _show(client.decide_erasure(project_name, erasure_id, decision).model_dump(mode="json"), as_json)


def _show(found: dict[str, Any], as_json: bool) -> None:
    """The certificate is for its file."""
    output.show(found if as_json else {k: v for k, v in found.items() if k != "certificate"}, as_json=as_json)
