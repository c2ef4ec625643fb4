"""What is published of the processes: whole documents, and a comparison that sees every break and no growth."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from mainspring.core.contracts import base, published, training


class Asked(base.Message):
    name: str
    count: int = 1


def document() -> dict[str, Any]:
    return published.schemas()[training.TRAIN_WORKFLOW]


def test_a_document_has_everything_that_it_refers_to() -> None:
    for name, schema in published.schemas().items():
        assert schema["title"] == name
        assert set(schema["properties"]) >= {"request", "result"}
        refs = {ref.removeprefix("#/$defs/") for ref in references(schema)}
        assert refs <= set(schema["$defs"])
    assert set(document()["properties"]) >= {"query:status", "update:decide", "update:decide:answer"}
    fields = document()["$defs"]["TrainRequest"]["properties"]
    assert "idempotency key" in fields["run_id"]["description"]


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [ref for below in value.values() for ref in references(below)]
    return [ref for below in value for ref in references(below)] if isinstance(value, list) else []


def test_nothing_breaks_where_nothing_changed() -> None:
    assert published.breaks(document(), document()) == []


def _request(schema: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = schema["$defs"]["TrainRequest"]
    return found


BREAKS: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (lambda s: s["properties"].pop("update:decide"), "`update:decide` is gone"),
    (lambda s: s["properties"].update(result={"$ref": "#/$defs/Other"}), "`result` is another message"),
    (lambda s: s["$defs"].pop("Decision"), "`Decision` is gone"),
    (lambda s: _request(s)["properties"].pop("seed"), "`TrainRequest`.seed is gone"),
    (
        lambda s: _request(s)["properties"]["seed"].update(type="string"),
        "`TrainRequest`.seed is of another type",
    ),
    (
        lambda s: _request(s)["required"].append("seed"),
        "`TrainRequest`.seed must be there now; give it a default",
    ),
    (
        lambda s: _request(s)["properties"]["num_workers"].update(maximum=8),
        "`TrainRequest`.num_workers has a tighter `maximum`",
    ),
    (
        lambda s: _request(s)["properties"]["seed"].update(minimum=0),
        "`TrainRequest`.seed has a tighter `minimum`",
    ),
    (lambda s: s["$defs"]["Stage"]["enum"].remove("warm"), "`Stage` has no value `warm` any more"),
    (
        lambda s: s["$defs"]["RunStatus"]["properties"]["steps"].update(items={"type": "string"}),
        "`RunStatus`.steps is of another type",
    ),
    (
        lambda s: _request(s)["properties"]["epochs"]["anyOf"][0].update(type="number"),
        "`TrainRequest`.epochs is of another type",
    ),
    (
        lambda s: _request(s)["properties"]["epochs"]["anyOf"].pop(),
        "`TrainRequest`.epochs is of another type",
    ),
]


@pytest.mark.parametrize(("change", "said"), BREAKS, ids=[said for _, said in BREAKS])
def test_a_break_is_said(change: Callable[[dict[str, Any]], Any], said: str) -> None:
    new = copy.deepcopy(document())
    change(new)
    assert said in published.breaks(document(), new)


def test_growth_is_none() -> None:
    new = copy.deepcopy(document())
    new["$defs"]["New"] = {"type": "object", "properties": {}}
    new["properties"]["query:new"] = {"$ref": "#/$defs/New"}
    new["$defs"]["Stage"]["enum"].append("resting")
    fields = _request(new)["properties"]
    fields["new"] = {"type": "string", "default": ""}
    fields["num_workers"]["maximum"] = 128
    fields["run_id"]["description"] = "other words"
    assert published.breaks(document(), new) == []


def test_a_message_with_a_field_more_is_growth_and_one_less_is_a_break() -> None:
    class AskedMore(Asked):
        more: str = ""

    class Answer(base.Message):
        done: bool = True

    def of(kind: type[BaseModel]) -> dict[str, Any]:
        assert issubclass(kind, base.Message)
        made = published.schema("x.v1", published.Published(kind, Answer))
        made["$defs"]["Asked"] = made["$defs"].pop(kind.__name__)
        made["properties"]["request"] = {"$ref": "#/$defs/Asked"}
        return made

    assert published.breaks(of(Asked), of(AskedMore)) == []
    assert published.breaks(of(AskedMore), of(Asked)) == ["`Asked`.more is gone"]
