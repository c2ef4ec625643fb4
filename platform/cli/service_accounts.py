"""`mainspring service-account`: programs that act for a project, and their tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

import rich_click as click

from mainspring.platform.cli import members, output, session

if TYPE_CHECKING:
    from mainspring.core.contracts import service_accounts

__all__ = ["service_account"]

_COLUMNS = ("name", "owner", "roles", "disabled", "last_used_on", "description")


@click.group("service-account")
def service_account() -> None:
    """Programs that act for a project: each has an owner, roles, a secret and tokens for minutes."""


@service_account.command("list")
@click.argument("project_name")
@session.AS
@session.JSON
def account_list(project_name: str, actor: str, as_json: bool) -> None:
    """A project's service accounts by name."""
    rows, after = [], ""
    with session.client(actor or "developer@local") as client:
        while True:
            page = client.service_accounts(project_name, after=after)
            rows += page.items
            if not (after := page.next):
                break
    output.show(rows, as_json=as_json, columns=_COLUMNS)


@service_account.command("show")
@click.argument("project_name")
@click.argument("name")
@session.AS
@session.JSON
def account_show(project_name: str, name: str, actor: str, as_json: bool) -> None:
    """One, with its version."""
    with session.client(actor or "developer@local") as client:
        output.show(client.service_account(project_name, name).model_dump(mode="json"), as_json=as_json)


@service_account.command("create")
@click.argument("project_name")
@click.argument("name")
@click.argument("roles", nargs=-1, required=True, metavar="[ENVIRONMENT:]ROLE...")
@click.option("--owner", required=True, help="The member of the project who answers for it.")
@click.option("--description", required=True, help="What it is for.")
@session.AS
@session.JSON
def account_create(
    project_name: str,
    name: str,
    roles: tuple[str, ...],
    owner: str,
    description: str,
    actor: str,
    as_json: bool,
) -> None:
    """Make NAME with these roles, such as `dev:developer`, and show its secret, this once."""
    from mainspring.core.contracts import service_accounts

    given = {"name": name, "owner": owner, "description": description, "roles": members.by_place(roles)}
    wanted = service_accounts.ServiceAccountCreate.model_validate(given)
    with session.client(actor or "admin@local") as client:
        made = client.create_service_account(project_name, wanted)
    output.show(made.model_dump(mode="json"), as_json=as_json)


@service_account.command("change")
@click.argument("project_name")
@click.argument("name")
@click.option("--owner", help="The member of the project who answers for it from now on.")
@click.option("--description", help="What it is for.")
@session.AS
@session.JSON
def account_change(
    project_name: str, name: str, owner: str | None, description: str | None, actor: str, as_json: bool
) -> None:
    """Another owner or description; its roles are changed by `mainspring member set`."""
    if owner is None and description is None:
        raise click.UsageError("nothing to change; give `--owner` or `--description`")
    made = _changed(project_name, name, actor, owner=owner, description=description)
    output.show(made.model_dump(mode="json"), as_json=as_json)


@service_account.command("disable")
@click.argument("project_name")
@click.argument("name")
@session.AS
@session.JSON
def account_disable(project_name: str, name: str, actor: str, as_json: bool) -> None:
    """It gets no tokens, and those that it has count no more."""
    output.show(_changed(project_name, name, actor, disabled=True).model_dump(mode="json"), as_json=as_json)


@service_account.command("enable")
@click.argument("project_name")
@click.argument("name")
@session.AS
@session.JSON
def account_enable(project_name: str, name: str, actor: str, as_json: bool) -> None:
    """It gets tokens again, by the secret that it had."""
    output.show(_changed(project_name, name, actor, disabled=False).model_dump(mode="json"), as_json=as_json)


@service_account.command("rotate")
@click.argument("project_name")
@click.argument("name")
@session.AS
@session.JSON
def account_rotate(project_name: str, name: str, actor: str, as_json: bool) -> None:
    """Another secret, shown this once; the one before and every token count no more."""
    with session.client(actor or "admin@local") as client:
        version = client.service_account(project_name, name).version
        made = client.rotate_service_account(project_name, name, version=version)
    output.show(made.model_dump(mode="json"), as_json=as_json)


@service_account.command("delete")
@click.argument("project_name")
@click.argument("name")
@session.DRY_RUN
@session.AS
@session.JSON
def account_delete(project_name: str, name: str, dry_run: bool, actor: str, as_json: bool) -> None:
    """Remove it, with its roles, secret and tokens."""
    with session.client(actor or "admin@local") as client:
        found = client.service_account(project_name, name)
        if dry_run:
            what = f"service account {name} of {project_name}"
            output.show_change(what, {"owner": found.owner, "roles": found.roles}, None, as_json=as_json)
            return
        client.delete_service_account(project_name, name, version=found.version)
    output.show({"removed": name, "project": project_name}, as_json=as_json)


@service_account.command("token")
@click.argument("client_id")
@click.option(
    "--secret-file", type=click.File("r"), required=True, help="Where its secret is; `-`: standard input."
)
@click.option("--role", "roles", multiple=True, help="Of its roles this one alone; may be given again.")
@click.option("--environment", default="", help="In this environment alone.")
@session.JSON
def account_token(
    client_id: str, secret_file: TextIO, roles: tuple[str, ...], environment: str, as_json: bool
) -> None:
    """A token for the account's secret, for minutes: what is sent as `Authorization: Bearer`."""
    from mainspring.core.contracts import service_accounts

    asked = service_accounts.ServiceTokenAsk.model_validate(
        {
            "client_id": client_id,
            "client_secret": secret_file.read().strip(),
            "roles": list(roles),
            "environment": environment,
        }
    )
    with session.anonymous() as client:
        made = client.service_token(asked)
    output.show(made.model_dump(mode="json"), as_json=as_json)


def _changed(
    project_name: str, name: str, actor: str, **fields: str | bool | None
) -> service_accounts.ServiceAccountView:
    from mainspring.core.contracts import service_accounts

    given = {field: value for field, value in fields.items() if value is not None}
    patch = service_accounts.ServiceAccountPatch.model_validate(given)
    with session.client(actor or "admin@local") as client:
        version = client.service_account(project_name, name).version
        return client.update_service_account(project_name, name, patch, version=version)
