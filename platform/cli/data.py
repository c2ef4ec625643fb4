"""`mainspring catalog` and `mainspring lineage`: what data there is, where it came from and who uses it."""

from __future__ import annotations

from typing import Any, Final

import rich_click as click

from mainspring.platform.cli import output, session

__all__ = ["catalog", "lineage"]

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
        towards = "upstream" if direction == "upstream" else "downstream"
        found = client.lineage(towards, project_name, name, version=version, column=column, kind=kind)
    if as_json:
        output.show(found.model_dump(mode="json"), as_json=True)
        return
    rows = [node.model_dump() for node in found.nodes]
    output.show(rows, as_json=False, columns=("steps", "kind", "name", "column", "version"))
    if found.is_cut:
        click.echo("there is more; ask from a node at the edge", err=True)


def _row(item: dict[str, Any]) -> dict[str, Any]:
    private = any(c["is_pii"] for c in item["columns"])
    fresh = {True: "yes", False: "no", None: ""}[item["is_fresh"]]
    return _blank({**item, "pii": "yes" if private else "", "fresh": fresh})


def _blank(item: dict[str, Any]) -> dict[str, Any]:
    return {k: "" if v is None or v is False else v for k, v in item.items()}
