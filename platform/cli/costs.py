"""`mainspring cost`: what usage costs, added up or as records for finance."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from mainspring.core import errors
from mainspring.platform.cli import output, session

if TYPE_CHECKING:
    from mainspring.platform.costs import focus

__all__ = ["cost"]

_PROJECT = click.option("--project", "project_name", default="", help="Of this project only.")
_SINCE = click.option(
    "--since", default="", metavar="TIME", help="Use that began then or later, such as 2026-11-01T00:00:00Z."
)
_UNTIL = click.option("--until", default="", metavar="TIME", help="Use that began before.")


@click.group()
def cost() -> None:
    """What usage costs."""


@cost.command("report")
@click.option(
    "--by",
    type=click.Choice(["project", "run", "service", "environment", "sku"]),
    default="project",
    show_default=True,
)
@_PROJECT
@_SINCE
@_UNTIL
@session.AS
@session.JSON
def cost_report(by: str, project_name: str, since: str, until: str, actor: str, as_json: bool) -> None:
    """Costs added up."""
    with session.client(actor or "developer@local") as client:
        found = client.costs(group_by=by, project=project_name, since=since, until=until)
    output.show(found.model_dump(mode="json"), as_json=as_json)


@cost.command("serving")
@click.option(
    "--by",
    type=click.Choice(["project", "endpoint", "model_version", "caller"]),
    default="model_version",
    show_default=True,
)
@_PROJECT
@session.AS
@session.JSON
def cost_serving(by: str, project_name: str, actor: str, as_json: bool) -> None:
    """What serving used, in whole units."""
    with session.client(actor or "developer@local") as client:
        found = client.serving_usage(group_by=by, project=project_name)
    if as_json:
        output.show(found.model_dump(mode="json"), as_json=True)
    else:
        named = {**found.groups, "total": found.total}
        rows = [{by: name, **used.model_dump(mode="json")} for name, used in named.items()]
        columns = (by, "requests", "predictions", "cpu_microseconds", "cost")
        output.show(rows, as_json=False, columns=columns)


@cost.command("export")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--format", "form", type=click.Choice(["csv", "json", "parquet"]), help="Default: as FILE's name ends."
)
@_PROJECT
@_SINCE
@_UNTIL
@session.AS
@session.JSON
def cost_export(
    file: Path, form: str | None, project_name: str, since: str, until: str, actor: str, as_json: bool
) -> None:
    """Write priced records to FILE, in FinOps FOCUS columns.

    The file is there whole or not at all, and adds up to what `cost report` says of the same period.
    """
    from mainspring.core import durable
    from mainspring.platform.costs import focus

    chosen = _format(file, form)
    with session.client(actor or "developer@local") as client:
        records = client.cost_records(project=project_name, since=since, until=until)
        rows = 0

        def write(new: Path) -> None:
            nonlocal rows
            with new.open("wb") as out:
                rows = focus.write(records, out, chosen)

        durable.place_file(file, write)
    done = {"file": str(file), "format": str(chosen), "rows": rows, "focus": focus.VERSION}
    output.show(done, as_json=as_json)


def _format(file: Path, form: str | None) -> focus.Format:
    from mainspring.platform.costs import focus

    name = form or {".jsonl": "json"}.get(file.suffix, file.suffix.removeprefix("."))
    if name not in set(focus.Format):
        raise errors.InvalidRequest(
            f"`{file.name}` does not say its format; end it in `.csv`, `.json` or `.parquet`, or give `--format`",
            field="format",
        )
    return focus.Format(name)
