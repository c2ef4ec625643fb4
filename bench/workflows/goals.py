"""Issue 6's targets beside what was measured; where one is missed, why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from mainspring.bench import suite

__all__ = ["judge", "table"]

_Judged = dict[str, Any]


def judge(rows: Sequence[Mapping[str, Any]]) -> list[_Judged]:
    """A goal or two for each row that was measured; absent rows have none."""
    found = []
    for row in rows:
        if not row.get("absent"):
            found += _GOALS[row["name"]](row)
    return found


def table(judged: Sequence[Mapping[str, Any]]) -> list[str]:
    """The rows of a table in Markdown, as the README has them."""
    lines = []
    for goal in judged:
        ratio = "" if goal["ratio"] is None else f", {goal['ratio']} of {goal['peer']}"
        said = "met" if goal["ok"] else "**missed**"
        lines.append(
            f"| {goal['name']} | {goal['value']} {goal['unit']}{ratio} | {goal['target']} | {said} |"
        )
    return lines


def _overhead(row: Mapping[str, Any]) -> list[_Judged]:
    ratio = row["ratio"]
    return [
        suite.goal(
            "a step beside Temporal's bare one",
            row["ours_ms"],
            "ms",
            ratio,
            "temporalio",
            1.3,
            ok=ratio <= 1.3,
        )
    ]


def _training(row: Mapping[str, Any]) -> list[_Judged]:
    ratio = row["ratio"]
    return [
        suite.goal(
            f"TrainModel without its start-up of {row['start_up_seconds']:.1f} s, beside the script by hand",
            row["seconds"], "s", ratio, "by hand", 1.15, ok=ratio <= 1.15,
        )
    ]  # fmt: skip


def _recovery(row: Mapping[str, Any]) -> list[_Judged]:
    """A step that is begun twice is no wrong answer, and costs its time."""
    found = []
    for name, beside in (("quiet", "as the machine is"), ("loaded", f"beside {row['load']} busy loops")):
        if (seen := row.get(name)) is None:
            continue
        p95, dead = seen["p95_seconds"], seen["taken_for_dead"]
        what = f"a killed worker's step goes on elsewhere, p95 of {seen['steps']} {beside}"
        found.append(suite.goal(what, p95, "s", None, None, 5.0, ok=p95 < 5.0))
        what = f"living workers taken for dead {beside}"
        found.append(suite.goal(what, dead, "steps", None, None, 0.0, ok=dead == 0))
    return found


def _cancels(row: Mapping[str, Any]) -> list[_Judged]:
    p99, leaked = row["freed_p99_seconds"], row["leaked"]
    return [
        suite.goal(
            f"cancel to resources free, p99 of {row['cancels']}", p99, "s", None, None, 5.0, ok=p99 < 5.0
        ),
        suite.goal(
            f"jobs leaked in {row['cancels']} cancels", leaked, "jobs", None, None, 0.0, ok=leaked == 0
        ),
    ]


def _bad(row: Mapping[str, Any]) -> list[_Judged]:
    gone = row["gone_max_seconds"]
    ok = gone < 10.0 and row["failed_requests"] == 0
    return [suite.goal("a bad candidate is gone, the slowest", gone, "s", None, None, 10.0, ok=ok)]


def _good(row: Mapping[str, Any]) -> list[_Judged]:
    share = row["rolled_back"] / row["deployments"]
    name = f"false rollbacks of {row['deployments']} real deployments at load {row['load']}"
    return [suite.goal(name, share, "share", None, None, 0.01, ok=share < 0.01)]


def _false(row: Mapping[str, Any]) -> list[_Judged]:
    good, bad = row["good"], row["bad"]
    what = f"of {good['canaries']} canaries over latencies at load {row['load']}"
    return [
        suite.goal(f"false rollbacks {what}", good["share"], "share", None, None, 0.01, ok=good["share"] < 0.01),
        suite.goal(
            f"{row['slower']:.0f} times slower ones that go back {what}",
            bad["share"], "share", None, None, 0.99, ok=bad["share"] >= 0.99,
        ),
    ]  # fmt: skip


def _guard(row: Mapping[str, Any]) -> list[_Judged]:
    share = row["caught"] / row["breaking"]
    enough = row["is_sample"] or row["breaking"] >= 200
    name = f"breaking mutants caught of {row['breaking']}{' (a sample)' if row['is_sample'] else ''}"
    return [suite.goal(name, share, "share", None, None, 1.0, ok=share == 1.0 and enough)]


def _processes(row: Mapping[str, Any]) -> list[_Judged]:
    """Whether memory is flat only several waves can say."""
    asked, after = row["count"] * row["waves"], row["after_each_wave_mb"]
    name = f"{row['count']} processes at once, {row['waves']} times: finished"
    found = [suite.goal(name, row["finished"], "runs", None, None, asked, ok=row["finished"] == asked)]
    if row["waves"] >= 3:
        name, growth = "memory of the worker after the last wave, beside the middle one", row["growth"]
        found.append(suite.goal(name, after[-1], "MB", growth, "the middle wave", 1.05, ok=growth <= 1.05))
    return found


def _client(row: Mapping[str, Any]) -> list[_Judged]:
    wall, floor = row["quiet"]["client_wall_seconds"], row["quiet"]["floor_wall_seconds"]
    return [
        suite.goal(
            "import of the thin client",
            wall,
            "s",
            wall / floor,
            "temporalio and pydantic",
            0.6,
            ok=wall <= 0.6,
        )
    ]


_GOALS: Final[Mapping[str, Callable[[Mapping[str, Any]], list[_Judged]]]] = {
    "a step that does nothing": _overhead,
    "a training": _training,
    "cancel to resources free": _cancels,
    "a killed worker": _recovery,
    "a bad candidate": _bad,
    "good candidates under load": _good,
    "false rollbacks": _false,
    "replay guard": _guard,
    "small processes at once": _processes,
    "import of the thin client": _client,
}
