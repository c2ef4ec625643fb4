"""`mainspring model`: bring somebody else's model in, and take a model version out of use."""

from __future__ import annotations

import itertools
from typing import Any, Final

import rich_click as click

from mainspring.platform.cli import output, session

__all__ = ["model"]

_PROJECT: Final = click.argument("project_name")
_DIGEST: Final = click.argument("digest")
_REPLACE: Final = click.option(
    "--replace-by", default="", help="A bundle that answers from now on where this one did."
)
_ENVIRONMENT: Final = click.option("--environment", default="dev", show_default=True)
_KEY: Final = click.option("--key", default="", help="Idempotency key; default: a fresh one.")


@click.group()
def model() -> None:
    """Model versions: their beginning elsewhere, and their end."""


@model.command("import")
@click.argument("folder", type=click.Path(exists=True, file_okay=False))
@click.option("--project", "project_name", required=True)
@click.option("--name", required=True, help="The model's name in the registry.")
@click.option("--dry-run", is_flag=True, help="Scan, ask the rules and try the model; write nothing.")
@click.option("--register/--no-register", default=True, show_default=True, help="In the model registry, too.")
@session.AS
@session.JSON
def model_import(
    folder: str, project_name: str, name: str, dry_run: bool, register: bool, actor: str, as_json: bool
) -> None:
    """A folder with `import.toml` (ONNX, torch.export, trees) as a signed bundle. Pickles are refused. It is on record."""
    from mainspring.platform.cli import importing

    found = importing.run(
        folder, project_name, name, dry_run=dry_run, register=register, actor=actor or "developer@local"
    )
    output.show(found, as_json=as_json)


def _start(
    project: str, digest: str, reason: str, replace_by: str, environment: str, key: str, is_revocation: bool
) -> Any:
    from mainspring.core import ids
    from mainspring.core.contracts import control

    return control.RunCreate.model_validate(
        {
            "project": ids.check_slug(project, "project"),
            "kind": "retire",
            "environment": environment,
            "bundle_digest": digest,
            "retire": {
                "reason": reason,
                "replace_by": replace_by or None,
                "is_revocation": is_revocation,
            },
            "idempotency_key": key or ids.new_id("key"),
        }
    )


def _show(request: Any, actor: str, as_json: bool) -> None:
    click.echo(f"idempotency key: {request.idempotency_key}", err=True)
    with session.client(actor or "approver@local") as client:
        output.show(client.create_run(request).model_dump(mode="json"), as_json=as_json)


@model.command("list")
@click.option("--project", "project_name", default="")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@session.AS
@session.JSON
def model_list(project_name: str, limit: int, actor: str, as_json: bool) -> None:
    """Versions that trainings made or that were imported, newest first."""
    with session.client(actor or "developer@local") as client:
        newest = itertools.islice(client.each_model(project=project_name), limit)
        found = [
            {
                **one.model_dump(mode="json"),
                "source": "trained" if one.imported is None else one.imported.source,
            }
            for one in newest
        ]
    columns = ("project", "name", "version", "bundle_digest", "source", "environment", "stage", "run_id")
    output.show(found, as_json=as_json, columns=columns)


@model.command("show")
@_PROJECT
@_DIGEST
@session.AS
@session.JSON
def model_show(project_name: str, digest: str, actor: str, as_json: bool) -> None:
    """One version, with what its bundle says."""
    with session.client(actor or "developer@local") as client:
        output.show(client.model(project_name, digest).model_dump(mode="json"), as_json=as_json)


@model.command("retire")
@_PROJECT
@_DIGEST
@click.option("--reason", required=True, help="On record, and told to whoever tries to use it.")
@_REPLACE
@_ENVIRONMENT
@_KEY
@session.AS
@session.JSON
def model_retire(
    project_name: str,
    digest: str,
    reason: str,
    replace_by: str,
    environment: str,
    key: str,
    actor: str,
    as_json: bool,
) -> None:
    """Unload a bundle for good; refused while it answers, unless `--replace-by` says who does. `run watch` follows it."""
    _show(_start(project_name, digest, reason, replace_by, environment, key, False), actor, as_json)


@model.command("revoke")
@_PROJECT
@_DIGEST
@click.option(
    "--reason", required=True, help="On record, and told to everybody whose request it would have answered."
)
@_REPLACE
@_ENVIRONMENT
@_KEY
@session.AS
@session.JSON
def model_revoke(
    project_name: str,
    digest: str,
    reason: str,
    replace_by: str,
    environment: str,
    key: str,
    actor: str,
    as_json: bool,
) -> None:
    """An emergency: deny a bundle at once, whatever it serves. Its endpoints stop, unless `--replace-by` says who answers."""
    _show(_start(project_name, digest, reason, replace_by, environment, key, True), actor, as_json)
