"""Logs of what a run has in Ray, or had."""

from __future__ import annotations

from mainspring.core.contracts.base import Message, UtcTime

__all__ = ["LogJob", "RunLog"]


class LogJob(Message):
    """One job of a run, as Ray tells of it."""

    name: str
    """Ray's submission id."""
    step: str = ""
    """Of a pipeline: which step it does."""
    status: str
    """`PENDING`, `RUNNING`, `STOPPED`, `SUCCEEDED` or `FAILED`; Ray's own words."""
    started_at: UtcTime | None = None
    ended_at: UtcTime | None = None
    is_kept: bool = False
    """Its lines are those that were kept when it ended: Ray has them no more, or is away."""


class RunLog(Message):
    """A part of one job's log, without what looks like a credential."""

    run_id: str
    jobs: tuple[LogJob, ...] = ()
    """All that Ray knows of the run, and those of which lines were kept; oldest first."""
    job: str = ""
    """Whose lines these are."""
    lines: tuple[str, ...] = ()
    first: int = 0
    """The number of the first of them, counted from 0."""
    total: int = 0
    """Lines that there are by now."""
    unavailable: str = ""
    """Why there is nothing of Ray, and what to do; what was kept is told all the same."""
