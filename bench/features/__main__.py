"""Feature reads against their peers, and streams: `python -m mainspring.bench.features [--quick] [--json] [--family NAME]`.

The same `get_online_features(...).to_dict()` through Feast + Redis and through our plug-in, rounds interleaved; the
dicts are compared before anything is timed; then our feature server and `feast serve` over HTTP. Family `offline` has point-in-time
joins beside Feast's offline stores, Polars and DuckDB, `streams` events from a broker into the online store. Exit code 1 if any
answer differs. Data goes to stdout, progress to stderr.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mainspring.bench import suite
from mainspring.bench.features import offline_contest, server_contest, servers, streams, world
from mainspring.bench.native import contest, machine, measure

#: rows, features, at least so many times faster with the same dict.
TARGETS = {(1, 10): 60.0, (256, 10): 250.0}
NUMPY_TARGET = 1000.0
#: entities of the quick run and of the full one
ENTITIES = (2_000, 10_000)
FAMILIES = ("reads", "offline", "streams")


def run(*, quick: bool, families: Sequence[str] = FAMILIES) -> dict[str, Any]:
    """The suite, or some families of it, as one JSON value."""
    started = time.monotonic()
    rounds = measure.QUICK_ROUNDS if quick else measure.ROUNDS
    result: dict[str, Any] = {
        "suite": "features",
        "version": 1,
        "quick": quick,
        "machine": machine.describe(),
    }
    result["results"], result["goals"] = [], []
    if "reads" in families:
        for features in (10, 50):
            with world.world(entities=ENTITIES[not quick], features=features) as made:
                contests = [_builder(made, rows) for rows in (1, 32, 256)]
                result["results"] += list(measure.measure(contests, rounds=rounds))
                result["results"] += _over_http(made, rounds)
        result["goals"] += judge(result["results"]) + server_contest.judge(result["results"])
    if "offline" in families:
        offline = offline_contest.run(quick=quick)
        result["results"] += offline
        result["goals"] += offline_contest.judge(offline)
    if "streams" in families:
        measured = streams.run(quick=quick)
        result["results"] += measured
        result["goals"] += streams.judge(measured)
    result["seconds"] = round(time.monotonic() - started, 1)
    return result


def _over_http(made: world.World, rounds: int) -> list[dict[str, Any]]:
    with contextlib.ExitStack() as opened:
        ours = {
            way: opened.enter_context(servers.ours(made.entities, made.features, way))
            for way in server_contest.OURS
        }
        peer = opened.enter_context(servers.feast(made))
        contests = [
            server_contest.builder(ours, peer, features=made.features, rows=rows, entities=made.entities)
            for rows in (1, 32)
        ]
        return list(measure.measure(contests, rounds=rounds))


def _builder(made: world.World, rows: int) -> Callable[[], contest.Contest]:
    return lambda: _contest(made, rows)


def _contest(made: world.World, rows: int) -> contest.Contest:
    drivers = np.random.default_rng(rows).integers(0, made.entities, rows).tolist()
    drivers[-1:] = [made.entities + 1] if rows > 1 else drivers[-1:]  # one that nobody has
    refs, asked = made.refs, {"driver": drivers}
    expected = made.redis.get_online_features(refs, asked).to_dict()

    def is_same(got: dict[str, Any]) -> str | None:
        return None if got == expected else "another dict than Feast + Redis"

    def is_same_numpy(got: dict[str, Any]) -> str | None:
        for name, array in got.items():
            want = np.array([np.nan if v is None else v for v in expected[name]], np.float32)
            if not np.array_equal(array, want, equal_nan=True):
                return f"another `{name}` than Feast + Redis"
        return None

    contestants = [
        contest.Contestant(
            "mainspring", 1, lambda: made.ours.get_online_features(refs, asked).to_dict(), is_same, is_ours=True
        ),
        contest.Contestant(
            "mainspring-numpy", 1, lambda: made.ours.get_online_features(refs, asked).to_numpy(), is_same_numpy,
            is_ours=True, note="arrays in the place of lists",
        ),
        contest.Contestant(
            "feast-redis", 1, lambda: made.redis.get_online_features(refs, asked).to_dict(), is_same
        ),
    ]  # fmt: skip
    return contest.Contest(f"online/{made.features}f", rows, contestants)


def judge(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One record a target: what was measured, and whether it is met."""
    found = {r["name"]: r for r in results}
    goals = []
    for (rows, features), target in TARGETS.items():
        goals.append(_goal(found, rows, features, "mainspring", target))
    goals.append(_goal(found, 256, 50, "mainspring-numpy", NUMPY_TARGET))
    return goals


def _goal(found: dict[str, Any], rows: int, features: int, who: str, target: float) -> dict[str, Any]:
    group = f"online/{features}f/{rows}/"
    ours, peer = found[group + who]["value"], found[group + "feast-redis"]["value"]
    ratio = float(f"{peer / ours:.4g}") if ours and peer else None
    goal = {
        "name": f"{rows} rows x {features} features, {who}, against feast-redis", "value": ours, "unit": "us/row",
        "ratio": ratio, "peer": "feast-redis", "target": target, "ok": ratio is not None and ratio >= target,
    }  # fmt: skip
    if ratio is None:
        goal["why"] = "one of them gave a wrong answer in this run"
    return goal


def table(result: dict[str, Any]) -> str:
    """For people."""
    lines = [f"{'':40} {'us/call':>10} {'ratio to ours':>14}"]
    for row in result["results"]:
        value, ratio = row.get("us_per_call", row["value"]), row.get("ratio")
        if ratio is None and "wrong" not in row:
            ratio = f"{row['value']} {row['unit']}"
        lines.append(f"{row['name']:40} {value!s:>10} {ratio!s:>14} {row.get('wrong', '')}")
    for goal in result["goals"]:
        reached = goal["ratio"] if goal["peer"] else goal["value"]
        sign = "<=" if goal["unit"] in ("s", "ms") else ">="
        lines.append(
            f"{goal['name']:70} {reached!s:>10} {sign} {goal['target']} {'ok' if goal['ok'] else 'NOT MET'}"
        )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Parse, run, print."""
    parser = suite.parser("features", __doc__, quick="fewer rounds and entities")
    parser.add_argument("--family", action="append", choices=FAMILIES, help="this one only; may be repeated")
    arguments = parser.parse_args(argv)
    result = run(quick=arguments.quick, families=arguments.family or FAMILIES)
    suite.show(result, arguments, table)
    return suite.exit_code(result)


if __name__ == "__main__":
    sys.exit(main())
