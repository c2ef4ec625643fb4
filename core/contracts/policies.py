"""Policies that are tried on what was decided before they are in force."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mainspring.core.contracts.base import Message, Request, UtcTime


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
    """A change that somebody made, or was denied, and that would go otherwise."""

    sequence: int
    """Of the audit log's row."""
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


class PolicyTrialResult(Message):
    """What a policy set would have changed."""

    version: str
    """Of the set that was tried, ours included."""
    since: UtcTime
    decisions: int
    """On record since then, and asked again."""
    newly_denied: int
    newly_allowed: int
    changes: tuple[ChangedDecision, ...] = ()
    """The newest first, up to 200."""
    is_cut: bool = False
    """There are more on record than were asked again: the newest were."""
