"""pytest-benchmark's view of the same cases: `pytest bench/native --benchmark-only [--benchmark-group-by=group]`."""

from __future__ import annotations

from typing import Any

import pytest

from mainspring.bench.native import cases, contestants

#: Large batches are left to `python -m mainspring.bench native`.
ROWS = (1, 64, 4096)
NAMES = [c.name for c in contestants.contest(cases.make_case(1, is_log1p=True)).contestants]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("is_log1p", [True, False], ids=["log1p", "plain"])
def bench_dense(benchmark: Any, rows: int, name: str, is_log1p: bool) -> None:
    """One contestant on one batch; its answer is checked before it is timed."""
    case = cases.make_case(rows, is_log1p=is_log1p)
    contestant = next(c for c in contestants.contest(case).contestants if c.name == name)
    wrong = contestant.check(contestant.run())
    assert wrong is None, wrong
    benchmark.group = f"dense/{case.name}/{rows}"
    benchmark.extra_info["threads"] = contestant.threads
    benchmark(contestant.run)
