"""The data plane under load: `python -m mainspring.bench.serving [--quick] [--json] [--output FILE]`.

Servers and load are processes of their own, on a core each. Every contestant's answer is checked before it is timed;
rounds are interleaved. Exit code 1 if an answer is wrong. Data goes to stdout. `--quick` takes less than 55 seconds.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from mainspring.bench import suite
from mainspring.bench.serving import goals, measure

#: Requests a second of the open loop: what plain FastAPI can still carry on one core, at about half of its limit.
OPEN_RATE = 1000.0


def run(*, quick: bool) -> dict[str, Any]:
    """The whole suite as one JSON value."""
    began = time.monotonic()
    result: dict[str, Any] = {
        "suite": "serving",
        "version": 1,
        "quick": quick,
        "cores": len(os.sched_getaffinity(0)),
        "load_average_1m": round(os.getloadavg()[0], 2),
    }
    start = measure.start()
    result["results"] = measure.throughput(seconds=0.7 if quick else 3.0, rounds=2 if quick else 7)
    result["open_loop"] = measure.open_loop(seconds=1.5 if quick else 10.0, rate=OPEN_RATE)
    result["overload"] = measure.overload(seconds=3.0 if quick else 20.0, deadline_ms=20.0, times=2.0)
    result["start"] = start
    result["goals"] = goals.judge(result["results"], result["open_loop"], result["overload"], start)
    result["seconds"] = round(time.monotonic() - began, 1)
    return result


def table(result: dict[str, Any]) -> str:
    """For people: one line a row, then the targets."""
    lines = [f"{'':32} {'requests/s':>11} {'CPU us':>8} {'p50 ms':>8} {'p99 ms':>8} {'MB':>7}"]
    for row in result["results"]:
        if not row["correct"]:
            lines.append(f"{row['name']:32} WRONG: {row['wrong']}")
            continue
        lines.append(
            f"{row['name']:32} {row['requests_per_second']:>11,.0f} {row['cpu_us_per_request']:>8.1f}"
            f" {row['p50_ms']:>8.2f} {row['p99_ms']:>8.2f} {row['resident_mb']:>7.0f}"
        )
    lines.append(f"{'':68} {'value':>9} {'ratio':>7} {'target':>7}")
    for goal in result["goals"]:
        state = "ok" if goal["ok"] else f"NOT MET {goal.get('why', '')}".rstrip()
        value, ratio = (goal[k] if goal[k] is not None else "-" for k in ("value", "ratio"))
        lines.append(f"{goal['name']:68} {value:>9} {ratio:>7} {goal['target']:>7} {state}")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Parse, run, print."""
    parser = suite.parser("serving", __doc__, quick="shorter and fewer rounds")
    arguments = parser.parse_args(argv)
    result = run(quick=arguments.quick)
    suite.show(result, arguments, table)
    return suite.exit_code(result)


if __name__ == "__main__":
    sys.exit(main())
