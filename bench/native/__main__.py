"""The dense transform against its peers: `python -m mainspring.bench.native [--quick] [--json] [--output FILE]`.

The answer of each contestant is compared with the float64 reference before it is timed. Exit code 1 if any is wrong.
Data goes to stdout, progress to stderr. `--quick` takes less than 50 seconds on two cores.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import time
from typing import Any

from mainspring.bench.native import cases, contestants, machine, measure


def run(*, quick: bool) -> dict[str, Any]:
    """The whole suite as one JSON value."""
    started = time.monotonic()
    result: dict[str, Any] = {"suite": "native", "version": 1, "quick": quick, "machine": machine.describe()}
    rows = cases.QUICK_ROWS if quick else cases.ROWS
    rounds = measure.QUICK_ROUNDS if quick else measure.ROUNDS
    result["rounds"] = rounds
    result["not_installed"] = contestants.missing_peers()
    result["results"] = list(measure.measure(rows, rounds=rounds))
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
        mark = "  we lose" if row["ratio"] < 1 else ""
        lines.append(f"{row['name']:40} {row['value']:>10} {row['threads']:>8} {row['ratio']:>14}{mark}")
    return "\n".join(lines)


def readme_table(result: dict[str, Any]) -> str:
    """The Markdown table of native/README.md: ours in us/row, then how many times longer each peer takes."""
    about = result["machine"]
    rows = {row["name"]: row for row in result["results"]}
    peers = [r["contestant"] for r in result["results"] if not r["contestant"].startswith("mainspring")]
    peers = list(dict.fromkeys(peers))
    threads = {r["contestant"]: r["threads"] for r in result["results"]}
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


def _times(ratio: float) -> str:
    return f"{ratio:.1f}x" if ratio < 100 else f"{ratio:,.0f}x"


def main(argv: list[str] | None = None) -> int:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(prog="python -m mainspring.bench.native", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="fewer rounds, 262,144 rows in the place of 1,000,000"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--output", type=pathlib.Path, help="also write the JSON to this file")
    arguments = parser.parse_args(argv)
    result = run(quick=arguments.quick)
    text = json.dumps(result, indent=1)
    if arguments.output:
        arguments.output.write_text(text + "\n")
    print(text if arguments.json else table(result))
    return 0 if all(row["correct"] for row in result["results"]) else 1


if __name__ == "__main__":
    sys.exit(main())
