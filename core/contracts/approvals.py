"""Approvals: everything that waits for a person's yes, of whatever kind, in one form."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from mainspring.core.contracts.base import Message, Request, Slug, UtcTime


class ApprovalKind(StrEnum):
    """What waits. Only grows."""

    RUN = "run"
    """A training, a deployment or a pipeline, before what it made is used."""
    ACCESS = "access"
    """A role for a time."""
    ERASURE = "erasure"
    DPIA = "dpia"
    """An impact assessment."""
    CLASSIFICATION = "classification"
    """A column that tells of persons, perhaps."""
    HOLD = "hold"
    """The lifting of a legal hold."""


class ApprovalState(StrEnum):
    OPEN = "open"
    DECIDED = "decided"
    """By a person, or by nobody in time."""


class ApprovalView(Message):
    """Something that waits for a person, or did; with what the caller may do about it now."""

    id: str
    """`<kind>:<id>`."""
    kind: ApprovalKind
    project: Slug
    environment: str = ""
    """Empty: of the project as a whole."""
    about: str
    """What a yes lets happen, in a line."""
    requested_by: str
    requested_at: UtcTime
    due_at: UtcTime | None = None
    """Nobody may decide any more then; None: it waits as long as it takes."""
    state: ApprovalState
    outcome: str = ""
    """Once it is decided, in the words of its kind."""
    decided_by: str = ""
    decided_at: UtcTime | None = None
    reason: str = ""
    """Of whoever decided."""
    action: str
    """What the policies are asked about whoever decides."""
    decide_by: str
    """The kind's own command; `mainspring approval decide` does the same."""
    may_decide: bool = False
    """The caller, now: a yes. What it would be used for may be looked at again as it is decided."""
    why_not: str = ""
    """What the caller would be told."""
    denied_by: tuple[str, ...] = ()
    """Policies that forbid it; none where nothing permits it."""
    version: str = ""
    """Of what a decision is about: its ETag, which a decision may name as `If-Match`."""


class ApprovalDecision(Request):
    """A person's word. What it needs beside is its kind's: a reason, for a no to a classification and for an assessment."""

    approve: bool
    reason: Annotated[str, Field(max_length=1000)] = ""
    step: Annotated[str, Field(max_length=63)] = ""
    """Run: which approval of a pipeline is meant, where several wait."""
