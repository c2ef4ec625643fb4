"""On what kind of nodes something was used: the price book has a rate for each."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Capacity"]


class Capacity(StrEnum):
    """How nodes were got. Only grows."""

    ON_DEMAND = "on-demand"
    SPOT = "spot"
    """They may be taken away at any moment."""
    RESERVED = "reserved"
    """Committed to for a year, say, used or not."""
