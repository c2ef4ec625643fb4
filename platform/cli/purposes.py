"""`mainspring purpose`: what a project's data may be used for."""

from __future__ import annotations

import rich_click as click

from mainspring.platform.cli import output, session

__all__ = ["purpose"]

_COLUMNS = ("entry", "purposes", "bound_by", "decided_by", "reason")


@click.group()
def purpose() -> None:
    """What data may be used for: said by definitions and by a person, and asked of every run, read and export."""


@purpose.command("list")
@click.argument("project_name")
@session.AS
@session.JSON
def purpose_list(project_name: str, actor: str, as_json: bool) -> None:
    """Datasets and views by name; one without purposes may be used for whatever the policies let it be."""
    rows, after = [], ""
    with session.client(actor or "developer@local") as client:
        while True:
            page = client.purposes(project_name, after=after)
            rows += page.items
            if not (after := page.next):
                break
    output.show(rows, as_json=as_json, columns=_COLUMNS)


@purpose.command("show")
@click.argument("project_name")
@click.argument("entry")
@session.AS
@session.JSON
def purpose_show(project_name: str, entry: str, actor: str, as_json: bool) -> None:
    """One, with the version of what a person said of it."""
    with session.client(actor or "developer@local") as client:
        output.show(client.purposes_of(project_name, entry).model_dump(mode="json"), as_json=as_json)


@purpose.command("set")
@click.argument("project_name")
@click.argument("entry")
@click.argument("purposes", nargs=-1, required=True)
@click.option("--reason", required=True)
@click.option("--version", default="", help="Of what was said before, from `show`; else as it is now.")
@session.AS
@session.JSON
def purpose_set(
    project_name: str,
    entry: str,
    purposes: tuple[str, ...],
    reason: str,
    version: str,
    actor: str,
    as_json: bool,
) -> None:
    """ENTRY, and what is made of it, may be used for PURPOSES and nothing else."""
    from mainspring.core.contracts import purposes as contracts

    wanted = contracts.PurposesPut.model_validate({"purposes": list(purposes), "reason": reason})
    with session.client(actor or "approver@local") as client:
        seen = version or client.purposes_of(project_name, entry).version
        made = client.put_purposes(project_name, entry, wanted, version=seen)
    output.show(made.model_dump(mode="json"), as_json=as_json)
