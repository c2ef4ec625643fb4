"""`mainspring access`: roles for a time."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

import rich_click as click

from mainspring.platform.cli import members, output, session

__all__ = ["access", "minutes"]

F = TypeVar("F", bound=Callable[..., Any])

#: As `core.contracts.access_requests.AccessState`, whose import would slow `--help` down; a test holds the two equal.
STATES: Final = ("open", "active", "rejected", "lapsed", "expired", "revoked")
_COLUMNS: Final = ("request_id", "state", "actor", "role", "environment", "due_at", "reason")
_UNITS: Final = {"m": 1, "h": 60, "d": 24 * 60}
_PROJECT: Final = click.argument("project_name")
_REQUEST: Final = click.argument("request_id")


@click.group()
def access() -> None:
    """Access for a time: ask for a role, decide on it, take it in an emergency, give it back."""


def minutes(_context: click.Context, _parameter: click.Parameter, text: str) -> int:
    """`45m`, `4h`, `2d`."""
    found = re.fullmatch(r"(\d{1,6})([mhd])", text)
    if not found:
        raise click.BadParameter(f"`{text}` is no time; write `45m`, `4h` or `2d`")
    return int(found[1]) * _UNITS[found[2]]


def _wanted(role: str, minutes: int, reason: str) -> Any:
    from mainspring.core.contracts import access_requests

    ((place, (one,)),) = members.by_place((role,)).items()
    return access_requests.AccessRequestCreate.model_validate(
        {"role": one, "environment": place, "minutes": minutes, "reason": reason}
    )


_ROLE: Final = click.argument("role", metavar="[ENVIRONMENT:]ROLE")
_FOR: Final = click.option("--for", "minutes", default="1h", show_default=True, callback=minutes)


def _reason(what: str) -> Callable[[F], F]:
    return click.option("--reason", required=True, help=what)


@access.command("request")
@_PROJECT
@_ROLE
@_FOR
@_reason("What it is for; whoever decides reads it.")
@session.AS
@session.JSON
def access_request(
    project_name: str, role: str, minutes: int, reason: str, actor: str, as_json: bool
) -> None:
    """Ask for a role, such as `prod:developer`; it holds from the decision on."""
    wanted = _wanted(role, minutes, reason)
    with session.client(actor or "developer@local") as client:
        output.show(client.ask_access(project_name, wanted).model_dump(mode="json"), as_json=as_json)


@access.command("break-glass")
@_PROJECT
@_ROLE
@_FOR
@_reason("What the emergency is; it is alarmed with it, and reviewed.")
@session.AS
@session.JSON
def access_break_glass(
    project_name: str, role: str, minutes: int, reason: str, actor: str, as_json: bool
) -> None:
    """Take a role now, for a short time: nobody decides, everybody is told, and somebody reviews it."""
    wanted = _wanted(role, minutes, reason)
    with session.client(actor or "developer@local") as client:
        output.show(client.break_glass(project_name, wanted).model_dump(mode="json"), as_json=as_json)


@access.command("list")
@_PROJECT
@click.option("--state", type=click.Choice(STATES))
@click.option("--unreviewed", is_flag=True, help="Broken glass that nobody has reviewed.")
@session.AS
@session.JSON
def access_list(project_name: str, state: str | None, unreviewed: bool, actor: str, as_json: bool) -> None:
    """A project's requests, newest first."""
    with session.client(actor or "developer@local") as client:
        asked = client.each_access_request(project_name, state=state or "", unreviewed=unreviewed)
        found = [one.model_dump(mode="json") for one in asked]
    output.show(found, as_json=as_json, columns=_COLUMNS)


@access.command("show")
@_PROJECT
@_REQUEST
@session.AS
@session.JSON
def access_show(project_name: str, request_id: str, actor: str, as_json: bool) -> None:
    """One request, and what became of it."""
    with session.client(actor or "developer@local") as client:
        found = client.access_request(project_name, request_id)
        output.show(found.model_dump(mode="json"), as_json=as_json)


def _decide(project: str, request_id: str, approve: bool, reason: str, actor: str, as_json: bool) -> None:
    with session.client(actor or "approver@local") as client:
        found = client.decide_access(project, request_id, approve=approve, reason=reason)
        output.show(found.model_dump(mode="json"), as_json=as_json)


@access.command("approve")
@_PROJECT
@_REQUEST
@click.option("--reason", default="")
@session.AS
@session.JSON
def access_approve(project_name: str, request_id: str, reason: str, actor: str, as_json: bool) -> None:
    """Let somebody else have the role, from now on."""
    _decide(project_name, request_id, True, reason, actor, as_json)


@access.command("reject")
@_PROJECT
@_REQUEST
@click.option("--reason", required=True)
@session.AS
@session.JSON
def access_reject(project_name: str, request_id: str, reason: str, actor: str, as_json: bool) -> None:
    """Say no."""
    _decide(project_name, request_id, False, reason, actor, as_json)


@access.command("revoke")
@_PROJECT
@_REQUEST
@_reason("Why it ends before its time.")
@session.AS
@session.JSON
def access_revoke(project_name: str, request_id: str, reason: str, actor: str, as_json: bool) -> None:
    """End it now: somebody's, or one's own."""
    with session.client(actor or "approver@local") as client:
        found = client.revoke_access(project_name, request_id, reason=reason)
        output.show(found.model_dump(mode="json"), as_json=as_json)


@access.command("review")
@_PROJECT
@_REQUEST
@click.option("--finding", required=True, help="What the access was used for, and whether that was right.")
@session.AS
@session.JSON
def access_review(project_name: str, request_id: str, finding: str, actor: str, as_json: bool) -> None:
    """Review broken glass, once it is over."""
    with session.client(actor or "approver@local") as client:
        found = client.review_access(project_name, request_id, finding=finding)
        output.show(found.model_dump(mode="json"), as_json=as_json)
