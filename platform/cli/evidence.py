"""`mainspring evidence`: what is on record of a model and a time, as a file that is verified without the platform."""

from __future__ import annotations

import rich_click as click

from mainspring.platform.cli import output, session

__all__ = ["evidence"]


@click.group()
def evidence() -> None:
    """Evidence packs: signed, and proved offline."""


@evidence.command("export")
@click.argument("project_name")
@click.option("--model", default="", help="Its name in the registry; default: the project's own.")
@click.option("--since", required=True, help="From then on: `2026-11-01` or RFC 3339.")
@click.option("--until", required=True, help="Up to and without.")
@click.option("--out", required=True, type=click.Path(dir_okay=False), help="A file; replaced when complete.")
@session.AS
@session.JSON
def evidence_export(
    project_name: str, model: str, since: str, until: str, out: str, actor: str, as_json: bool
) -> None:
    """Approvals, decisions, cards, tests, lineage, bills, provenance, access, costs and the log's proof. It is on record."""
    import base64
    from pathlib import Path

    from mainspring.core import durable
    from mainspring.core.contracts import evidence as contracts

    asked = contracts.EvidenceCreate.model_validate(
        {"model": model, "since": _time(since), "until": _time(until)}
    )
    with session.client(actor or "approver@local") as client:
        made = client.export_evidence(project_name, asked)
    data = base64.b64decode(made.content)
    durable.replace_file(Path(out).absolute(), data)
    found = {"file": out, "digest": made.digest, "files": made.files, "bytes": len(data)}
    output.show(found, as_json=as_json)


@evidence.command("verify")
@click.argument("pack", type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--key", type=click.Path(exists=True, dir_okay=False), help="The log's public key; default: our own."
)
@session.JSON
def evidence_verify(pack: str, key: str | None, as_json: bool) -> None:
    """Prove a pack, as the script in it does, without any server; and that policies' texts are what their JSON says."""
    import zipfile
    from pathlib import Path

    from mainspring.core import errors, settings
    from mainspring.platform.evidence import verify
    from mainspring.platform.policies import engine

    trusted = Path(key) if key else settings.load().stack.state_dir / "audit" / "public.pem"
    try:
        output.show(verify.verify(Path(pack), trusted, engine.text_of), as_json=as_json)
    except (verify.NotProved, OSError, ValueError, LookupError, TypeError, zipfile.BadZipFile) as error:
        raise errors.CorruptArtifact(
            f"`{pack}` proves nothing: {error}; ask for it again, and give the key of the platform that made it by `--key`",
            artifact=pack,
        ) from error


def _time(text: str) -> str:
    """A day is its beginning in UTC."""
    return f"{text}T00:00:00Z" if len(text) == len("2026-11-01") else text
