"""How it is measured: answers first, then interleaved rounds, so that a noisy second hits everyone alike."""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from mainspring.bench.native.contest import Contest, Contestant

#: A sample is repeated until it lasts this long, so that the clock's own cost vanishes.
SAMPLE_SECONDS = 0.002
ROUNDS, QUICK_ROUNDS = 31, 9


def measure(contests: Iterable[Callable[[], Contest]], *, rounds: int) -> Iterator[dict[str, Any]]:
    """One record for each contest and contestant, ours first; each contest is built when its turn comes."""
    for build in contests:
        contest = build()
        print(f"{contest.name}, {contest.rows:,} rows", file=sys.stderr)
        yield from _group(contest, rounds)


def _group(contest: Contest, rounds: int) -> list[dict[str, Any]]:
    group = contest.contestants
    wrong = {c.name: c.check(c.run()) for c in group}  # also the warm-up: numba compiles here
    right = [c for c in group if wrong[c.name] is None]
    repeats = {c.name: _repeats(c.run) for c in right}
    samples: dict[str, list[float]] = {c.name: [] for c in right}
    gc.disable()
    try:
        for _ in range(rounds):
            for c in right:
                samples[c.name].append(_seconds(c.run, repeats[c.name]) / repeats[c.name])
    finally:
        gc.enable()
    first = group[0]
    ours = _per_row(contest, first, samples[first.name]) if wrong[first.name] is None else None
    return [_record(contest, c, wrong[c.name], samples.get(c.name), ours) for c in group]


def _per_row(contest: Contest, c: Contestant, seconds: list[float]) -> float:
    return statistics.median(seconds) / (c.rows_per_call or contest.rows)


def _record(
    contest: Contest, c: Contestant, wrong: str | None, seconds: list[float] | None, ours: float | None
) -> dict[str, Any]:
    record: dict[str, Any] = {
        "name": f"{contest.name}/{contest.rows}/{c.name}",
        "rows": contest.rows,
        "contestant": c.name,
        "threads": c.threads,
        "correct": wrong is None,
        "unit": "us/row",
    }
    if c.note:
        record["note"] = c.note
    if seconds is None:
        return record | {"wrong": wrong, "value": None, "ratio": None}
    ordered = sorted(seconds)
    median = _per_row(contest, c, ordered)
    scale = 1e6 / (c.rows_per_call or contest.rows)
    record |= {
        "value": _round(median * 1e6),
        "min": _round(ordered[0] * scale),
        "p90": _round(ordered[int(0.9 * (len(ordered) - 1))] * scale),
        "us_per_call": _round(statistics.median(ordered) * 1e6),
        # How many times longer than ours, by medians of the same rounds. Below 1 we lose.
        "ratio": _round(median / ours) if ours else None,
    }
    return record


def _round(x: float) -> float:
    return float(f"{x:.4g}")


def _seconds(run: Callable[[], Any], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    return time.perf_counter() - start


def _repeats(run: Callable[[], Any]) -> int:
    repeats = 1
    while (took := _seconds(run, repeats)) < SAMPLE_SECONDS / 2:
        repeats *= 2
    return max(1, round(repeats * SAMPLE_SECONDS / took))
