"""The data plane under load: `python -m mainspring.bench serving [--quick | --full] [--json] [--output FILE]`.

Servers and load are processes of their own, on a core each. Every contestant's answer is checked before it is timed,
and every answer under load is compared with the checked one; rounds are interleaved, and all but the one whose turn it
is stand still. Peers are installed by `python -m mainspring.bench serving peers install`; one that is not here, or does
not start, is a row that says why. Exit code 1 if an answer is wrong. Data goes to stdout.

`--quick` takes less than 55 seconds and leaves out BentoML and Ray Serve, whose starts would be most of it. `--full` adds
Ray Serve, Triton's batching, longer rounds and a minute of overload at three times the capacity: about 8 minutes.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from typing import Any

from mainspring.bench import suite
from mainspring.bench.native import machine as described
from mainspring.bench.serving import contestants, deployed, forms, goals, machine, measure, servers, shipped
from mainspring.bench.serving.forms import Form
from mainspring.bench.serving.peers import commands, environments

#: Requests a second of the open loop: about half of what the slowest peer carries on one core.
OPEN_RATE = 250.0


@dataclasses.dataclass(frozen=True)
class Extent:
    """How long, how often and against whom."""

    seconds: float
    rounds: int
    open_seconds: float
    open_rounds: int
    overload_seconds: float
    change_seconds: float
    peers: tuple[Form, ...]
    has_ray: bool = False
    long_overload_seconds: float = 0.0


QUICK = Extent(0.24, 2, 0.8, 1, 1.5, 1.2, tuple(f for f in forms.PEERS if f.contestant != commands.BENTOML))
USUAL = Extent(2.0, 5, 6.0, 2, 20.0, 10.0, forms.PEERS)
FULL = Extent(3.0, 9, 10.0, 3, 20.0, 20.0, (*forms.PEERS, *forms.BATCHING), True, 60.0)


def run(extent: Extent) -> dict[str, Any]:
    """The whole suite as one JSON value."""
    began = time.monotonic()
    result: dict[str, Any] = {
        "suite": "serving",
        "version": 2,
        "extent": next(name for name, one in EXTENTS.items() if one == extent),
        "cores": len(os.sched_getaffinity(0)),
        **described.describe(),
    }
    server_cpu, _ = machine.cores()
    timed = (Form(servers.FRONT, "json"), Form(servers.OURS, "json"), Form(servers.FASTAPI, "json"))
    others = tuple(f for f in extent.peers if f.body == "json" and f.model == "mlp")
    asked = (*forms.OURS, *extent.peers, *forms.SLOW)
    with contestants.running(*dict.fromkeys(f.contestant for f in asked), cpu=server_cpu) as found:
        found.hold_still()
        results = measure.throughput(found, asked, seconds=extent.seconds, rounds=extent.rounds)
        result["open_loop"] = measure.open_loop(
            found,
            (*timed, *others),
            seconds=extent.open_seconds,
            rate=OPEN_RATE,
            rounds=extent.open_rounds,
        )
    if extent.has_ray:
        beside = (Form(servers.FRONT, "json"), forms.RAY)
        with contestants.running(servers.FRONT, commands.RAY, cpu=server_cpu) as found:
            results += measure.throughput(found, beside, seconds=extent.seconds, rounds=extent.rounds)[1:]
    result["results"] = results
    overloads = [measure.overload(seconds=extent.overload_seconds, deadline_ms=20.0, times=2.0)]
    if extent.long_overload_seconds:
        overloads.append(measure.overload(seconds=extent.long_overload_seconds, deadline_ms=20.0, times=3.0))
    result["overload"] = overloads
    result["priorities"] = measure.priorities(seconds=extent.overload_seconds / 2)
    result["deployed"] = [
        deployed.by_entity(seconds=extent.seconds, rounds=extent.rounds),
        *deployed.changes(seconds=extent.change_seconds),
        shipped.killed_worker(seconds=extent.change_seconds),
        *shipped.starts(),
    ]
    result["goals"] = goals.judge(
        results, result["open_loop"], overloads, result["priorities"], result["deployed"]
    )
    result["seconds"] = round(time.monotonic() - began, 1)
    return result


EXTENTS = {"quick": QUICK, "usual": USUAL, "full": FULL}


def table(result: dict[str, Any]) -> str:
    """For people: one line a row, then the targets."""
    lines = [f"{'':32} {'requests/s':>11} {'CPU us':>8} {'p50 ms':>8} {'p99 ms':>8} {'MB':>7}"]
    for row in result["results"]:
        if row.get("absent") or not row["correct"]:
            lines.append(f"{row['name']:32} {row.get('absent') or 'WRONG: ' + row['wrong']}")
            continue
        lines.append(
            f"{row['name']:32} {row['requests_per_second']:>11,.0f} {row['cpu_us_per_request']:>8.1f}"
            f" {row['p50_ms']:>8.2f} {row['p99_ms']:>8.2f} {row['resident_mb']:>7.0f}"
        )
    lines.append(f"{'':84} {'value':>9} {'ratio':>7} {'target':>7}")
    for goal in result["goals"]:
        state = "ok" if goal["ok"] else f"NOT MET {goal.get('why', '')}".rstrip()
        value, ratio = (goal[k] if goal[k] is not None else "-" for k in ("value", "ratio"))
        lines.append(f"{goal['name']:84} {value:>9} {ratio:>7} {goal['target']:>7} {state}")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Parse, run, print; or what `peers` says."""
    given = sys.argv[1:] if argv is None else argv
    if given[:1] == ["peers"]:
        return environments.main(given[1:])
    parser = suite.parser("serving", __doc__, quick="shorter and fewer rounds, fewer peers")
    parser.add_argument("--full", action="store_true", help="all peers, longer rounds, a minute of overload")
    arguments = parser.parse_args(given)
    if arguments.quick and arguments.full:
        parser.error("--quick and --full exclude one another")
    result = run(QUICK if arguments.quick else FULL if arguments.full else USUAL)
    suite.show(result, arguments, table)
    return suite.exit_code(result)


if __name__ == "__main__":
    sys.exit(main())
