"""`mainspring catalog`, `lineage`, `trace` and `quarantine`: what data there is, where it came from, what was not let in."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal

import rich_click as click

from mainspring.platform.cli import output, session

if TYPE_CHECKING:
    from mainspring.core.contracts import catalog as contracts

__all__ = ["catalog", "lineage", "quarantine", "trace"]

_LIST: Final = ("project", "kind", "name", "owner", "classification", "pii", "rows", "fresh", "description")
_COLUMNS: Final = (
    "name",
    "dtype",
    "is_key",
    "is_pii",
    "classification",
    "missing",
    "distinct",
    "low",
    "high",
    "mean",
)


@click.group()
def catalog() -> None:
    """Datasets, views, services and plans: who answers for them, what they hold, who uses them."""


@catalog.command("list")
@click.option(
    "--search", default="", help="Words that all occur in name, columns, description, tags or owner."
)
@click.option("--project", "project_name", default="")
@click.option("--kind", type=click.Choice(["dataset", "view", "service", "plan"]))
@click.option("--classification", type=click.Choice(["public", "internal", "confidential", "restricted"]))
@click.option("--pii/--no-pii", default=None, help="Those that tell of persons; those that do not.")
@click.option("--limit", type=click.IntRange(1, 500), default=100, show_default=True)
@session.AS
@session.JSON
def catalog_list(
    search: str,
    project_name: str,
    kind: str | None,
    classification: str | None,
    pii: bool | None,
    limit: int,
    actor: str,
    as_json: bool,
) -> None:
    """What there is, by project and name."""
    wanted: dict[str, Any] = {
        "search": search,
        "project": project_name,
        "kind": kind or "",
        "classification": classification or "",
    }
    if pii is not None:
        wanted["pii"] = pii
    with session.client(actor or "developer@local") as client:
        page = client.search_catalog(limit=limit, **wanted)
    if as_json:
        output.show(page.items, as_json=True)
        return
    output.show([_row(item) for item in page.items], as_json=False, columns=_LIST)
    if page.next:
        click.echo(f"the first {limit}; narrow them by --search, or ask for more by --limit", err=True)


@catalog.command("show")
@click.argument("project_name")
@click.argument("name")
@session.AS
@session.JSON
def catalog_show(project_name: str, name: str, actor: str, as_json: bool) -> None:
    """One entry: its columns with their statistics, its freshness, and what is made of it."""
    with session.client(actor or "developer@local") as client:
        found = client.catalog_entry(project_name, name).model_dump(mode="json")
    if as_json:
        output.show(found, as_json=True)
        return
    listed = {
        k: v for k, v in found.items() if k not in ("columns", "downstream") and v not in (None, [], {}, "")
    }
    output.show(listed, as_json=False)
    if found["columns"]:
        click.echo("")
        output.show([_blank(c) for c in found["columns"]], as_json=False, columns=_COLUMNS)
    if found["downstream"]:
        click.echo("")
        output.show(found["downstream"], as_json=False, columns=("kind", "name", "versions"))


@click.command()
@click.argument("direction", type=click.Choice(["upstream", "downstream"]))
@click.argument("project_name")
@click.argument("name")
@click.option("--version", default="", help="A digest; default: every version.")
@click.option("--column", default="", help="One of its columns.")
@click.option("--kind", default="", help="Only what is of this kind, such as `model`.")
@session.AS
@session.JSON
def lineage(
    direction: str,
    project_name: str,
    name: str,
    version: str,
    column: str,
    kind: str,
    actor: str,
    as_json: bool,
) -> None:
    """Where a dataset, column or model came from, or where it goes."""
    with session.client(actor or "developer@local") as client:
        towards: Literal["upstream", "downstream"] = "upstream" if direction == "upstream" else "downstream"
        found = client.walk_lineage(towards, project_name, name, version=version, column=column, kind=kind)
    if as_json:
        output.show(found.model_dump(mode="json"), as_json=True)
        return
    rows = [node.model_dump() for node in found.nodes]
    output.show(rows, as_json=False, columns=("steps", "kind", "name", "column", "version"))
    if found.is_cut:
        click.echo("there is more; ask from a node at the edge", err=True)


@click.command()
@click.argument("project_name")
@click.argument("model_version")
@click.option("--as-of", required=True, help="When the prediction was made, such as 2013-12-01T10:00:00Z.")
@click.option(
    "--key", "keys", multiple=True, required=True, help="A join key of the request, as `name=value`."
)
@session.AS
@session.JSON
def trace(
    project_name: str, model_version: str, as_of: str, keys: tuple[str, ...], actor: str, as_json: bool
) -> None:
    """The row of each view that a prediction came from: MODEL_VERSION is in its answer."""
    entity = {}
    for one in keys:
        name, equals, value = one.partition("=")
        if not (name and equals):
            raise click.UsageError(f"`{one}` is no key; write `name=value`")
        entity[name] = value
    try:
        at = datetime.fromisoformat(as_of)
    except ValueError as error:
        raise click.UsageError(f"`{as_of}` is no ISO 8601 time") from error
    with session.client(actor or "developer@local") as client:
        found = client.prediction_rows(project_name, model_version, as_of=at, entity=entity)
    if as_json:
        output.show(found.model_dump(mode="json"), as_json=True)
        return
    click.echo(f"model of run {found.run_id}", err=True)
    rows = [_blank(row) for row in found.model_dump(mode="json")["rows"]]
    output.show(rows, as_json=False, columns=("view", "status", "event_at", "age_seconds", "version"))


@catalog.command("put")
@click.argument("project_name")
@click.argument("file", type=click.File("rb"))
@session.DRY_RUN
@session.AS
@session.JSON
def catalog_put(project_name: str, file: BinaryIO, dry_run: bool, actor: str, as_json: bool) -> None:
    """Make the entries of FILE (a JSON list, as `catalog list --json` has them) the whole catalog of a project."""
    from mainspring.core.contracts import catalog as contracts

    try:
        asked = contracts.CatalogPut.model_validate({"entries": json.load(file)})
    except json.JSONDecodeError as error:
        raise click.UsageError(f"`{file.name}` is no JSON: {error}; correct it") from error
    with session.client(actor or "developer@local") as client:
        version = client.catalog_summary(project_name).version
        if dry_run:
            before = {one.name: _put(one) for one in client.each_catalog_entry(project=project_name)}
            after = {one.name: _put(one) for one in asked.entries}
            output.show_change(f"catalog of {project_name}", before, after, as_json=as_json)
            return
        made = client.put_catalog(project_name, asked.entries, version=version)
    output.show(made.model_dump(mode="json"), as_json=as_json)


def _put(entry: contracts.CatalogEntry) -> dict[str, Any]:
    """What is put of an entry; the rest of it is what became of it."""
    from mainspring.core.contracts import catalog as contracts

    return entry.model_dump(mode="json", include=set(contracts.CatalogEntry.model_fields))


@click.group()
def quarantine() -> None:
    """Batches that failed their expectations and are held, while the last good one serves."""


@quarantine.command("list")
@click.argument("project_name")
@click.option("--limit", type=click.IntRange(1, 500), default=100, show_default=True)
@session.AS
@session.JSON
def quarantine_list(project_name: str, limit: int, actor: str, as_json: bool) -> None:
    """What is held of a project, and what was released."""
    with session.client(actor or "developer@local") as client:
        page = client.quarantine(project_name, limit=limit)
    rows = page.items if as_json else [{**h, "failed": "; ".join(h["failed"])} for h in page.items]
    output.show(rows, as_json=as_json, columns=("name", "dataset", "workspace", "released_by", "failed"))
    if page.next and not as_json:
        click.echo(f"the first {limit}; ask for more by --limit", err=True)


@quarantine.command("show")
@click.argument("project_name")
@click.argument("name")
@session.AS
@session.JSON
def quarantine_show(project_name: str, name: str, actor: str, as_json: bool) -> None:
    """One batch: what failed, with what was expected and observed."""
    with session.client(actor or "developer@local") as client:
        found = client.held_batch(project_name, name).model_dump(mode="json")
    if as_json:
        output.show(found, as_json=True)
        return
    output.show({k: v for k, v in found.items() if k != "reports" and v}, as_json=False)
    click.echo("")
    checks = [c for report in found["reports"] for c in report["checks"] if not c["ok"]]
    output.show(checks, as_json=False, columns=("name", "expected", "observed", "fatal"))


@quarantine.command("release")
@click.argument("project_name")
@click.argument("name")
@click.option("--reason", required=True, help="Why it may be used although it failed.")
@session.AS
@session.JSON
def quarantine_release(project_name: str, name: str, reason: str, actor: str, as_json: bool) -> None:
    """Let a batch in although it failed; on record with who did so and why."""
    with session.client(actor or "approver@local") as client:
        found = client.release_batch(project_name, name, reason=reason).model_dump(mode="json")
    output.show(found if as_json else {k: v for k, v in found.items() if k != "reports"}, as_json=as_json)


def _row(item: dict[str, Any]) -> dict[str, Any]:
    private = any(c["is_pii"] for c in item["columns"])
    fresh = {True: "yes", False: "no", None: ""}[item["is_fresh"]]
    return _blank({**item, "pii": "yes" if private else "", "fresh": fresh})


def _blank(item: dict[str, Any]) -> dict[str, Any]:
    return {k: "" if v is None or v is False else v for k, v in item.items()}
