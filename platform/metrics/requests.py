"""How often each route was asked, how it answered, and how long that took."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

__all__ = ["BUCKETS", "RequestBook"]

#: Upper bounds in seconds; what took longer is in the last one alone, `+Inf`.
BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass
class _Times:
    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    total: float = 0.0


class RequestBook:
    """Of one process. Labels are routes that exist, methods and statuses: callers cannot add any. One event loop."""

    def __init__(self) -> None:
        self.answers: Counter[tuple[str, str, str]] = Counter()
        """By method, route and status; status `0`: the caller left."""
        self._times: dict[tuple[str, str], _Times] = {}

    def add(self, method: str, route: str, status: int, seconds: float) -> None:
        self.answers[method, route, str(status)] += 1
        times = self._times.setdefault((method, route), _Times())
        times.counts[bisect_left(BUCKETS, seconds)] += 1
        times.total += seconds

    def times(self) -> Iterator[tuple[tuple[str, str], list[tuple[str, float]], float]]:
        """For each method and route: how many took at most so long, and the seconds of all."""
        for key, found in sorted(self._times.items()):
            ends = [*(str(bound) for bound in BUCKETS), "+Inf"]
            yield key, list(zip(ends, map(float, accumulate(found.counts)), strict=True)), found.total
