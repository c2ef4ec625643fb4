"""What the policies were asked about reads, and what they answered."""

from __future__ import annotations

from mainspring.core.contracts.base import Message, UtcTime


class ReadDecision(Message):
    """One answer, and how often it was given in an hour to the same question: who, with which roles, reads what of which project."""

    first_at: UtcTime
    last_at: UtcTime
    actor: str
    action: str
    project: str
    """Empty: of all projects together; `*`: of several, or of names of none, which are counted together."""
    allowed: bool
    policies: tuple[str, ...] = ()
    """That decided, by id; none where nothing permits it."""
    version: str
    """Of the set of policies."""
    is_sensitive: bool
    """It was answered only once it was on record."""
    count: int
