"""Share what is of all among receivers, so that nothing is lost and nothing is made. Pure, in whole billionths."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from mainspring.core.contracts.capacity import Capacity
from mainspring.core.contracts.cost_reports import SHARED, Split

__all__ = ["Cost", "Line", "Of", "charge", "shares"]


@dataclass(frozen=True, order=True)
class Of:
    """What a cost is of."""

    service: str
    sku: str
    capacity: Capacity = Capacity.ON_DEMAND
    is_correction: bool = False


#: By receiver, and by what it is of: billionths.
Cost: TypeAlias = Mapping[str, Mapping[Of, int]]


@dataclass(frozen=True, order=True)
class Line:
    receiver: str
    is_share: bool
    of: Of
    nanos: int


def shares(nanos: int, weights: Sequence[int]) -> list[int]:
    """Whole parts of `nanos` as the weights are, by the largest remainder; of equal ones the first. All of them together are `nanos`.

    `weights` are not negative, and one is not 0.
    """
    total = sum(weights)
    parts = [divmod(nanos * weight, total) for weight in weights]
    left = nanos - sum(whole for whole, _ in parts)
    largest = sorted(range(len(parts)), key=lambda i: (-parts[i][1], i))[:left]
    return [whole + (i in largest) for i, (whole, _) in enumerate(parts)]


def charge(direct: Cost, shared: Mapping[Of, int], split: Split) -> list[Line]:
    """What each receiver has, in order, and what is of all by the rule: receivers are those that have something themselves.

    Each line of what is of all is split by itself, so that the lines of a service add up as well.
    """
    lines = [Line(name, False, of, nanos) for name, used in direct.items() for of, nanos in used.items()]
    names = sorted(direct)
    if split is Split.NONE or not names:
        return sorted([*lines, *(Line(SHARED, True, of, nanos) for of, nanos in shared.items())])
    weights = _weights(direct, names, split)
    for of, nanos in shared.items():
        parts = zip(names, shares(nanos, weights), strict=True)
        lines += [Line(name, True, of, part) for name, part in parts if part]
    return sorted(lines)


def _weights(direct: Cost, names: Iterable[str], split: Split) -> list[int]:
    weights = [max(0, sum(direct[name].values())) for name in names]
    even = split is Split.EVEN or not any(weights)
    return [1] * len(weights) if even else weights
