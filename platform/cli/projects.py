"""`mainspring project`: a team's unit of access and cost."""

from __future__ import annotations

from typing import Any

import rich_click as click

from mainspring.platform.cli import output, session

__all__ = ["project"]


_TAGS = click.option(
    "--tag", "tags", multiple=True, metavar="KEY=VALUE", help="What its costs are told by; repeat it."
)


@click.group()
def project() -> None:
    """Projects: a team's unit of access and cost."""


@project.command("create")
@click.argument("name")
@click.option("--owner", required=True, help="Who answers for it.")
@click.option("--description", default="", help="One or two sentences.")
@click.option("--monthly-budget", type=click.FloatRange(min=0, min_open=True))
@_TAGS
@session.AS
@session.JSON
def project_create(
    name: str,
    owner: str,
    description: str,
    monthly_budget: float | None,
    tags: tuple[str, ...],
    actor: str,
    as_json: bool,
) -> None:
    """Create a project."""
    from mainspring.core import ids
    from mainspring.core.contracts import control

    request = control.ProjectCreate(
        name=ids.check_slug(name, "project"),
        owner=owner,
        description=description,
        monthly_budget=monthly_budget,
        tags=_tags(tags),
    )
    with session.client(actor or "developer@local") as client:
        output.show(client.create_project(request).model_dump(mode="json"), as_json=as_json)


@project.command("update")
@click.argument("name")
@click.option("--owner", help="Who answers for it.")
@click.option("--description")
@click.option("--monthly-budget", type=click.FloatRange(min=0, min_open=True))
@click.option("--no-budget", is_flag=True, help="No limit any more.")
@_TAGS
@click.option("--untag", "untags", multiple=True, metavar="KEY", help="Take a tag away; repeat it.")
@session.DRY_RUN
@session.AS
@session.JSON
def project_update(
    name: str,
    owner: str | None,
    description: str | None,
    monthly_budget: float | None,
    no_budget: bool,
    tags: tuple[str, ...],
    untags: tuple[str, ...],
    dry_run: bool,
    actor: str,
    as_json: bool,
) -> None:
    """Change a project as it is now; refused if somebody else changes it meanwhile."""
    from mainspring.core.contracts import control

    if no_budget and monthly_budget is not None:
        raise click.UsageError("`--monthly-budget` and `--no-budget` exclude each other")
    given = {"owner": owner, "description": description, "monthly_budget": monthly_budget}
    fields: dict[str, Any] = {k: v for k, v in given.items() if v is not None}
    if no_budget:
        fields["monthly_budget"] = None
    with session.client(actor or "admin@local") as client:
        found = client.project(name)
        if tags or untags:
            fields["tags"] = {k: v for k, v in {**found.tags, **_tags(tags)}.items() if k not in untags}
        patch = control.ProjectPatch(**fields)
        if dry_run:
            before = found.model_dump(mode="json", include=set(fields))
            after = patch.model_dump(mode="json", include=set(fields))
            output.show_change(f"project {name}", before, after, as_json=as_json)
            return
        changed = client.update_project(name, patch, version=found.version)
        output.show(changed.model_dump(mode="json"), as_json=as_json)


@project.command("list")
@session.AS
@session.JSON
def project_list(actor: str, as_json: bool) -> None:
    """Projects by name."""
    with session.client(actor or "developer@local") as client:
        columns = ("name", "owner", "monthly_budget", "spent_this_month")
        found = [one.model_dump(mode="json") for one in client.each_project()]
        output.show(found, as_json=as_json, columns=columns)


@project.command("show")
@click.argument("name")
@session.AS
@session.JSON
def project_show(name: str, actor: str, as_json: bool) -> None:
    """One project."""
    with session.client(actor or "developer@local") as client:
        output.show(client.project(name).model_dump(mode="json"), as_json=as_json)


def _tags(given: tuple[str, ...]) -> dict[str, str]:
    """Errors: BadParameter for what is no `KEY=VALUE`."""
    found = {}
    for one in given:
        key, equals, value = one.partition("=")
        if not equals:
            raise click.BadParameter(f"`{one}` is no tag; write `KEY=VALUE`", param_hint="--tag")
        found[key] = value
    return found
