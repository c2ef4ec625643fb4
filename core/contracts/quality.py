"""Batches that were held because they failed their expectations."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from mainspring.core.contracts.base import Message, Request, Slug, UtcTime

__all__ = ["HeldBatch", "ReleaseCreate"]


class ReleaseCreate(Request):
    """Let a held batch in although it failed."""

    reason: Annotated[str, Field(min_length=1, max_length=2000)]
    """Why it may be used; kept with the batch and in the audit log."""


class HeldBatch(Message):
    """One batch in quarantine."""

    project: Slug
    name: str
    dataset: str
    """What it would have become: `lake`, `features`."""
    workspace: str
    """`full`, or the sample that it was made for."""
    failed: tuple[str, ...]
    """The checks that refused it."""
    instead_of: str
    """Digest of what went on serving; empty: nothing did."""
    reports: tuple[dict[str, Any], ...] = ()
    """Only where one batch is asked for, and without values of its rows: checks and counts."""
    released_by: str = ""
    released_reason: str = ""
    released_at: UtcTime | None = None
