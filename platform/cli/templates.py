"""`mainspring template`: the templates that the control API has, which the portal's wizard asks, too. `new` makes a project without one."""

from __future__ import annotations

import rich_click as click

from mainspring.platform.cli import output, session

__all__ = ["template"]


@click.group()
def template() -> None:
    """Templates of the control API's release, and what they would make."""


@template.command("list")
@session.AS
@session.JSON
def template_list(actor: str, as_json: bool) -> None:
    """By name, with the data that each begins on."""
    with session.client(actor or "developer@local") as client:
        found = client.templates(limit=500).items
    output.show(found, as_json=as_json, columns=("name", "title", "data_name"))


@template.command("show")
@click.argument("name")
@session.AS
@session.JSON
def template_show(name: str, actor: str, as_json: bool) -> None:
    """What it asks, as a JSON Schema."""
    with session.client(actor or "developer@local") as client:
        output.show(client.template(name).model_dump(mode="json"), as_json=as_json)


@template.command("plan")
@click.argument("name")
@click.argument("project_name")
@click.option("--owner", required=True, help="Who answers for it: a person or a team.")
@click.option("--description", default="", help="What it is for, in a sentence.")
@click.option(
    "--set", "settings", multiple=True, metavar="NAME=VALUE", help="A parameter of the template; repeat it."
)
@click.option("--out", type=click.Path(dir_okay=False), help="Keep the files as this zip file.")
@session.AS
@session.JSON
def template_plan(
    name: str,
    project_name: str,
    owner: str,
    description: str,
    settings: tuple[str, ...],
    out: str | None,
    actor: str,
    as_json: bool,
) -> None:
    """What the template would make for PROJECT_NAME; `project create` registers it."""
    import base64
    from pathlib import Path

    from mainspring.core import durable
    from mainspring.core.contracts import templates
    from mainspring.platform.cli import new

    given = {"name": project_name, "owner": owner, "description": description}
    given = {**{key: value for key, value in given.items() if value}, **dict(map(new.setting, settings))}
    with session.client(actor or "developer@local") as client:
        made = client.plan_project(name, templates.ProjectAsked(inputs=given))
    if out is not None:
        durable.replace_file(Path(out).absolute(), base64.b64decode(made.archive))
    files = [{"path": one.path, "bytes": one.bytes} for one in made.files]
    if as_json:
        document = made.model_dump(mode="json", exclude={"files", "archive"})
        output.show({**document, "files": files, "file": out or ""}, as_json=True)
        return
    output.show(files, as_json=False, columns=("path", "bytes"))
    click.echo(f"{made.digest}{f' in {out}' if out else ''}", err=True)
