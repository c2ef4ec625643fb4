"""Which policies can match a question at all, by what they name: told from their JSON form, and never guessed.

A policy whose head names its actor or its project, or whose first condition begins with the actor's name, matches no question
of another one, and cannot fail to be evaluated for one either: Cedar reads conditions from the left and stops at the first
`&&` that is false. Whatever is written otherwise is asked about every question.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

__all__ = ["ACTOR", "Named", "named"]

#: Type and name of an entity.
Named: TypeAlias = tuple[str, str]

ACTOR: Final = "Actor"
_PROJECT: Final = "Project"
_ACTORS_NAME: Final = {".": {"left": {"Var": "principal"}, "attr": "name"}}


def named(body: Mapping[str, Any]) -> Named | None:
    """The one actor or project that a policy can be about, by Cedar's JSON form of it; None: it may be about any."""
    for part, kind in (("principal", ACTOR), ("resource", _PROJECT)):
        entity = body[part].get("entity")
        if body[part]["op"] == "==" and entity is not None and entity.get("type") == kind:
            return kind, str(entity["id"])
    conditions = body["conditions"]
    if not conditions or conditions[0]["kind"] != "when":
        return None
    first = conditions[0]["body"]
    while "&&" in first:
        first = first["&&"]["left"]
    return _compared(first.get("==", {}))


def _compared(sides: Mapping[str, Any]) -> Named | None:
    """Of `principal.name == "..."`, either way round."""
    for one, other in (("left", "right"), ("right", "left")):
        if sides.get(one) == _ACTORS_NAME:
            value = sides[other].get("Value")
            return (ACTOR, value) if isinstance(value, str) else None
    return None
