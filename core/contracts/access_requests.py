"""Access for a time: asked for, decided on, and at an end by itself. Workflow type: `mainspring.ExpireAccess.v1`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field, StringConstraints

from mainspring.core.contracts.base import Message, Request, Slug, UtcTime
from mainspring.core.contracts.members import MemberRole, Place

__all__ = [
    "EXPIRE_WORKFLOW",
    "AccessDecision",
    "AccessReason",
    "AccessRequestCreate",
    "AccessRequestView",
    "AccessState",
    "ExpireOutcome",
    "ExpireRequest",
    "expiry_id",
]

EXPIRE_WORKFLOW: Final = "mainspring.ExpireAccess.v1"

_Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=2000)]


class AccessState(StrEnum):
    """Where a request is. Only grows."""

    OPEN = "open"
    """Nobody has decided yet."""
    ACTIVE = "active"
    """The role holds until `ends_at`, and not a moment longer, whoever has noted its end by then."""
    REJECTED = "rejected"
    LAPSED = "lapsed"
    """Nobody decided in time."""
    EXPIRED = "expired"
    """It held to its end."""
    REVOKED = "revoked"
    """Taken back before: by somebody who may, or by whoever asked."""


class AccessRequestCreate(Request):
    """One role in a project for a time."""

    role: MemberRole
    environment: Place = "*"
    """`*`: in all of them."""
    minutes: Annotated[int, Field(ge=1, le=525_600)] = 60
    """How long from the decision on; `control.access_hours`, or `control.break_glass_hours`, is the most."""
    reason: _Reason


class AccessDecision(Request):
    """Approve or reject an open request."""

    approve: bool
    reason: Annotated[str, Field(max_length=2000)] = ""


class AccessReason(Request):
    """Why access is taken back, or what a review of broken glass found."""

    reason: _Reason


class AccessRequestView(Message):
    """A request, and what became of it."""

    request_id: str
    project: Slug
    actor: str
    role: MemberRole
    environment: Place
    minutes: int
    reason: str
    is_break_glass: bool
    """Taken at once, without a decision; alarmed, and to be reviewed."""
    state: AccessState
    requested_at: UtcTime
    due_at: UtcTime
    """Open: when it lapses. Active: when it ends. Else: when it ended."""
    decided_by: str = ""
    decision_reason: str = ""
    starts_at: UtcTime | None = None
    ends_at: UtcTime | None = None
    """Until when it holds, or would have held."""
    ended_by: str = ""
    end_reason: str = ""
    reviewed_at: UtcTime | None = None
    reviewed_by: str = ""
    review: str = ""
    version: str = ""
    """Of what became of it so far: its ETag, which a decision may name as `If-Match`."""


class ExpireRequest(Message):
    """End a request's state when it is due."""

    project: Slug
    request_id: str
    state: AccessState
    due_at: UtcTime


class ExpireOutcome(Message):
    """What a request is after its time."""

    request_id: str
    state: AccessState


def expiry_id(request: ExpireRequest) -> str:
    """The workflow's id: a request is open once, and active once."""
    return f"{request.request_id}-{request.state}"
