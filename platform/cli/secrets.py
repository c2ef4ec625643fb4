"""`mainspring secret`: where a project's secrets lie, never what they are."""

from __future__ import annotations

import rich_click as click

from mainspring.platform.cli import output, session

__all__ = ["secret"]

_COLUMNS = ("name", "place", "description", "set_by", "set_at")


@click.group()
def secret() -> None:
    """Where a project's secrets lie: references, never what they are."""


@secret.command("list")
@click.argument("project_name")
@session.AS
@session.JSON
def secret_list(project_name: str, actor: str, as_json: bool) -> None:
    """References by name."""
    rows, after = [], ""
    with session.client(actor or "developer@local") as client:
        while True:
            page = client.secrets(project_name, after=after)
            rows += page.items
            if not (after := page.next):
                break
    output.show(rows, as_json=as_json, columns=_COLUMNS)


@secret.command("show")
@click.argument("project_name")
@click.argument("name")
@session.AS
@session.JSON
def secret_show(project_name: str, name: str, actor: str, as_json: bool) -> None:
    """One reference, with its version."""
    with session.client(actor or "developer@local") as client:
        output.show(client.secret(project_name, name).model_dump(mode="json"), as_json=as_json)


@secret.command("set")
@click.argument("project_name")
@click.argument("name")
@click.argument("place")
@click.option("--description", required=True, help="What it is for.")
@click.option("--version", default="", help="Of the reference that is changed, from `show`.")
@session.AS
@session.JSON
def secret_set(
    project_name: str, name: str, place: str, description: str, version: str, actor: str, as_json: bool
) -> None:
    """Say that secret NAME lies at PLACE: `openbao:MOUNT/PATH#FIELD`, `file:/PATH` or `env:NAME`. Never the secret."""
    from mainspring.core.contracts import secrets

    wanted = secrets.SecretPut.model_validate({"place": place, "description": description})
    with session.client(actor or "admin@local") as client:
        made = client.put_secret(project_name, name, wanted, version=version)
    output.show(made.model_dump(mode="json"), as_json=as_json)


@secret.command("remove")
@click.argument("project_name")
@click.argument("name")
@click.option("--version", required=True, help="Of the reference that is removed, from `show`.")
@session.AS
def secret_remove(project_name: str, name: str, version: str, actor: str) -> None:
    """Take a reference back; what it is about stays where it is."""
    with session.client(actor or "admin@local") as client:
        client.remove_secret(project_name, name, version=version)
