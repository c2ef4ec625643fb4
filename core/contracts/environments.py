"""Where runs and endpoints are: what each environment lets through, as the policies in force answer it."""

from __future__ import annotations

from mainspring.core.contracts.base import Message

__all__ = ["EnvironmentList", "EnvironmentView"]


class EnvironmentView(Message):
    """One environment. What depends on a role is told for whoever has the role that it takes."""

    name: str
    reads_synthetic_only: bool
    """Confidential and restricted columns are rows of nobody, or sealed (`control.synthetic_only`)."""
    decides_own: bool
    """An approver may decide on a run that he started."""
    approves_itself: bool
    """A run may be approved by what it was started with (`auto_approve_by`)."""
    trains_on_samples: bool
    """A training may read less than all rows."""
    projects: int
    """Of those that one may know of: with an endpoint there."""


class EnvironmentList(Message):
    """All there are, from where things are tried to where they count."""

    environments: tuple[EnvironmentView, ...]
