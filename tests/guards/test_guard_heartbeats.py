"""A worker that dies is noticed within seconds, whatever it was doing: every activity beats, and is expected to."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import source_tree

from mainspring.workflows import heartbeat, options

WORKFLOWS = source_tree.ROOT / "workflows"
#: By file and name, why one need not beat. There is none, and an activity that ends in milliseconds is no reason: the worker
#: may be lost before it begins.
WITHOUT: dict[str, str] = {}


def _nodes() -> Iterator[tuple[Path, ast.AST]]:
    for path in sorted(WORKFLOWS.rglob("*.py")):
        place = path.relative_to(WORKFLOWS)
        if "tests" not in place.parts:
            for node in ast.walk(ast.parse(path.read_text())):
                yield place, node


def _called(node: ast.AST) -> set[str]:
    calls = (one.func for one in ast.walk(node) if isinstance(one, ast.Call))
    return {func.attr if isinstance(func, ast.Attribute) else ast.unparse(func) for func in calls}


def _beats(names: set[str], known: dict[str, list[set[str]]], seen: frozenset[str] = frozenset()) -> bool:
    """It calls `beating` itself, or something of this room that does: by name, which is as exact as it need be."""
    if heartbeat.beating.__name__ in names:
        return True
    return any(
        _beats(called, known, seen | {name}) for name in names & known.keys() - seen for called in known[name]
    )


def test_every_activity_beats() -> None:
    known: dict[str, list[set[str]]] = {}
    activities: dict[str, set[str]] = {}
    for place, node in _nodes():
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        known.setdefault(node.name, []).append(_called(node))
        if any(ast.unparse(one).startswith("activity.defn") for one in node.decorator_list):
            activities[f"{place}: {node.name}"] = _called(node)
    assert len(activities) > 50
    silent = {name for name, called in activities.items() if not _beats(called, known)}
    assert silent == set(WITHOUT)


def test_an_activity_that_does_not_beat_is_found() -> None:
    known = {"work": [{"to_thread"}], "in_thread": [{"beating", "to_thread"}], "again": [{"again"}]}
    assert _beats({"in_thread"}, known)
    assert not _beats({"work"}, known)
    assert not _beats({"again"}, known), "one that calls itself is looked at once"


def test_every_set_of_options_expects_beats() -> None:
    sets = {name: value for name, value in vars(options).items() if isinstance(value, dict)}
    sets = {name: value for name, value in sets.items() if name.isupper()}
    assert len(sets) >= 7
    assert {
        name for name, value in sets.items() if value.get("heartbeat_timeout") != options.HEARTBEAT
    } == set()


def test_every_call_of_an_activity_has_such_a_set() -> None:
    """Options have one file: nobody else makes some, and no call goes without."""
    made, without, calls = set(), set(), 0
    for place, node in _nodes():
        if not isinstance(node, ast.Call):
            continue
        name, where = ast.unparse(node.func), f"{place}:{node.lineno}"
        if name.endswith("ActivityConfig") and place.name != "options.py":
            made.add(where)
        if name in ("workflow.execute_activity", "workflow.start_activity"):
            calls += 1
            if not any(word.arg is None for word in node.keywords):
                without.add(where)
    assert (made, without) == (set(), set())
    assert calls > 30
