"""`mainspring event`: what goes on record, as it happens."""

from __future__ import annotations

import json
from typing import Any

import rich_click as click

from mainspring.core import errors
from mainspring.platform.cli import output, session

__all__ = ["event"]


@click.group()
def event() -> None:
    """Events: what goes on record, as it happens."""


@event.command("watch")
@click.option("--project", "project_name", default="", help="Of this project only.")
@click.option("--run", "run_id", default="", help="Of this run only, with its stages.")
@click.option("--after", default="", help="Go on after the event of this number; default: from now on.")
@click.option("--until-idle", is_flag=True, help="What there is, and then the end.")
@click.option("--timeout-seconds", type=click.FloatRange(min=0), help="End after so long; default: Ctrl-C.")
@session.AS
@session.JSON
def event_watch(
    project_name: str,
    run_id: str,
    after: str,
    until_idle: bool,
    timeout_seconds: float | None,
    actor: str,
    as_json: bool,
) -> None:
    """A line for each event; with --json a document a line."""
    with session.client(actor or "developer@local") as client:
        told = client.watch(
            project=project_name,
            run=run_id,
            after=after,
            until_idle=until_idle,
            within_seconds=timeout_seconds,
        )
        try:
            for one in told:
                _show(one.model_dump(mode="json"), as_json=as_json)
        except errors.DeadlineExceeded:
            return  # as long as was asked for


def _show(told: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"schema": output.SCHEMA, "data": told}, sort_keys=True))
    elif "stage" in told:
        said = f": {told['message']}" if told["message"] else ""
        click.echo(f"{'':>8}  {told['run_id']} is at {told['stage']}{said}")
    else:
        line = (
            f"{told['sequence']:>8}  {told['at'][:19]}  {told['actor']}  {told['action']}  {told['resource']}"
        )
        click.echo(line if told["outcome"] == "done" else f"{line}  ({told['outcome']})")
