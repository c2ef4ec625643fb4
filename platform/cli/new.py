"""`mainspring new`: a project out of a template, with an owner, ready for git."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from mainspring.platform.cli import output, session

if TYPE_CHECKING:
    from mainspring.platform.templates import engine, schema

__all__ = ["new", "setting"]


@click.command("new")
@click.argument("name", default="")
@click.option("--template", "template_name", default="", help="Which; see `--list`.")
@click.option("--owner", default="", help="Who answers for it: a person or a team.")
@click.option("--description", default="", help="What it is for, in a sentence.")
@click.option(
    "--set", "settings", multiple=True, metavar="NAME=VALUE", help="A parameter of the template; repeat it."
)
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Where; default: a folder of the project's name, here."
)
@click.option("--dry-run", is_flag=True, help="Say what would be made and registered; write nothing.")
@click.option("--list", "is_list", is_flag=True, help="The templates.")
@click.option("--schema", "is_schema", is_flag=True, help="What the template asks, as a JSON Schema.")
@session.JSON
def new(
    name: str,
    template_name: str,
    owner: str,
    description: str,
    settings: tuple[str, ...],
    folder: Path | None,
    dry_run: bool,
    is_list: bool,
    is_schema: bool,
    as_json: bool,
) -> None:
    """Make a project of a template: its data, features, model, tests and what is registered."""
    from mainspring.platform.templates import engine

    if is_list:
        found = [engine.find(one) for one in engine.names()]
        rows = [
            {"name": t.name, "title": t.title, "data": t.data.name, "measured": t.measured} for t in found
        ]
        output.show(rows, as_json=as_json, columns=("name", "title", "data", "measured"))
        return
    # A person is asked for what is missing; a script is told.
    asks = _is_person() and not as_json
    if not template_name and asks and not is_schema:
        template_name = click.prompt("template", type=click.Choice(engine.names()))
    if not template_name:
        raise click.UsageError(f"say which template with `--template`: {', '.join(engine.names())}")
    template = engine.find(template_name)
    if is_schema:
        output.show(template.inputs().model_json_schema(), as_json=as_json)
        return
    if not name and not asks:
        raise click.UsageError("a project needs a name: `mainspring new NAME --template ... --owner ...`")
    given: dict[str, Any] = {
        "name": name,
        "owner": owner,
        "description": description,
        **dict(map(setting, settings)),
    }
    given = {key: value for key, value in given.items() if value != ""}
    made = engine.plan(template, _asked(template, given) if asks else given)
    target = folder or Path(str(made.values["name"]))
    if not dry_run:
        target = engine.write(made, target)
    _show(made, target, dry_run=dry_run, as_json=as_json)


def _is_person() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def setting(text: str) -> tuple[str, str]:
    """A parameter as it is written on a command line. Errors: UsageError."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.UsageError(f"`--set {text}` is no NAME=VALUE")
    if name in ("name", "owner", "description"):
        raise click.UsageError(f"`{name}` has an option of its own")
    return name, value


def _asked(template: schema.Template, given: dict[str, Any]) -> dict[str, Any]:
    """What is missing, asked one by one in the order of the template's schema."""
    for field, about in template.inputs().model_json_schema()["properties"].items():
        if field in given:
            continue
        choices = click.Choice(about["enum"]) if "enum" in about else None
        given[field] = click.prompt(about["description"], default=about.get("default"), type=choices)
    return given


def _show(made: engine.Plan, target: Path, *, dry_run: bool, as_json: bool) -> None:
    registers = [one.model_dump() for one in made.registers]
    document = {
        "template": made.template,
        "folder": str(target),
        "written": not dry_run,
        "inputs": dict(made.values),
        "files": [{"path": path, "bytes": len(text.encode())} for path, text in made.files.items()],
        "registers": registers,
        "next": list(made.next),
    }
    if as_json:
        output.show(document, as_json=True)
        return
    click.echo(f"{'would make' if dry_run else 'made'} `{target}` of template `{made.template}`:", err=True)
    output.show(document["files"], as_json=False, columns=("path", "bytes"))
    click.echo("\nput on record by the commands below:", err=True)
    output.show(registers, as_json=False, columns=("what", "name", "by"))
    click.echo("\ngo on with:", err=True)
    for command in made.next:
        click.echo(f"  {command}", err=True)
