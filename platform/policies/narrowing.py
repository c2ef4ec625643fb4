"""Which policies can match a question at all, by what they demand: told from their JSON form, and never guessed.

A policy demands something of a question where its head does, or a condition that must hold: an actor's name, a project, or a value of an
attribute. It matches no question that lacks it, and cannot fail to be evaluated for one either: Cedar reads a policy from the left
and stops at what is false, and a demand counts only if nothing before it can fail. What such an expression may be is a list, of
what the schema's check leaves no way to fail: no arithmetic, no extension, no entity but those that come with every question.
Whatever is written otherwise is asked about every question.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from mainspring.platform.policies import questions

__all__ = ["Demand", "Place", "WORTH", "demands", "is_name", "placed", "places"]

#: Where a policy looks, and what it must find there.
Place: TypeAlias = tuple[str, str]
#: The places of which a question must have one.
Demand: TypeAlias = frozenset[Place]

#: Policies that are spared, from which on an attribute is worth sets of its own: to ask another one costs as much as some thirty policies.
WORTH: Final = 40

_ACTOR: Final = "principal.name"
_RESOURCE: Final = "resource"
_PARENT: Final = "resource in"
#: A value of each is somebody's or something's name: who demands one is hardly ever asked.
_NAMES: Final = (_ACTOR, _RESOURCE, _PARENT, "resource.name")
_VARIABLES: Final = ("principal", "resource", "context")
#: Of what the parts must not fail; `in` and `has` ask an entity that there is.
_PARTS: Final = {
    **dict.fromkeys(
        ("==", "!=", "&&", "||", "contains", "containsAll", "containsAny", "in"), ("left", "right")
    ),
    "like": ("left",),
    "is": ("left", "in"),
    "!": ("arg",),
    "if-then-else": ("if", "then", "else"),
}


def is_name(place: Place) -> bool:
    """Of somebody or something, and not a value that many share."""
    return place[0] in _NAMES


def places(question: questions.Question) -> Iterator[Place]:
    """All that a question has, of what a policy may demand."""
    who, what = question.principal, question.resource
    yield _ACTOR, who.name
    yield _RESOURCE, _named(what.type, what.id)
    yield _PARENT, _named(what.type, what.id)
    yield from ((_PARENT, _named(kind, name)) for kind, name in what.parents)
    yield from ((f"resource.{name}", value) for name, value in what.attributes.items())
    yield from (
        (f"context.{name}", value) for name, value in question.context.items() if isinstance(value, str)
    )


def demands(body: Mapping[str, Any]) -> list[Demand]:
    """What a policy demands, by Cedar's JSON form of it: it matches no question that lacks one of them."""
    found = [*_of_head(body)]
    for condition in body["conditions"]:
        parts = _conjuncts(condition["body"]) if condition["kind"] == "when" else [condition["body"]]
        for part in parts:
            if condition["kind"] == "when" and (demand := _demand(part)):
                found.append(demand)
            elif not _cannot_fail(part):
                return found
    return found


def placed(bodies: Sequence[Mapping[str, Any]]) -> list[Demand | None]:
    """Of each policy about one action the demand that it is found by; None: it is looked at for every question.

    A name that is demanded goes first, and then what tells most policies apart; by an attribute only where enough are spared.
    """
    all_of = [demands(body) for body in bodies]
    values = Counter(
        where for where, _ in {place for found in all_of for demand in found for place in demand}
    )
    chosen = [min(found, key=lambda demand: _rank(demand, values), default=None) for found in all_of]
    asked = Counter(place for demand in chosen if demand for place in demand)
    total = Counter(where for where, _ in asked.elements())
    most = {where: max(n for (at, _), n in asked.items() if at == where) for where in total}
    return [
        demand if demand and all(at in _NAMES or total[at] - most[at] >= WORTH for at, _ in demand) else None
        for demand in chosen
    ]


def _rank(demand: Demand, values: Mapping[str, int]) -> tuple[int, int, int, list[Place]]:
    at = {where for where, _ in demand}
    order = max(_NAMES.index(where) if where in _NAMES else len(_NAMES) for where in at)
    return order, -min(values[where] for where in at), len(demand), sorted(demand)


def _named(kind: str, name: str) -> str:
    return f"{kind}::{name}"


def _of_head(body: Mapping[str, Any]) -> Iterator[Demand]:
    who, what = body["principal"], body["resource"]
    if who["op"] == "==" and (found := _of_entity("principal", who.get("entity"))):
        yield found
    if what["op"] in ("==", "in") and (
        found := _of_entity(_RESOURCE if what["op"] == "==" else _PARENT, what.get("entity"))
    ):
        yield found


def _of_entity(where: str, entity: Any) -> Demand | None:
    """An actor is known by its name: both are the same."""
    if not isinstance(entity, Mapping):
        return None
    if where != "principal":
        return frozenset({(where, _named(entity["type"], entity["id"]))})
    return frozenset({(_ACTOR, str(entity["id"]))}) if entity["type"] == "Actor" else None


def _conjuncts(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The parts that must all hold, from the left."""
    if "&&" not in body:
        return [body]
    sides = body["&&"]
    return [*_conjuncts(sides["left"]), *_conjuncts(sides["right"])]


def _demand(part: Mapping[str, Any]) -> Demand | None:
    """Of `where == "..."`, either way round, `resource in ...`, `["...", ...].contains(where)`, and of some of these with `||` between."""
    ((kind, of),) = part.items()
    if kind == "||":
        one, other = _demand(of["left"]), _demand(of["right"])
        return one | other if one and other else None
    if kind == "contains" and "Set" in of["left"]:
        each = [_compared(of["right"], value) for value in of["left"]["Set"]]
        return frozenset().union(*(found for found in each if found)) if each and all(each) else None
    if kind == "==":
        return _compared(of["left"], of["right"]) or _compared(of["right"], of["left"])
    if kind == "in" and of["left"] == {"Var": "resource"}:
        return _of_entity(_PARENT, _entity(of["right"]))
    return None


def _compared(one: Mapping[str, Any], other: Mapping[str, Any]) -> Demand | None:
    """Of an attribute, the actor or the resource, with what is written."""
    if one.get("Var") in ("principal", "resource"):
        return _of_entity(one["Var"], _entity(other))
    value, of = other.get("Value"), one.get(".")
    if of is None or not isinstance(value, str) or of["left"].get("Var") not in _VARIABLES:
        return None
    return frozenset({(f"{of['left']['Var']}.{of['attr']}", value)})


def _entity(part: Mapping[str, Any]) -> Any:
    value = part.get("Value")
    return value.get("__entity") if isinstance(value, Mapping) else None


def _cannot_fail(part: Mapping[str, Any]) -> bool:
    ((kind, of),) = part.items()
    if kind in ("Value", "Var"):
        return True
    if kind in (".", "has"):
        return of["left"].get("Var") in _VARIABLES
    if kind == "Set":
        return all(map(_cannot_fail, of))
    return kind in _PARTS and all(_cannot_fail(of[name]) for name in _PARTS[kind] if of.get(name) is not None)
