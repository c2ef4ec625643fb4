"""`mainspring member`: who may do what in a project."""

from __future__ import annotations

from typing import Final

import rich_click as click

from mainspring.core import errors
from mainspring.platform.cli import output, session

__all__ = ["by_place", "member"]

#: As `core.contracts.members`, whose import would slow `--help` down; a test holds the two equal.
ROLES: Final = ("viewer", "developer", "approver", "admin")
PLACES: Final = ("*", "dev", "staging", "prod")


@click.group()
def member() -> None:
    """Members: who may do what in a project, by environment."""


@member.command("list")
@click.argument("project_name")
@session.AS
@session.JSON
def member_list(project_name: str, actor: str, as_json: bool) -> None:
    """A project's members by name."""
    with session.client(actor or "developer@local") as client:
        found = [one.model_dump(mode="json") for one in client.each_member(project_name)]
    output.show(found, as_json=as_json, columns=("actor", "roles", "set_at", "set_by"))


@member.command("set")
@click.argument("project_name")
@click.argument("name")
@click.argument("roles", nargs=-1, required=True, metavar="[ENVIRONMENT:]ROLE...")
@session.DRY_RUN
@session.AS
@session.JSON
def member_set(
    project_name: str, name: str, roles: tuple[str, ...], dry_run: bool, actor: str, as_json: bool
) -> None:
    """Give NAME exactly these roles, such as `viewer dev:developer`; without an environment they hold in all."""
    from mainspring.core.contracts import members

    wanted = members.MemberPut.model_validate({"roles": by_place(roles)})
    with session.client(actor or "admin@local") as client:
        try:
            found = client.member(project_name, name)
            version, before = found.version, dict(found.roles)
        except errors.NotFound:
            version, before = "", None
        if dry_run:
            after = wanted.model_dump(mode="json")["roles"]
            output.show_change(f"member {name} of {project_name}", before, after, as_json=as_json)
            return
        made = client.put_member(project_name, name, wanted, version=version)
        output.show(made.model_dump(mode="json"), as_json=as_json)


@member.command("remove")
@click.argument("project_name")
@click.argument("name")
@session.DRY_RUN
@session.AS
@session.JSON
def member_remove(project_name: str, name: str, dry_run: bool, actor: str, as_json: bool) -> None:
    """Take NAME's roles away."""
    with session.client(actor or "admin@local") as client:
        found = client.member(project_name, name)
        if dry_run:
            output.show_change(f"member {name} of {project_name}", found.roles, None, as_json=as_json)
            return
        client.remove_member(project_name, name, version=found.version)
    output.show({"removed": name, "project": project_name}, as_json=as_json)


def by_place(roles: tuple[str, ...]) -> dict[str, list[str]]:
    """`prod:approver` as {"prod": ["approver"]}. Errors: UsageError."""
    found: dict[str, list[str]] = {}
    for one in roles:
        place, colon, role = one.rpartition(":")
        place = place if colon else "*"
        if place not in PLACES or role not in ROLES:
            raise click.UsageError(
                f"`{one}` is no role; write one of `{'`, `'.join(ROLES)}`, with `dev:`, `staging:` or `prod:` before it"
                " for one environment"
            )
        found.setdefault(place, []).append(role)
    return found
