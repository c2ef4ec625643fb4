"""JSON Schemas as parts of a surface (`core/supply/surface.py`): what a field may be, in one short text, and what limits it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from mainspring.core.supply import surface

_LIMITS: Final = (
    "minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "minLength", "maxLength", "minItems", "maxItems", "pattern",
)  # fmt: skip
_MANY: Final = ("anyOf", "oneOf", "allOf")
Json = Mapping[str, Any]


def name_of(reference: str) -> str:
    return reference.rpartition("/")[2]


def type_of(schema: Json) -> str:
    """Alternatives with ` | ` between, sorted; empty: anything."""
    return " | ".join(sorted(set(_types(schema))))


def _types(schema: Json) -> Iterator[str]:
    if "$ref" in schema:
        yield name_of(schema["$ref"])
    elif "const" in schema:
        yield "const"
    elif "enum" in schema:
        yield "value"
    elif found := [one for many in _MANY for one in schema.get(many, ())]:
        for one in found:
            yield from _types(one)
    else:
        kinds = schema.get("type", [])
        for kind in [kinds] if isinstance(kinds, str) else kinds:
            yield _of_kind(kind, schema)


def _of_kind(kind: str, schema: Json) -> str:
    if kind == "array":
        items = [schema["items"]] if schema.get("items") else schema.get("prefixItems", [])
        return f"array[{', '.join(_within(item) for item in items)}]"
    if kind == "object":
        values = schema.get("additionalProperties")
        return f"object[{_within(values)}]" if isinstance(values, dict) else "object"
    return f"{kind}:{schema['format']}" if "format" in schema else kind


def _within(schema: Json) -> str:
    """Inside of brackets an alternative more is another type: nobody has asked for finer rules yet."""
    return type_of(schema).replace(" | ", "|")


def part_of(schema: Json, *, required: bool, way: surface.Way) -> surface.Part:
    made = surface.Part(required=required, way=way)
    if text := type_of(schema):
        made["type"] = text
    if values := list(_values(schema)):
        made["values"] = sorted(values, key=str)
    if limits := _limits(schema):
        made["limits"] = limits
    if schema.get("default") is not None:
        made["default"] = schema["default"]
    return made


def _values(schema: Json) -> Iterator[Any]:
    if "const" in schema:
        yield schema["const"]
    yield from schema.get("enum", ())
    for many in _MANY:
        for one in schema.get(many, ()):
            yield from _values(one)


def _limits(schema: Json) -> dict[str, Any]:
    """Of a field and of what it may be as well, as `anyOf` of a number and nothing."""
    found: dict[str, Any] = {}
    for many in _MANY:
        for one in schema.get(many, ()):
            found |= _limits(one)
    return found | {name: schema[name] for name in _LIMITS if name in schema}


def parts_of(schema: Json, way: surface.Way, before: str = "") -> dict[str, surface.Part]:
    """Fields of an object, those of objects that are written out in it by `outer.inner`; of anything else its value."""
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return {} if before else {"value": part_of(schema, required=True, way=way)}
    required, found = set(schema.get("required", ())), {}
    for name, field in properties.items():
        found[before + name] = part_of(field, required=name in required, way=way)
        found |= parts_of(field, way, f"{before}{name}.")
    return found


def reached(schema: Any, definitions: Mapping[str, Json], into: set[str]) -> None:
    """Names of the definitions that a schema leads to, itself included."""
    if isinstance(schema, list):
        for one in schema:
            reached(one, definitions, into)
    if not isinstance(schema, dict):
        return
    name = name_of(schema["$ref"]) if isinstance(schema.get("$ref"), str) else ""
    if name in definitions and name not in into:
        into.add(name)
        reached(definitions[name], definitions, into)
    for key, one in schema.items():
        if key not in ("default", "example", "examples"):
            reached(one, definitions, into)


def messages(
    definitions: Mapping[str, Json], given: list[Any], answered: list[Any]
) -> dict[str, dict[str, surface.Part]]:
    """Parts of the definitions that are led to, by name; `given` are schemas of what others send, `answered` of what we do."""
    ins: set[str] = set()
    outs: set[str] = set()
    for schema in given:
        reached(schema, definitions, ins)
    for schema in answered:
        reached(schema, definitions, outs)
    found: dict[str, dict[str, surface.Part]] = {}
    for name in sorted(ins | outs):
        way: surface.Way = "both" if name in ins and name in outs else "in" if name in ins else "out"
        found[name] = parts_of(definitions[name], way)
    return found
