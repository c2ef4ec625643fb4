"""How long a model takes for one row, plan included, as the runtime of serving runs it; and whether that is quick enough."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mainspring.core import errors, ports, projects
from mainspring.core.contracts import evaluation
from mainspring.core.features import program

__all__ = ["ROUNDS", "check", "measure"]

GATE: Final = "max_latency_ms"
ROUNDS: Final = 5
REQUESTS: Final = 200
#: A 99th percentile of fewer is their largest.
FEWEST_REQUESTS: Final = 20
WARM_UP: Final = 50
#: A model that takes long is asked less often: no training waits for more than this, or for the fewest requests.
SECONDS: Final = 3.0


def measure(
    runtime: ports.ModelRuntime,
    compiled: program.Program,
    columns: Mapping[str, NDArray[Any]],
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> evaluation.Latency:
    """Ask for the rows of `columns` (each (n,), as the program takes them) one by one, again and again.

    Errors: DataInvalid without a row; those of the program and the runtime.
    """
    rows = [
        {name: values[i : i + 1] for name, values in columns.items()}
        for i in range(len(next(iter(columns.values()), ())))
    ]
    if not rows:
        raise errors.DataInvalid(
            "there is no row to time a prediction of; look at the test split",
            dataset="test",
            failed=("rows",),
        )

    def ask(i: int) -> float:
        began = clock()
        runtime.predict(compiled.run(rows[i % len(rows)]))
        return clock() - began

    _round(ask, WARM_UP, SECONDS / ROUNDS)
    rounds = [_round(ask, REQUESTS, SECONDS / ROUNDS) for _ in range(ROUNDS)]
    p99 = [_percentile(taken, 99) for taken in rounds]
    return evaluation.Latency(
        p50_ms=statistics.median(_percentile(taken, 50) for taken in rounds),
        p99_ms=statistics.median(p99),
        p99_ms_best=min(p99),
        p99_ms_worst=max(p99),
        rounds=ROUNDS,
        requests=sum(map(len, rounds)),
        runtime=runtime.name,
        machine=_machine(),
    )


def check(found: evaluation.Latency, gates: projects.QualityGates) -> dict[str, Any]:
    """Hold it against `max_latency_ms`; what was compared, for the record, empty without such a gate.

    Errors: GateFailed with the rounds and the machine.
    """
    limit = gates.max_latency_ms
    if limit is None:
        return {}
    if not found.p99_ms <= limit:
        raise errors.GateFailed(
            f"gate `{GATE}` expects <= {limit:.3f}, single rows took {found.p99_ms:.3f} ms at the 99th percentile (from"
            f" {found.p99_ms_best:.3f} to {found.p99_ms_worst:.3f} in {found.rounds} rounds, runtime `{found.runtime}`,"
            f" {found.machine}); make the model smaller, or change the gate in a reviewed change",
            gate=GATE,
            expected=f"<= {limit:.3f}",
            got=f"{found.p99_ms:.3f}",
        )
    return {GATE: {"expected": f"<= {limit:.3f}", "got": found.p99_ms}}


def _round(ask: Callable[[int], float], requests: int, seconds: float) -> list[float]:
    taken: list[float] = []
    while len(taken) < requests and (len(taken) < FEWEST_REQUESTS or sum(taken) < seconds):
        taken.append(ask(len(taken)))
    return taken


def _percentile(taken: Sequence[float], q: float) -> float:
    """In milliseconds; one that was measured, none in between."""
    return float(np.percentile(taken, q, method="higher")) * 1000


def _machine() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    cpu = next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "CPU unknown"
    )
    return f"{cpu}, {len(os.sched_getaffinity(0))} of {os.cpu_count()} CPUs"
