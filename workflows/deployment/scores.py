"""How far apart the scores of two bundles are distributed, and whether chance explains it. Arithmetic on counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["Apart", "compare"]

#: One look in ten thousand calls chance a breach where the index is just at its limit: a deployment looks some twenty times at each
#: of up to five gates, and one good candidate in a hundred may go back for what was chance.
_DEVIATIONS: Final = 3.72

#: In the place of a bin that one side has nothing in.
_NONE: Final = 0.5


@dataclass(frozen=True)
class Apart:
    """What is between two distributions."""

    index: float
    """Population stability index, less what chance alone makes of so few scores."""
    is_sure: bool
    """It is above the limit even if chance was against the candidate."""


def compare(candidate: Sequence[int], stable: Sequence[int], limit: float) -> Apart:
    """Counts by bin, of both alike; neither is of nothing.

    Where both are of one distribution the index is (1/n + 1/m) times a chi-square of the bins that are filled, less one;
    where they are `limit` apart, a noncentral one.
    """
    n, m = sum(candidate), sum(stable)
    filled = [(a or _NONE, b or _NONE) for a, b in zip(candidate, stable, strict=True) if a or b]
    all_n, all_m = (sum(side) for side in zip(*filled, strict=True))
    found = sum((a / all_n - b / all_m) * math.log(a / all_n * all_m / b) for a, b in filled)
    unit, freedom = 1 / n + 1 / m, len(filled) - 1
    if not freedom:
        return Apart(0.0, is_sure=False)
    return Apart(max(0.0, found - unit * freedom), is_sure=found > unit * _highest(freedom, limit / unit))


def _highest(freedom: int, away: float) -> float:
    """What a noncentral chi-square is not above but by chance (Abdel-Aty's cube root)."""
    mean = freedom + away
    spread = 2 * (1 + away / mean) / (9 * mean)
    return mean * (1 - spread + _DEVIATIONS * math.sqrt(spread)) ** 3
