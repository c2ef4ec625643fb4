"""What runs and their projects have spent of what they may, as whoever has work under way asks for it."""

from __future__ import annotations

from mainspring.core.contracts.base import Message, Slug

__all__ = ["Spending", "Standing"]


class Spending(Message):
    """`spent` is what is on record: what is at work has used more."""

    limit: float | None = None
    """None: there is none."""
    spent: float = 0.0


class Standing(Message):
    """Of the runs that were asked about and may be known of, and of their projects. Amounts are in `currency`."""

    currency: str
    prices: dict[str, float]
    """By SKU of the price book, of one of its units."""
    runs: dict[str, Spending] = {}
    """By id; a run that the control API did not start is absent."""
    projects: dict[Slug, Spending] = {}
    """Of this month (UTC)."""
