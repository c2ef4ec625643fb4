"""`mainspring alert`: what has to be seen to."""

from __future__ import annotations

from typing import Final

import rich_click as click

from mainspring.platform.cli import output, session

__all__ = ["alert"]

_COLUMNS: Final = (
    "alert_id",
    "project",
    "endpoint",
    "state",
    "kind",
    "subject",
    "times",
    "opened_at",
    "message",
)
_REASON: Final = click.option("--reason", required=True, help="What is being done, or why it is over.")


@click.group()
def alert() -> None:
    """Alerts of served models."""


@alert.command("list")
@click.option("--project", "project_name", default="", help="Of this project alone.")
@click.option("--state", type=click.Choice(("open", "acknowledged", "resolved")), default=None)
@click.option("--endpoint", default="", help="Of this endpoint alone.")
@click.option("--limit", type=click.IntRange(1, 500), default=20, show_default=True)
@session.AS
@session.JSON
def alert_list(
    project_name: str, state: str | None, endpoint: str, limit: int, actor: str, as_json: bool
) -> None:
    """Newest first."""
    with session.client(actor or "developer@local") as client:
        page = client.alerts(project=project_name, state=state or "", endpoint=endpoint, limit=limit)
        output.show(page.items, as_json=as_json, columns=_COLUMNS)


@alert.command("show")
@click.argument("alert_id")
@session.AS
@session.JSON
def alert_show(alert_id: str, actor: str, as_json: bool) -> None:
    """An alert, and what happened to it."""
    with session.client(actor or "developer@local") as client:
        output.show(client.alert(alert_id).model_dump(mode="json"), as_json=as_json)


@alert.command("acknowledge")
@click.argument("alert_id")
@_REASON
@session.AS
@session.JSON
def alert_acknowledge(alert_id: str, reason: str, actor: str, as_json: bool) -> None:
    """Say that you see to it."""
    with session.client(actor or "developer@local") as client:
        found = client.acknowledge_alert(alert_id, reason=reason)
        output.show({"alert_id": alert_id, "state": str(found.state)}, as_json=as_json)


@alert.command("resolve")
@click.argument("alert_id")
@_REASON
@session.AS
@session.JSON
def alert_resolve(alert_id: str, reason: str, actor: str, as_json: bool) -> None:
    """Say that it is over."""
    with session.client(actor or "developer@local") as client:
        found = client.resolve_alert(alert_id, reason=reason)
        output.show({"alert_id": alert_id, "state": str(found.state)}, as_json=as_json)
