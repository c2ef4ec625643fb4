"""`mainspring environment`: what each environment lets through."""

from __future__ import annotations

import rich_click as click

from mainspring.platform.cli import output, session

__all__ = ["environment"]

_COLUMNS = (
    "name",
    "reads_synthetic_only",
    "decides_own",
    "approves_itself",
    "trains_on_samples",
    "projects",
)


@click.group()
def environment() -> None:
    """Environments, and what each lets through."""


@environment.command("list")
@session.AS
@session.JSON
def environment_list(actor: str, as_json: bool) -> None:
    """From where things are tried to where they count, as the policies in force answer."""
    with session.client(actor or "developer@local") as client:
        found = client.environments()
    rows = [one.model_dump(mode="json") for one in found.environments]
    output.show(rows, as_json=as_json, columns=_COLUMNS)
