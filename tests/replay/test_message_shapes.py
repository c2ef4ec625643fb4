"""Replay does not look at what activities are told: the shapes of all messages are held by a stored snapshot.

A run under way sends the old shape to a new worker and the other way round, so a shape may only grow by fields that
have a default. `python tests/replay/test_message_shapes.py` stores the shapes of today.
"""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from mainspring.core.contracts import (
    access_requests,
    canaries,
    deployment,
    drift_checks,
    erasure,
    evaluation,
    holds,
    idling,
    keys,
    materialising,
    monitoring,
    performance,
    pipelines,
    releasing,
    retention,
    retiring,
    retraining,
    scoring,
    skew,
    training,
    tuning,
)
from mainspring.core.contracts.base import Message
from mainspring.workflows.batch_scoring import messages as scoring_messages
from mainspring.workflows.deployment import messages as deployment_messages
from mainspring.workflows.drift_checks import messages as drift_check_messages
from mainspring.workflows.erasing import messages as erasing_messages
from mainspring.workflows.idling import messages as idling_messages
from mainspring.workflows.key_rotation import messages as key_messages
from mainspring.workflows.pipelines import messages as pipelines_messages
from mainspring.workflows.queueing import messages as queueing_messages
from mainspring.workflows.releasing import messages as releasing_messages
from mainspring.workflows.retiring import messages as retiring_messages
from mainspring.workflows.retraining import messages as retraining_messages
from mainspring.workflows.training import messages as training_messages
from mainspring.workflows.tuning import messages as tuning_messages

STORED = Path(__file__).parent / "message_shapes.json"
MODULES = (
    access_requests,
    canaries,
    deployment,
    drift_checks,
    erasure,
    evaluation,
    holds,
    idling,
    keys,
    materialising,
    monitoring,
    performance,
    pipelines,
    releasing,
    retention,
    retiring,
    retraining,
    scoring,
    skew,
    training,
    tuning,
    deployment_messages,
    erasing_messages,
    idling_messages,
    key_messages,
    pipelines_messages,
    queueing_messages,
    releasing_messages,
    retiring_messages,
    drift_check_messages,
    retraining_messages,
    scoring_messages,
    training_messages,
    tuning_messages,
)


def shapes() -> dict[str, dict[str, Any]]:
    """By class: the type of each field, and which fields must be there."""
    found: dict[str, dict[str, Any]] = {}
    for module in MODULES:
        for name, cls in inspect.getmembers(module, inspect.isclass):
            if issubclass(cls, Message) and cls.__module__ == module.__name__:
                schema = cls.model_json_schema()
                schema = schema.get("$defs", {}).get(name, schema)  # one that holds others of its kind
                found[f"{module.__name__}.{name}"] = {
                    "fields": {f: _type(p) for f, p in schema.get("properties", {}).items()},
                    "required": sorted(schema.get("required", [])),
                }
    return found


def _type(schema: dict[str, Any]) -> Any:
    """What values are allowed, without words for people and without bounds."""
    kept = {k: v for k, v in schema.items() if k in ("type", "format", "$ref", "enum")}
    for many in ("anyOf", "allOf", "prefixItems"):
        if many in schema:
            kept[many] = [_type(s) for s in schema[many]]
    for one in ("items", "additionalProperties"):
        if isinstance(schema.get(one), dict):
            kept[one] = _type(schema[one])
    return kept


def breaks(old: dict[str, dict[str, Any]], new: dict[str, dict[str, Any]]) -> list[str]:
    """What a worker of one side could not read of the other."""
    found = []
    for name, shape in old.items():
        if name not in new:
            found.append(f"{name} is gone")
            continue
        for field, kind in shape["fields"].items():
            if field not in new[name]["fields"]:
                found.append(f"{name}.{field} is gone")
            elif new[name]["fields"][field] != kind:
                found.append(f"{name}.{field} has another type")
        for field in sorted(set(new[name]["required"]) - set(shape["required"])):
            found.append(f"{name}.{field} has no default")
    return found


def test_messages_only_grow() -> None:
    assert breaks(json.loads(STORED.read_text()), shapes()) == []


def test_no_message_of_an_activity_is_left_out() -> None:
    ours = {name for name in shapes() if name.startswith("mainspring.workflows.")}
    missing = sorted(ours - set(json.loads(STORED.read_text())))
    assert missing == [], "store the shapes of today: python tests/replay/test_message_shapes.py"


OLD = {"m.A": {"fields": {"x": {"type": "string"}}, "required": ["x"]}}


@pytest.mark.parametrize(
    ("new", "problem"),
    [
        ({}, "m.A is gone"),
        ({"m.A": {"fields": {}, "required": []}}, "m.A.x is gone"),
        ({"m.A": {"fields": {"x": {"type": "integer"}}, "required": ["x"]}}, "m.A.x has another type"),
        (
            {"m.A": {"fields": {"x": {"type": "string"}, "y": {}}, "required": ["x", "y"]}},
            "m.A.y has no default",
        ),
    ],
)
def test_a_breaking_change_is_seen(new: dict[str, dict[str, Any]], problem: str) -> None:
    assert breaks(OLD, new) == [problem]


def test_a_new_field_with_a_default_and_a_new_message_are_no_break() -> None:
    new = {
        "m.A": {"fields": {"x": {"type": "string"}, "y": {"type": "string"}}, "required": ["x"]},
        "m.B": {"fields": {}, "required": []},
    }
    assert breaks(OLD, new) == []


if __name__ == "__main__":
    STORED.write_text(json.dumps(shapes(), indent=1, sort_keys=True) + "\n")
    sys.exit(0)
