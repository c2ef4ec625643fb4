"""Every family of kernels: its contests, and its targets beside what the same run measured.

A family is one module with `contests(*, quick)`, which says what `measure.measure` is to time, and
`judge(results, *, quick)`, which gives one `contest.goal` a target and may measure what is no contest (a latency, rows a
second). To add one: import it and name it in FAMILIES. A target is a ratio where the record has a peer; `"of":
"value"` says that it is of the value nevertheless.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

from mainspring.bench.native import (
    batch_contest,
    contest,
    contestants,
    ctr48_contest,
    models_contest,
    table_contest,
)


class Family(Protocol):
    """What a module of a family has."""

    def contests(self, *, quick: bool) -> list[Callable[[], contest.Contest]]: ...
    def judge(self, results: Iterable[dict[str, Any]], *, quick: bool) -> list[dict[str, Any]]: ...


FAMILIES: Final[dict[str, Family]] = {
    "dense": contestants,
    "ctr48": ctr48_contest,
    "table": table_contest,
    "batch": batch_contest,
    "models": models_contest,
}


def contests(*, quick: bool) -> list[Callable[[], contest.Contest]]:
    """What is to be timed, family by family."""
    return [build for family in FAMILIES.values() for build in family.contests(quick=quick)]


def judge(results: Iterable[dict[str, Any]], *, quick: bool) -> list[dict[str, Any]]:
    """One record a target: name, value, unit, ratio, peer, target, ok; `why` where it is missed."""
    found = list(results)
    return [goal for family in FAMILIES.values() for goal in family.judge(found, quick=quick)]
