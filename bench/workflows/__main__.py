"""Workflows, measured: `python -m mainspring.bench workflows [--quick | --full] [--only NAME ...] [--json] [--output FILE]`.

Everything runs on real servers of its own: Temporal's development server, the shipped worker, Ray, the control API, serving over
signed bundles. Each row checks what came out before it says how long it took; a target that is missed stays, with `ok` false.
Data goes to stdout, what is being measured to stderr. Exit code 1 if something came out wrong.

`--quick` takes about two minutes on a quiet machine and leaves out rows that need Ray. `--full` takes every mutant, and all rows.
`--only cancels --pieces FILE [--size N] [--seconds S]` adds a sitting to FILE; the row is over all that it has (`training` and `recovery`
likewise, but for `--seconds`).
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import pathlib
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from mainspring.bench import suite
from mainspring.bench.native import machine
from mainspring.bench.workflows import (
    canaries,
    cancels,
    deploys,
    goals,
    overhead,
    pieces,
    recoveries,
    replay_guard,
    small_processes,
    thin_client,
    trainings,
)

_Row = Callable[[], dict[str, Any]]

QUICK: Final[Mapping[str, _Row]] = {
    "client": lambda: thin_client.row(rounds=5),
    "overhead": lambda: overhead.row(steps=40, rounds=5),
    "processes": lambda: small_processes.row(count=500, waves=3),
    "bad-candidate": lambda: deploys.bad_row(times=1),
    "false-rollbacks": lambda: canaries.row(seconds=15.0, canaries=1000),
    "replay-guard": lambda: replay_guard.row(sample=120),
}
FULL: Final[Mapping[str, _Row]] = {
    "client": lambda: thin_client.row(rounds=15),
    "overhead": lambda: overhead.row(steps=100, rounds=15),
    "processes": lambda: small_processes.row(count=500, waves=7),
    "training": lambda: trainings.row(rounds=2, fraction=trainings.FRACTION),
    "cancels": lambda: cancels.row(cancels=100, at_once=4),
    "recovery": lambda: recoveries.row(kills=20, load=20),
    "bad-candidate": lambda: deploys.bad_row(times=5),
    "good-candidates": lambda: deploys.good_row(times=20, load=canaries.LOAD),
    "false-rollbacks": lambda: canaries.row(seconds=90.0, canaries=2000),
    "replay-guard": lambda: replay_guard.row(),
}
#: Rows that may be measured in pieces: a piece of so many, how many by default, and the row over pieces.
PIECEWISE: Final[
    Mapping[str, tuple[Callable[[int, float], dict[str, Any]], int, Callable[[list[Any]], dict[str, Any]]]]
] = {
    "training": (
        lambda size, _: trainings.piece(rounds=size, fraction=trainings.FRACTION),
        2,
        trainings.merged,
    ),
    "cancels": (
        lambda size, seconds: cancels.piece(cancels=size, at_once=4, seconds=seconds),
        100,
        cancels.merged,
    ),
    "recovery": (lambda size, _: recoveries.piece(kills=size, load=20), 10, recoveries.merged),
}


def run(rows: Mapping[str, _Row], extent: str) -> dict[str, Any]:
    """These rows, one after the other, as one JSON value."""
    logging.getLogger("temporalio").setLevel(logging.CRITICAL)  # it tells of each mutant that it fails
    began, found = time.monotonic(), []
    result: dict[str, Any] = {"suite": "workflows", "version": 1, "extent": extent, **machine.describe()}
    for name, measured in rows.items():
        print(f"{time.monotonic() - began:6.1f} s  {name}", file=sys.stderr, flush=True)
        # Others' work changes while minutes pass, so each row says what the machine was doing.
        found.append({**measured(), "load_average_1m": round(os.getloadavg()[0], 2)})
    result["results"] = found
    result["goals"] = goals.judge(found)
    result["seconds"] = round(time.monotonic() - began, 1)
    return result


def _with_a_piece(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> Mapping[str, _Row]:
    """The one row of `--only`, as one more piece of its file makes it."""
    if not arguments.only or len(arguments.only) != 1 or arguments.only[0] not in PIECEWISE:
        parser.error(f"--pieces is for one row: --only {' or '.join(PIECEWISE)}")
    (name,) = arguments.only
    if arguments.seconds != math.inf and name != "cancels":
        parser.error("--seconds is for cancels: the other rows' pieces are of whole rounds")
    measured, size, merged = PIECEWISE[name]
    return {
        name: lambda: merged(
            pieces.add(arguments.pieces, measured(arguments.size or size, arguments.seconds))
        )
    }


def table(result: dict[str, Any]) -> str:
    """For people: one line a target."""
    lines = [f"{'':84} {'value':>9} {'ratio':>7} {'target':>7}"]
    for goal in result["goals"]:
        value, ratio = (goal[k] if goal[k] is not None else "-" for k in ("value", "ratio"))
        state = "ok" if goal["ok"] else "NOT MET"
        lines.append(f"{goal['name']:84} {value:>9} {ratio:>7} {goal['target']:>7} {state}")
    lines += [f"{row['name']}: absent, {row['absent']}" for row in result["results"] if row.get("absent")]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Parse, run, print."""
    parser = suite.parser("workflows", __doc__, quick="fewer rounds, a sample of the mutants, nothing on Ray")
    parser.add_argument("--full", action="store_true", help="every row and every mutant")
    parser.add_argument("--only", action="append", choices=list(FULL), help="this row; may be repeated")
    parser.add_argument(
        "--pieces", type=pathlib.Path, help="add a piece of the one row to this file, and tell of all"
    )
    parser.add_argument("--size", type=int, help="of the piece: cancels, rounds, or kills")
    parser.add_argument(
        "--seconds",
        type=float,
        default=math.inf,
        help="of a piece of cancels: none begins later, and it has as many as were made by then",
    )
    arguments = parser.parse_args(argv)
    if arguments.quick and arguments.full:
        parser.error("--quick and --full exclude one another")
    chosen = FULL if arguments.full else QUICK
    if arguments.only:
        chosen = {name: chosen.get(name, FULL[name]) for name in arguments.only}
    if arguments.pieces:
        chosen = _with_a_piece(parser, arguments)
    result = run(chosen, "full" if arguments.full else "quick")
    suite.show(result, arguments, table)
    wrong = [row for row in result["results"] if not row.get("absent") and not row.get("correct", True)]
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
