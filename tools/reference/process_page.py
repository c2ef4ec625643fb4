"""What starts each process, what it answers and what it can be asked: from the contracts that are published as JSON Schemas."""

from __future__ import annotations

from typing import Any

from words import code, page, prose, table

INTRO = """Each process is a Temporal workflow with a versioned contract. Any Temporal client may start one by this name with this JSON;
`mainspring contracts export FOLDER` writes the schemas, `mainspring contracts check FOLDER` says whether stored ones still hold. Within a
version a contract only grows: new fields have defaults, new values may come, nothing is taken away."""


def pages() -> dict[str, str]:
    from mainspring.core.contracts import published

    parts = []
    for name, process in published.PROCESSES.items():
        document = published.schema(name, process)
        parts += [f"## {name}", _words(process.request), f"[JSON Schema](../schemas/next/{name}.json)"]
        for told, ref in document["properties"].items():
            message = ref["$ref"].rpartition("/")[2]
            parts += [f"### {_title(told)}", code(message), _fields(document["$defs"][message])]
    return {"reference/processes.md": page("Processes", INTRO, parts)}


def _words(request: type) -> str:
    return prose((request.__doc__ or "").split("\n\n")[0])


def _title(told: str) -> str:
    kind, _, name = told.partition(":")
    return {"request": "Started with", "result": "Answers"}.get(kind) or f"{kind.capitalize()} `{name}`"


def _fields(message: dict[str, Any]) -> str:
    required = message.get("required", ())
    rows = [
        (
            code(name),
            _type(field),
            "required" if name in required else _default(field),
            prose(field.get("description")),
        )
        for name, field in message.get("properties", {}).items()
    ]
    return table(("field", "type", "default", ""), rows) or "Without fields."


def _type(field: dict[str, Any]) -> str:
    if "$ref" in field:
        return code(field["$ref"].rpartition("/")[2])
    if many := field.get("anyOf") or field.get("oneOf") or field.get("allOf"):
        return " or ".join(dict.fromkeys(_type(f) for f in many))
    if "const" in field:
        return code(field["const"])
    if "enum" in field:
        return ", ".join(code(v) for v in field["enum"])
    if field.get("type") == "array":
        return f"list of {_type(field.get('items', {}))}"
    if field.get("type") == "object" and isinstance(field.get("additionalProperties"), dict):
        return f"map to {_type(field['additionalProperties'])}"
    return str(field.get("format") or field.get("type") or "any")


def _default(field: dict[str, Any]) -> str:
    value = field.get("default")
    return "" if value is None or value in ("", [], {}) or isinstance(value, dict | list) else code(value)
