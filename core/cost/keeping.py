"""What it costs to have something made and kept, by the price book: for waste, of which there is no record. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from mainspring.core import settings
from mainspring.core.cost import pricing
from mainspring.core.cost.idle import HOURS_PER_MONTH

__all__ = ["Kept", "cost_per_month"]

_GIB: Final = 1 << 30


@dataclass(frozen=True)
class Kept:
    """Bytes on disk, bytes in memory, and CPU seconds of one making."""

    stored_bytes: int
    memory_bytes: int
    seconds: float


def cost_per_month(kept: Kept, *, made_per_month: float, book: settings.CostSettings) -> float:
    """In the book's currency, to the billionth. A month has 730 hours."""
    exact = (
        Fraction(kept.stored_bytes, _GIB) * Fraction(book.storage_gib_month)
        + Fraction(kept.memory_bytes, _GIB) * HOURS_PER_MONTH * Fraction(book.memory_gib_hour)
        + Fraction(kept.seconds) / 3600 * Fraction(made_per_month) * Fraction(book.cpu_core_hour)
    )
    return pricing.to_amount(round(exact * 10**9))
