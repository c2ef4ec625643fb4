"""The table of cases tells our policies from every one that is a step away from them and answers otherwise."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from mainspring.platform.policies import cases, engine, sources

OURS = engine.PolicyEngine.load()
TABLE = cases.load(sources.FOLDER / cases.FILE)


def _mutants() -> Iterator[tuple[str, engine.PolicyEngine]]:
    """Each policy left out, each of its conditions dropped or turned round, each role or name in it another's."""
    for policy in OURS.policies:
        others = tuple(p for p in OURS.policies if p is not policy)
        yield f"{policy.id}: left out", engine.PolicyEngine(OURS._schema, others)
        for told, body in _changed(dict(policy.body)):
            mutant = dataclasses.replace(policy, body=body)
            yield f"{policy.id}: {told}", engine.PolicyEngine(OURS._schema, (*others, mutant))


def _changed(body: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    conditions = body["conditions"]
    for i, one in enumerate(conditions):
        yield f"condition {i} dropped", {**body, "conditions": conditions[:i] + conditions[i + 1 :]}
        turned = {"when": "unless", "unless": "when"}[one["kind"]]
        rest = [*conditions[:i], {**one, "kind": turned}, *conditions[i + 1 :]]
        yield f"condition {i} turned round", {**body, "conditions": rest}
        for told, changed in _changed_expression(one["body"]):
            rest = [*conditions[:i], {**one, "body": changed}, *conditions[i + 1 :]]
            yield f"condition {i}: {told}", {**body, "conditions": rest}
    named = body["action"].get("entities", [])
    for one in named if len(named) > 1 else []:
        fewer = {**body["action"], "entities": [n for n in named if n is not one]}
        yield f"action {one['id']} left out", {**body, "action": fewer}


def _changed_expression(body: Any) -> Iterator[tuple[str, Any]]:
    """Every one-step change of an expression: a part of `&&` alone, an operator or a negation turned, a role left out."""
    if isinstance(body, dict):
        (operator, inner), *_ = body.items()
        if operator in ("&&", "||"):
            yield f"left of {operator} alone", inner["left"]
            yield f"right of {operator} alone", inner["right"]
            yield f"{operator} turned", {{"&&": "||", "||": "&&"}[operator]: inner}
        if operator in ("==", "!="):
            yield f"{operator} turned", {{"==": "!=", "!=": "=="}[operator]: inner}
        if operator == "!":
            yield "negation dropped", inner["arg"]
        for key, value in body.items():
            for told, changed in _changed_expression(value):
                yield told, {**body, key: changed}
    elif isinstance(body, list):
        for i, one in enumerate(body):
            if isinstance(one, dict) and "Value" in one and len(body) > 1:
                yield f"{one['Value']} left out", body[:i] + body[i + 1 :]
            for told, changed in _changed_expression(one):
                yield told, [*body[:i], changed, *body[i + 1 :]]


def survivors() -> tuple[list[str], int]:
    """Mutants that the whole table does not tell from ours, and how many mutants there are."""
    alive, count = [], 0
    for told, mutant in _mutants():
        count += 1
        if not _is_told(mutant, told.partition(":")[0]):
            alive.append(told)
    return alive, count


def _is_told(mutant: engine.PolicyEngine, changed: str) -> bool:
    """By any case; by one that the changed policy decides, most often, so those come first."""
    likely = sorted(TABLE, key=lambda case: changed not in case.policies)
    return any(cases.run(mutant, [case]) for case in likely)


#: Answers as ours does, by the same ids: whom it would permit more than ours, `run.retire.role` forbids the same.
NO_OTHER = ["run.retire: condition 0: left of && alone"]


def test_the_table_tells_mutants_from_ours() -> None:
    """Each that can be told; the README beside the policies says how many there are."""
    alive, count = survivors()
    assert alive == NO_OTHER
    said = (sources.FOLDER / "README.md").read_text(encoding="utf-8")
    assert f"Of {count} mutants" in said and f" {count - len(alive)} are told from ours" in said
