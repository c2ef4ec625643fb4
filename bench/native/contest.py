"""One question, and who answers it: what the measuring knows of a benchmark."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mainspring.bench import suite


@dataclass(frozen=True)
class Contestant:
    """One implementation, ready to run on one batch."""

    name: str
    threads: int
    run: Callable[[], Any]
    check: Callable[[Any], str | None]  # None, or what is wrong with the answer
    is_ours: bool = False
    rows_per_call: int | None = None  # where a call does not do the whole batch
    note: str | None = None  # what it does less, or otherwise


@dataclass(frozen=True)
class Contest:
    """Everybody on one batch, ours first: the ratio is to the first."""

    name: str
    rows: int
    contestants: list[Contestant]


def goal(
    what: str,
    value: float | None,
    unit: str,
    ratio: float | None,
    peer: str | None,
    target: float,
    *,
    ok: bool,
) -> dict[str, Any]:
    """`suite.goal` whose name says against whom."""
    return suite.goal(f"{what} against {peer}" if peer else what, value, unit, ratio, peer, target, ok=ok)
