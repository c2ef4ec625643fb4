"""`mainspring approval`: what waits for a person's yes."""

from __future__ import annotations

from typing import Final

import rich_click as click

from mainspring.platform.cli import output, session

__all__ = ["approval"]

#: As `core.contracts.approvals.ApprovalKind`, whose import would slow `--help` down; a test holds the two equal.
KINDS: Final = ("run", "access", "erasure", "dpia", "classification", "hold")
_COLUMNS: Final = (
    "id",
    "project",
    "environment",
    "requested_by",
    "requested_at",
    "due_at",
    "may_decide",
    "about",
)
_DECIDED: Final = ("id", "project", "outcome", "requested_by", "decided_by", "decided_at", "about")
_ID: Final = click.argument("approval_id")


@click.group()
def approval() -> None:
    """Approvals: all that waits for a person's yes, of whatever kind."""


@approval.command("list")
@click.option("--project", "project_name", default="", help="Of one project.")
@click.option("--kind", type=click.Choice(KINDS), default=None, help="Of one kind.")
@click.option("--decided", is_flag=True, help="Those that were decided on.")
@click.option("--mine", is_flag=True, help="Those that you may decide on.")
@session.AS
@session.JSON
def approval_list(
    project_name: str, kind: str | None, decided: bool, mine: bool, actor: str, as_json: bool
) -> None:
    """What waits for a decision, newest first."""
    state = "decided" if decided else "open"
    with session.client(actor or "approver@local") as client:
        found = [
            one.model_dump(mode="json")
            for one in client.each_approval(project=project_name, state=state, kind=kind or "", mine=mine)
        ]
    output.show(found, as_json=as_json, columns=_DECIDED if decided else _COLUMNS)


@approval.command("show")
@_ID
@session.AS
@session.JSON
def approval_show(approval_id: str, actor: str, as_json: bool) -> None:
    """APPROVAL_ID, and whether you may decide on it."""
    with session.client(actor or "approver@local") as client:
        output.show(client.approval(approval_id).model_dump(mode="json"), as_json=as_json)


@approval.command("decide")
@_ID
@click.option("--approve/--reject", "approve", required=True, default=None, help="The decision.")
@click.option("--reason", default="", help="Some kinds need one.")
@click.option("--step", default="", help="Which approval of a pipeline is meant, where several wait.")
@session.AS
@session.JSON
def approval_decide(
    approval_id: str, approve: bool, reason: str, step: str, actor: str, as_json: bool
) -> None:
    """Say yes or no to APPROVAL_ID, as its own command does."""
    from mainspring.core.contracts import approvals

    decision = approvals.ApprovalDecision(approve=approve, reason=reason, step=step)
    with session.client(actor or "approver@local") as client:
        looked = client.approval(approval_id)
        made = client.decide_approval(approval_id, decision, version=looked.version)
    output.show(made.model_dump(mode="json"), as_json=as_json)
