"""`mainspring cost chargeback` and `cost showback`: a month's costs for those who pay or used them, on the screen or as a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from mainspring.core import durable
from mainspring.platform.cli import costs, output, session

if TYPE_CHECKING:
    from mainspring.core.contracts import cost_reports

__all__ = ["cost_chargeback", "cost_showback"]

_MONTH = click.option("--month", required=True, metavar="YYYY-MM", help="In UTC, such as 2026-11.")
_BY = click.option(
    "--by",
    default="project",
    show_default=True,
    metavar="KEY",
    help="`project`, `environment` or `tag:KEY` for a tag of projects.",
)
_OUTPUT = click.option(
    "--output",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write it there in FOCUS columns: `.csv`, `.json` or `.parquet`.",
)


@click.command("chargeback")
@_MONTH
@_BY
@click.option(
    "--split",
    type=click.Choice(["even", "proportional", "none"]),
    default="proportional",
    show_default=True,
    help="How receivers share what is of all.",
)
@_OUTPUT
@session.AS
@session.JSON
def cost_chargeback(month: str, by: str, split: str, file: Path | None, actor: str, as_json: bool) -> None:
    """What each receiver pays of a month, with its share of what is of all: the total is the ledger's, to the billionth."""
    from mainspring.core.contracts import cost_reports

    with session.client(actor or "developer@local") as client:
        found = client.chargeback(month, by=by, split=cost_reports.Split(split))
    rows = [one.model_dump(mode="json") for one in found.lines]
    columns = ("receiver", "service_name", "sku_id", "capacity", "is_share", "is_correction", "billed_cost")
    _show(found, rows, columns, file, as_json)


@click.command("showback")
@_MONTH
@_BY
@click.option("--project", "project_name", default="", help="Of this project only.")
@_OUTPUT
@session.AS
@session.JSON
def cost_showback(
    month: str, by: str, project_name: str, file: Path | None, actor: str, as_json: bool
) -> None:
    """What each receiver used of a month, beside the month before, its forecast and its budget."""
    with session.client(actor or "developer@local") as client:
        found = client.showback(month, by=by, project=project_name)
    rows = [one.model_dump(mode="json") for one in found.receivers]
    if found.shared:
        rows.append({"receiver": "(shared)", "cost": found.shared})
    columns = ("receiver", "cost", "cost_before", "change", "forecast", "budget")
    _show(found, rows, columns, file, as_json)


def _show(
    found: cost_reports.Chargeback | cost_reports.Showback,
    rows: list[dict[str, Any]],
    columns: tuple[str, ...],
    file: Path | None,
    as_json: bool,
) -> None:
    if file is not None:
        output.show(_written(found, file), as_json=as_json)
    elif as_json:
        output.show(found.model_dump(mode="json"), as_json=True)
    else:
        output.show(rows, as_json=False, columns=columns)
        state = "closed" if found.is_closed else "open: more may come"
        click.echo(f"{found.total} {found.currency} in {found.month}, which is {state}")


def _written(found: cost_reports.Chargeback | cost_reports.Showback, file: Path) -> dict[str, Any]:
    """The file is there whole or not at all."""
    from mainspring.platform.costs import focus, report_files

    chosen, rows = costs.format_of(file, None), 0

    def write(new: Path) -> None:
        nonlocal rows
        with new.open("wb") as out:
            rows = report_files.write(found, out, chosen)

    durable.place_file(file, write)
    return {
        "file": str(file),
        "format": str(chosen),
        "rows": rows,
        "total": found.total,
        "currency": found.currency,
        "is_closed": found.is_closed,
        "focus": focus.VERSION,
    }
