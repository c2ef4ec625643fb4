"""Policies: those in force, which sets were, and what a set that is not in force yet would have decided."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mainspring.core.contracts.base import Message, Request, UtcTime


class PolicyView(Message):
    """A policy in force."""

    id: str
    """What decisions on record name."""
    effect: Literal["permit", "forbid"]
    advice: str
    """What somebody who is denied by it, or for want of it, does next."""
    annotations: dict[str, str] = {}
    file: str
    is_ours: bool
    """Of the platform; else of the organisation that runs it."""
    digest: str
    """Of what it says, whatever its comments and white space."""
    version: str
    """Of the set in force that it is in: ours and the organisation's own together."""


class PolicyCase(Message):
    """A stored question that the policy must have decided."""

    name: str
    allowed: bool


class PolicyDetail(PolicyView):
    """A policy with its text."""

    text: str
    """Cedar, formatted; without comments."""
    cases: tuple[PolicyCase, ...] = ()
    """Of the tables beside the policies: those that name it."""


class PolicyVersion(Message):
    """A set that was in force from then on, until the next."""

    version: str
    since: UtcTime | None = None
    """When it is on record; None: it has decided nothing yet."""
    sequence: int = 0
    """Of the audit log's row that says so."""
    how: Literal["first", "start", "reload"]
    """By the first decision on record, or a change that was there at a start or came while the control API ran."""
    is_in_force: bool = False


class PolicyTrial(Request):
    """An organisation's policies, all of them, in the place of those that are in force beside ours."""

    policies: Annotated[
        dict[Annotated[str, Field(min_length=1, max_length=100)], Annotated[str, Field(max_length=500_000)]],
        Field(max_length=200),
    ]
    """Texts of `*.cedar` files by name; none: what would be without any."""
    days: Annotated[int, Field(ge=1, le=90)] = 7
    """How far back the audit log is asked."""


class ChangedDecision(Message):
    """A change or a read that somebody was let do, or was denied, and that would go otherwise."""

    sequence: int
    """Of the audit log's row; 0 for a read, which has none."""
    at: UtcTime
    actor: str
    action: str
    resource: str
    was_allowed: bool
    is_allowed: bool
    was_by: tuple[str, ...] = ()
    """The policies that decided then."""
    is_by: tuple[str, ...] = ()
    """Those that would now."""
    next_step: str = ""
    """What the actor would be told to do, if denied."""
    is_read: bool = False
    count: int = 1
    """How often a read was asked for in the hour that `at` ends."""


class PolicyTrialResult(Message):
    """What a policy set would have changed."""

    version: str
    """Of the set that was tried, ours included."""
    since: UtcTime
    decisions: int
    """On record since then, and asked again; a read as often as it was asked for."""
    reads: int = 0
    """Those of them that were reads."""
    newly_denied: int
    newly_allowed: int
    changes: tuple[ChangedDecision, ...] = ()
    """The newest first, up to 200."""
    is_cut: bool = False
    """There are more on record than were asked again: the newest were."""
