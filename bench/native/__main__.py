"""The kernels against their peers: `python -m mainspring.bench native [--quick] [--json] [--output FILE]`.

The families of kernels and their targets are in `goals`.

The answer of each contestant is compared with the float64 reference before it is timed. Exit code 1 if any is wrong.
Data goes to stdout, progress to stderr. `--quick` takes less than 50 seconds on two cores.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from mainspring.bench import suite
from mainspring.bench.native import contestants, ctr48_peers, goals, machine, measure


def run(*, quick: bool) -> dict[str, Any]:
    """The whole suite as one JSON value."""
    started = time.monotonic()
    result: dict[str, Any] = {"suite": "native", "version": 1, "quick": quick, "machine": machine.describe()}
    rounds = measure.QUICK_ROUNDS if quick else measure.ROUNDS
    result["rounds"] = rounds
    result["not_installed"] = sorted({*contestants.missing_peers(), *ctr48_peers.missing_peers()})
    result["results"] = list(measure.measure(goals.contests(quick=quick), rounds=rounds))
    result["goals"] = goals.judge(result["results"], quick=quick)
    result["seconds"] = round(time.monotonic() - started, 1)
    return result


def table(result: dict[str, Any]) -> str:
    """For people: one line a row, losing rows marked."""
    about = result["machine"]
    lines = [
        f"{about['cpu']}, target {about['target_in_force']}, commit {about['commit']}, medians of {result['rounds']}"
    ]
    lines.append(f"{'':40} {'us/row':>10} {'threads':>8} {'ratio to ours':>14}")
    for row in result["results"]:
        if not row["correct"]:
            lines.append(f"{row['name']:40} WRONG: {row['wrong']}")
            continue
        is_peer = not row["contestant"].startswith("mainspring")
        mark = "  we lose" if is_peer and row["ratio"] < 1 else ""
        lines.append(f"{row['name']:40} {row['value']:>10} {row['threads']:>8} {row['ratio']:>14}{mark}")
    lines.append(f"{'':60} {'value':>10} {'ratio':>10} {'target':>10}")
    for goal in result["goals"]:
        state = "ok" if goal["ok"] else f"NOT MET {goal.get('why', '')}".rstrip()
        value, ratio = (goal[k] if goal[k] is not None else "-" for k in ("value", "ratio"))
        lines.append(f"{goal['name']:60} {value:>10} {ratio:>10} {goal['target']:>10} {state}")
    return "\n".join(lines)


def readme_table(result: dict[str, Any]) -> str:
    """The Markdown table of native/README.md: ours in us/row, then how many times longer each peer takes."""
    about = result["machine"]
    results = [r for r in result["results"] if r["name"].startswith("dense/")]
    rows = {row["name"]: row for row in results}
    peers = list(
        dict.fromkeys(r["contestant"] for r in results if not r["contestant"].startswith("mainspring"))
    )
    threads = {r["contestant"]: r["threads"] for r in results}
    header = [f"{p} ({threads[p]} thr)" for p in peers]
    lines = [
        f"{about['cpu']}, {about['cores']} cores, target {about['target_in_force']}, one thread, commit {about['commit']}, "
        f"medians of {result['rounds']} rounds:",
        "",
        "| | us/row | " + " | ".join(header) + " |",
        "|---|---|" + "---|" * len(peers),
    ]
    for name, ours in rows.items():
        if ours["contestant"] != "mainspring":
            continue
        group = name.removesuffix("mainspring")
        ratios = [_times(rows[group + p]["ratio"]) for p in peers]
        program = "with log1p" if "/log1p/" in name else "without"
        lines.append(
            f"| {ours['rows']:,} row{'s' * (ours['rows'] > 1)}, {program} | {ours['value']:g} | "
            + " | ".join(ratios)
            + " |"
        )
    return "\n".join(lines)


def readme_goals(result: dict[str, Any]) -> str:
    """The Markdown table of all targets, met or not, of native/README.md."""
    lines = ["| what | measured | ratio | target | |", "|---|---|---|---|---|"]
    for goal in result["goals"]:
        unit, target = goal["unit"], f"{goal['target']:,g}"
        if goal["peer"] and goal.get("of") != "value":
            limit = f">= {target}x"
        elif goal["ratio"] is not None and goal.get("of") != "value":
            limit = f"<= {target}x"
        else:
            limit = f"{'>=' if unit.startswith('rows/s') else '<='} {target} {unit}"
        value = f"{goal['value']:,g} {unit}" if goal["value"] is not None else "-"
        ratio = _times(goal["ratio"]) if goal["ratio"] is not None else ""
        lines.append(
            f"| {goal['name']} | {value} | {ratio} | {limit} | {'met' if goal['ok'] else '**missed**'} |"
        )
    return "\n".join(lines)


def _times(ratio: float) -> str:
    return f"{ratio:.1f}x" if ratio < 100 else f"{ratio:,.0f}x"


def main(argv: list[str] | None = None) -> int:
    """Parse, run, print."""
    parser = suite.parser(
        "native", __doc__, quick="fewer rounds, 131,072 rows in the place of 1,000,000, fewer peers"
    )
    arguments = parser.parse_args(argv)
    result = run(quick=arguments.quick)
    suite.show(result, arguments, table)
    return suite.exit_code(result)


if __name__ == "__main__":
    sys.exit(main())
