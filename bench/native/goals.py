"""Every family of kernels: its contests, and its targets beside what the same run measured.

A family is one module with `contests(*, quick)`, which says what `measure.measure` is to time, and
`judge(results, *, quick)`, which gives one `contest.goal` a target and may measure what is no contest (a latency, rows a
second). To add one: import it, name it in FAMILIES, and take its rows out of NOT_BUILT.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

from mainspring.bench.native import batch_contest, contest, contestants, ctr48_contest, table_contest


class Family(Protocol):
    """What a module of a family has."""

    def contests(self, *, quick: bool) -> list[Callable[[], contest.Contest]]: ...
    def judge(self, results: Iterable[dict[str, Any]], *, quick: bool) -> list[dict[str, Any]]: ...


FAMILIES: Final[dict[str, Family]] = {
    "dense": contestants,
    "ctr48": ctr48_contest,
    "table": table_contest,
    "batch": batch_contest,
}

#: What, unit, peer, target: rows that no family answers yet stay in, and are not met.
NOT_BUILT: Final[dict[str, tuple[tuple[str, str, str | None, float], ...]]] = {
    "models": (
        ("trees, batch 1", "us", "onnxruntime", 3),
        ("MLP, batch 1", "us", "onnxruntime", 3),
    ),
}


def contests(*, quick: bool) -> list[Callable[[], contest.Contest]]:
    """What is to be timed, family by family."""
    return [build for family in FAMILIES.values() for build in family.contests(quick=quick)]


def judge(results: Iterable[dict[str, Any]], *, quick: bool) -> list[dict[str, Any]]:
    """One record a target: name, value, unit, ratio, peer, target, ok; `why` where it is missed."""
    found = list(results)
    judged = [goal for family in FAMILIES.values() for goal in family.judge(found, quick=quick)]
    for name, rows in NOT_BUILT.items():
        if name not in FAMILIES:
            judged += [
                contest.goal(what, None, unit, None, peer, target, ok=False) | {"why": "not built yet"}
                for what, unit, peer, target in rows
            ]
    return judged
