"""What was measured: every goal of every stored result, met or missed, and pictures of the contests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import journey_results
from charts import Bar, bars
from words import code, page, prose, table

ROOT = Path(__file__).resolve().parents[2]
INTRO = """Made of the results in `bench/*/results/`. Each goal was set before it was measured; those that are missed stay, with the reason
where one is known. Ratios travel between machines, absolute numbers do not. How it is measured is in [Benchmarks](../benchmarks.md)."""

#: A result file, what it is about, and the command that makes it anew.
SUITES = (
    ("native/results/native-xeon.json", "Kernels", "python -m mainspring.bench native --output FILE"),
    ("serving/results/full-xeon.json", "Serving", "python -m mainspring.bench serving --full --output FILE"),
    ("features/results/reads-xeon.json", "Reads of features", "python -m mainspring.bench features --family reads --output FILE"),
    ("features/results/offline-xeon.json", "Point-in-time joins", "python -m mainspring.bench features --family offline --output FILE"),
    ("features/results/streams-xeon.json", "Streams", "python -m mainspring.bench features --family streams --output FILE"),
    ("workflows/results/workflows-xeon.json", "Workflows", "python -m mainspring.bench workflows --full --output FILE"),
    ("control_plane/results/platform-epyc.json", "The control plane", "python -m mainspring.bench platform --output FILE"),
)  # fmt: skip


def pages() -> dict[str, str]:
    made = {}
    parts = []
    for path, title, command in SUITES:
        found = _read(path)
        met = sum(1 for goal in found["goals"] if goal["ok"])
        drawn = _charts(Path(path).parts[0], found)
        made |= {f"images/bench/{name}.svg": text for name, _, text in drawn}
        parts += [
            f"## {title}",
            f"{met} of {len(found['goals'])} goals met. {_machine(found)} Anew: `{command}`.",
            *(f"![{says}](../images/bench/{name}.svg)" for name, says, _ in drawn),
            table(("goal", "measured", "ratio", "wanted", "", "why"), map(_goal, found["goals"])),
        ]
    job = _read("demo/results/demo-epyc.json")
    told, pictures = journey_results.main_job(job)
    parts += ["## The main job", f"{_machine(job)} Anew: `python -m mainspring.bench demo`.", *told]
    trials = ("classification-xeon", "text-xeon", "vision-epyc", "batch-epyc", "streaming-epyc")
    results = [_read(f"templates/results/{name}.json") for name in trials]
    rows = [row for result in results for row in journey_results.template_rows(result)]
    parts += [
        "## Templates",
        "Anew: `python -m mainspring.bench templates TEMPLATE`.",
        table(journey_results.TEMPLATES_HEAD, rows),
        *journey_results.promises(results),
    ]
    seen = _read("monitoring/results/year.json")
    parts += ["## A year of monitoring", _machine(seen), *journey_results.year(seen)]
    busy = _read("monitoring/results/throughput.json")
    parts += [
        "## A day of ten million answers",
        f"{_machine(busy)} Anew: `python -m mainspring.bench monitoring throughput`.",
        *journey_results.day(busy),
    ]
    made |= pictures
    return made | {"reference/results.md": page("Benchmark results", INTRO, parts)}


def _read(path: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "bench" / path).read_text(encoding="utf-8"))
    return found


def _machine(found: dict[str, Any]) -> str:
    machine = found.get("machine", found)
    return (
        f"{machine['cpu'].replace('(R)', '')}, {machine['cores']} cores, {machine['target_in_force']}, load"
        f" {machine['load_average_1m']} when it began, commit {code(machine['commit'])}."
    )


def _goal(goal: dict[str, Any]) -> tuple[str, ...]:
    ratio = "" if goal.get("ratio") is None else f"{goal['ratio']:,.4g} of {goal['peer'] or 'its floor'}"
    why = goal.get("why") or goal.get("note") or ""
    return (
        prose(goal["name"]),
        f"{goal['value']:,.4g} {goal['unit']}",
        ratio,
        f"{goal['target']:,.4g}",
        "met" if goal["ok"] else "**missed**",
        prose(why),
    )


def _charts(suite: str, found: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Name of the file, what it shows, and the picture."""
    if suite == "native":
        return [
            _chart("transform", "48 features to one matrix, 4,096 rows", _family(found, "ctr48/4096/")),
            _chart("table", "Online rows, 256 keys of 50 floats", _family(found, "table/500000/256/")),
            _chart("trees", "200 boosted trees, one row", _family(found, "trees/1/")),
            _chart("mlp", "A small network, one row", _family(found, "mlp/1/")),
        ]
    if suite == "serving":
        rows = sorted(
            (r for r in found["results"] if r["correct"] and r["model"] == "mlp"),
            key=lambda r: -r["requests_per_second"],
        )
        drawn = [
            Bar(
                r["name"],
                r["requests_per_second"],
                f"{r['requests_per_second']:,.0f}",
                "mainspring" in r["contestant"],
            )
            for r in rows
        ]
        return [
            _chart("serving", "Requests a second on one core, one row each", drawn, "1/s; longer is better")
        ]
    if suite == "features" and any(r["name"].startswith("online/") for r in found["results"]):
        return [
            _chart("reads", "Features in process, 256 rows of 50", _family(found, "online/50f/256/")),
            _chart("reads-http", "Features over HTTP, 32 rows of 50", _family(found, "server/50f/32/")),
        ]
    if suite == "features" and any(r["name"].startswith("offline/call/") for r in found["results"]):
        return [
            _chart(
                "offline",
                "Point-in-time join through Feast's call, 100,000 questions",
                _family(found, "offline/call/100000/"),
            )
        ]
    return []


def _family(found: dict[str, Any], prefix: str) -> list[Bar]:
    rows = [r for r in found["results"] if r["name"].startswith(prefix) and r["correct"]]
    return [
        Bar(r["contestant"], r["value"], f"{r['value']:,.4g}", r["contestant"].startswith("mainspring"))
        for r in sorted(rows, key=lambda r: r["value"])
    ]


def _chart(
    name: str, title: str, rows: Sequence[Bar], unit: str = "us a row; shorter is better"
) -> tuple[str, str, str]:
    return name, f"{title}: {unit}", bars(title, unit, rows)
