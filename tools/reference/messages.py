"""JSON Schemas as tables: a row a field, and each named type once, which fields link to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

from words import code, prose, table

#: Types that have a heading on the same page, and which; fields link to it.
Known: TypeAlias = Mapping[str, str]

_REF = ("#/$defs/", "#/components/schemas/")


def fields(message: Mapping[str, Any], known: Known = MappingProxyType({})) -> str:
    """A message's fields."""
    required = message.get("required", ())
    rows = [
        (code(name), kind(field, known), "required" if name in required else _default(field), _words(field))
        for name, field in message.get("properties", {}).items()
    ]
    return table(("field", "type", "default", ""), rows) or "Without fields."


def kind(field: Mapping[str, Any], known: Known = MappingProxyType({})) -> str:
    """What kind of value a field has, in a few words."""
    if "$ref" in field:
        return linked(name_of(field), known)
    if many := field.get("anyOf") or field.get("oneOf") or field.get("allOf"):
        return " or ".join(dict.fromkeys(kind(f, known) for f in many))
    if "const" in field:
        return code(field["const"])
    if "enum" in field:
        return ", ".join(code(v) for v in field["enum"])
    if field.get("type") == "array":
        return f"list of {kind(field.get('items', {}), known)}"
    if field.get("type") == "object" and isinstance(field.get("additionalProperties"), dict):
        return f"map to {kind(field['additionalProperties'], known)}"
    named = field.get("format") or field.get("type") or "any"
    return " or ".join(named) if isinstance(named, list) else str(named)


def name_of(field: Mapping[str, Any]) -> str:
    """The name that a reference has, without where it lies."""
    return str(field["$ref"]).rpartition("/")[2]


def linked(name: str, known: Known) -> str:
    return f"[{code(name)}](#{anchor(known[name])})" if name in known else code(name)


def anchor(heading: str) -> str:
    """As the site names it."""
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())


def definitions(types: Mapping[str, tuple[Mapping[str, Any], Known]]) -> Iterator[str]:
    """Each type by its heading, with what its own fields link to."""
    for heading, (schema, known) in sorted(types.items(), key=lambda item: item[0].lower()):
        yield f"### {heading}"
        yield prose(str(schema.get("description", "")).split("\n\n")[0])
        said = kind(schema, known)
        yield fields(schema, known) if "properties" in schema else f"{said[:1].upper()}{said[1:]}."


def reached(names: Iterable[str], schemas: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `names` that are there, and all that they refer to."""
    found: dict[str, Any] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in schemas and name not in found:
            found[name] = schemas[name]
            waiting += _refs(schemas[name])
    return found


def _refs(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        if str(node.get("$ref", "")).startswith(_REF):
            yield name_of(node)
        for value in node.values():
            yield from _refs(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _refs(value)


def _words(field: Mapping[str, Any]) -> str:
    """What is said of it, and its bounds."""
    signs = (
        ("minimum", "at least"),
        ("exclusiveMinimum", "above"),
        ("maximum", "at most"),
        ("exclusiveMaximum", "below"),
    )
    options = [field, *(field.get("anyOf") or ())]
    bounds = [f"{sign} {_plain(o[key])}" for o in options for key, sign in signs if key in o]
    said = prose(field.get("description"))
    return " ".join(filter(None, (said, f"{', '.join(bounds).capitalize()}." if bounds else "")))


def _plain(value: float) -> str:
    """A whole number without a point."""
    return str(int(value)) if float(value).is_integer() else str(value)


def _default(field: Mapping[str, Any]) -> str:
    """Text and numbers; what is empty, or a document of its own, says nothing here."""
    value = field.get("default")
    return "" if value is None or value == "" or isinstance(value, dict | list | tuple) else code(value)
