"""`mainspring hold`: legal holds."""

from __future__ import annotations

from typing import Any, Final

import rich_click as click

from mainspring.core import errors
from mainspring.platform.cli import output, session

__all__ = ["hold"]

#: As `contracts.retention.KeptKind`, which is not imported for `--help`; a test compares them.
KINDS: Final = (
    "predictions",
    "reads",
    "skew_reports",
    "held_batches",
    "pipeline_contents",
    "lineage_events",
    "job_logs",
)
_COLUMNS: Final = ("hold_id", "state", "matter", "kinds", "since", "until", "entity", "placed_by", "reason")
_PROJECT: Final = click.argument("project_name")
_HOLD: Final = click.argument("hold_id")


@click.group()
def hold() -> None:
    """Legal holds: what must be kept, placed by one person and lifted by two."""


@hold.command("list")
@_PROJECT
@click.option("--in-force", is_flag=True, help="Without those that were lifted.")
@session.AS
@session.JSON
def hold_list(project_name: str, in_force: bool, actor: str, as_json: bool) -> None:
    """A project's holds, newest first."""
    with session.client(actor or "developer@local") as client:
        found = [one.model_dump(mode="json") for one in client.each_hold(project_name, in_force=in_force)]
    output.show(found, as_json=as_json, columns=_COLUMNS)


@hold.command("show")
@_PROJECT
@_HOLD
@session.AS
@session.JSON
def hold_show(project_name: str, hold_id: str, actor: str, as_json: bool) -> None:
    """One hold, and who placed it, asked to lift it and approved that."""
    with session.client(actor or "developer@local") as client:
        _show(client.hold(project_name, hold_id), as_json)


@hold.command("place")
@_PROJECT
@click.option("--matter", required=True, help="The case, as those who know it call it.")
@click.option(
    "--reason", required=True, help="Why it must be kept, without a subject's key: it is on record."
)
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice(KINDS),
    help="As often as needed; default: everything.",
)
@click.option("--since", help="What was written since then (ISO 8601, UTC); default: from the beginning.")
@click.option("--until", help="And until then; default: and all that comes.")
@click.option("--entity", default="", help="A hold on one subject: its join key's name.")
@click.option(
    "--key", "key_file", type=click.File(), default="-", help="A file with the subject's key; default: stdin."
)
@session.AS
@session.JSON
def hold_place(
    project_name: str,
    matter: str,
    reason: str,
    kinds: tuple[str, ...],
    since: str | None,
    until: str | None,
    entity: str,
    key_file: Any,
    actor: str,
    as_json: bool,
) -> None:
    """Keep what was written in a time, or with `--entity` one subject; erasures that are under way stop."""
    from mainspring.core.contracts import holds as contracts

    subject = {"entity": entity, "key": key_file.read().strip()} if entity else None
    told = {
        "matter": matter,
        "reason": reason,
        "kinds": kinds,
        "since": since,
        "until": until,
        "subject": subject,
    }
    asked = contracts.HoldCreate.model_validate(told)
    with session.client(actor or "approver@local") as client:
        _show(client.place_hold(project_name, asked), as_json)


@hold.command("lift")
@_PROJECT
@_HOLD
@click.option("--reason", required=True, help="Why it is not needed any more; whoever decides reads it.")
@session.AS
@session.JSON
def hold_lift(project_name: str, hold_id: str, reason: str, actor: str, as_json: bool) -> None:
    """Ask that it be lifted. It is in force until somebody else approves."""
    with session.client(actor or "approver@local") as client:
        _show(client.lift_hold(project_name, hold_id, reason=reason), as_json)


@hold.command("decide")
@_PROJECT
@_HOLD
@click.option("--approve", is_flag=True, help="Lift it.")
@click.option("--refuse", is_flag=True, help="Keep it.")
@click.option("--reason", default="")
@session.AS
@session.JSON
def hold_decide(
    project_name: str, hold_id: str, approve: bool, refuse: bool, reason: str, actor: str, as_json: bool
) -> None:
    """Lift it or keep it, as somebody else than who asked to lift it."""
    if approve is refuse:
        raise errors.InvalidRequest("say either `--approve` or `--refuse`", field="approve")
    with session.client(actor or "admin@local") as client:
        _show(client.decide_hold(project_name, hold_id, approve=approve, reason=reason), as_json)


def _show(found: Any, as_json: bool) -> None:
    output.show(found.model_dump(mode="json"), as_json=as_json)
