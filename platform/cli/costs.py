"""`mainspring cost`: what usage costs, added up or as records for finance."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from mainspring.core import errors
from mainspring.platform.cli import output, session

if TYPE_CHECKING:
    from mainspring.platform.costs import focus

__all__ = ["cost", "format_of"]

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
    default="project",
    show_default=True,
    metavar="KEY",
    help="`project`, `run`, `service`, `environment`, `sku`, `capacity`, or `tag:KEY` for a tag of projects.",
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


@cost.command("untagged")
@_PROJECT
@session.AS
@session.JSON
def cost_untagged(project_name: str, actor: str, as_json: bool) -> None:
    """Projects that lack tags which settings ask for (`[cost] required_tags`)."""
    rows, after = [], ""
    with session.client(actor or "developer@local") as client:
        while True:
            page = client.untagged_projects(project=project_name, after=after)
            rows += page.items
            if not (after := page.next):
                break
    output.show(rows, as_json=as_json, columns=("project", "owner", "lacks"))


@cost.command("storage")
@click.argument("project_name")
@session.AS
@session.JSON
def cost_storage(project_name: str, actor: str, as_json: bool) -> None:
    """Bytes that a project keeps, by place, as measured last; what they cost is in `report --by service`."""
    with session.client(actor or "developer@local") as client:
        found = client.storage(project_name).model_dump(mode="json")
    if as_json:
        output.show(found, as_json=True)
        return
    output.show(
        [{"place": place, "bytes": n} for place, n in found["stored"].items()],
        as_json=False,
        columns=("place", "bytes"),
    )
    click.echo(f"{found['total_bytes']} bytes, measured {found['measured_at'] or 'never'}")


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


@cost.command("unit")
@_PROJECT
@_SINCE
@_UNTIL
@session.AS
@session.JSON
def cost_unit(project_name: str, since: str, until: str, actor: str, as_json: bool) -> None:
    """What a run costs by its kind, and a thousand predictions by endpoint and model version."""
    with session.client(actor or "developer@local") as client:
        found = client.unit_costs(project=project_name, since=since, until=until)
    if as_json:
        output.show(found.model_dump(mode="json"), as_json=True)
        return
    rows = [
        {"of": one.kind, "units": one.runs, "cost": one.cost, "unit_cost": one.cost_per_run, "per": "run"}
        for one in found.runs
    ]
    rows += [
        {
            "of": f"{one.endpoint} {one.model_version[:19]}",
            "units": one.predictions,
            "cost": one.cost,
            "unit_cost": "" if one.cost_per_thousand is None else one.cost_per_thousand,
            "per": "1,000 predictions",
        }
        for one in found.serving
    ]
    rows.append({"of": "other", "cost": found.other})
    rows.append({"of": f"total, {found.currency}", "cost": found.total})
    output.show(rows, as_json=False, columns=("of", "units", "cost", "unit_cost", "per"))


@cost.command("forecast")
@_PROJECT
@session.AS
@session.JSON
def cost_forecast(project_name: str, actor: str, as_json: bool) -> None:
    """What the month will have cost by project, at the mean of the last seven days."""
    rows, after = [], ""
    with session.client(actor or "developer@local") as client:
        while True:
            page = client.forecasts(project=project_name, after=after)
            rows += page.items
            if not (after := page.next):
                break
    columns = ("project", "limit", "spent", "held", "per_day", "forecast", "runs_out_at")
    output.show(rows, as_json=as_json, columns=columns)


@cost.command("waste")
@click.option("--idle-days", type=click.FloatRange(min=0), default=7.0, show_default=True)
@_PROJECT
@session.AS
@session.JSON
def cost_waste(idle_days: float, project_name: str, actor: str, as_json: bool) -> None:
    """Endpoints that nobody has asked for so long, with the notices that they got. `cost oversize` has runs, `cost duplicates` features."""
    from datetime import UTC, datetime

    from mainspring.core.contracts import idling
    from mainspring.core.cost import idle

    now, after, rows = datetime.now(UTC), "", []
    with session.client(actor or "developer@local") as client:
        while True:
            page = client.idle_endpoints(project=project_name, after=after)
            for one in map(idling.IdleEndpoint.model_validate, page.items):
                days = (now - idle.idle_since(one)).total_seconds() / 86_400
                if days >= idle_days:
                    rows.append({**one.model_dump(mode="json"), "idle_days": round(days, 1)})
            if not (after := page.next):
                break
    rows.sort(key=lambda row: -row["idle_days"])
    columns = ("endpoint", "project", "environment", "idle_days", "noticed_at", "stopped_at")
    output.show(rows, as_json=as_json, columns=columns)


@cost.command("oversize")
@click.option(
    "--below", type=click.FloatRange(0, 1, min_open=True), default=0.25, show_default=True, help="Share used."
)
@click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True)
@_PROJECT
@session.AS
@session.JSON
def cost_oversize(below: float, limit: int, project_name: str, actor: str, as_json: bool) -> None:
    """The last runs that kept much more of a budget free than they used: ask for less next time."""
    with session.client(actor or "developer@local") as client:
        found = client.oversize_runs(project=project_name, below=below, limit=limit).items
    columns = ("run_id", "project", "kind", "requested_by", "max_cost", "cost")
    output.show(found, as_json=as_json, columns=columns)


@cost.command("duplicates")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--key", "keys", multiple=True, required=True, help="A join key of the views; repeat it.")
@click.option(
    "--time",
    "times",
    multiple=True,
    default=("event_timestamp", "created_timestamp"),
    show_default=True,
    help="A column of times, which is no feature; repeat it.",
)
@click.option(
    "--nearly", type=click.FloatRange(0.5, 1), default=0.999, show_default=True, help="Of ranks' correlation."
)
@click.option(
    "--made-per-month",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    help="How often views are made.",
)
@session.JSON
def cost_duplicates(
    folder: Path,
    keys: tuple[str, ...],
    times: tuple[str, ...],
    nearly: float,
    made_per_month: float,
    as_json: bool,
) -> None:
    """Features that are there twice among the views of FOLDER (`<view>.parquet`, as trainings make them). Nothing is sent.

    Each with what the second takes: bytes on disk and in an online store, CPU seconds of a making as measured here, and what that comes to by
    the price book (`[cost]`).
    """
    import polars as pl

    from mainspring.core import settings
    from mainspring.core.cost import keeping
    from mainspring.core.features import duplicates

    files = {path.stem: path for path in sorted(folder.rglob("*.parquet")) if not path.is_symlink()}
    if not files:
        raise errors.InvalidRequest(
            f"`{folder}` has no view, which is a `*.parquet` file; name a folder of features", field="folder"
        )
    views = {name: pl.scan_parquet(path) for name, path in files.items()}
    book, rows = settings.load().cost, []
    for found in duplicates.find(views, {*keys, *times}, nearly=nearly):
        kept = keeping.Kept(
            stored_bytes=duplicates.stored_bytes(files, found.other),
            memory_bytes=duplicates.online_bytes(files, found.other, keys, times),
            seconds=duplicates.making_seconds(files, found.other),
        )
        rows.append(
            {
                "one": found.one,
                "other": found.other,
                "kind": found.kind,
                "alike": found.alike,
                "rows": found.rows,
                "bytes": kept.stored_bytes,
                "online_bytes": kept.memory_bytes,
                "seconds": round(kept.seconds, 6),
                "cost_per_month": keeping.cost_per_month(kept, made_per_month=made_per_month, book=book),
                "currency": book.currency,
            }
        )
    columns = (
        "one",
        "other",
        "kind",
        "alike",
        "bytes",
        "online_bytes",
        "seconds",
        "cost_per_month",
        "currency",
    )
    output.show(rows, as_json=as_json, columns=columns)


@cost.command("standing")
@click.argument("run_ids", nargs=-1)
@_PROJECT
@session.AS
@session.JSON
def cost_standing(run_ids: tuple[str, ...], project_name: str, actor: str, as_json: bool) -> None:
    """What runs, and their projects this month, have spent on record of what they may: what workers stop work by."""
    with session.client(actor or "developer@local") as client:
        found = client.standing(runs=run_ids, projects=(project_name,) if project_name else ())
    rows = [
        {"what": what, "name": name, **spending.model_dump(), "currency": found.currency}
        for what, group in (("run", found.runs), ("project", found.projects))
        for name, spending in group.items()
    ]
    output.show(rows, as_json=as_json, columns=("what", "name", "limit", "spent", "currency"))


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

    chosen = format_of(file, form)
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


def format_of(file: Path, form: str | None) -> focus.Format:
    from mainspring.platform.costs import focus

    name = form or {".jsonl": "json"}.get(file.suffix, file.suffix.removeprefix("."))
    if name not in set(focus.Format):
        raise errors.InvalidRequest(
            f"`{file.name}` does not say its format; end it in `.csv`, `.json` or `.parquet`, or give `--format`",
            field="format",
        )
    return focus.Format(name)
