"""The settings, from `core/settings/`: types and limits from the models, words from the docstrings below the fields."""

from __future__ import annotations

import ast
import inspect
import json
from typing import Any

from words import code, page, prose, table

INTRO = """A setting `[serving] port` of `mainspring.toml` (or of the file that `MAINSPRING_CONFIG` names) and the variable
`MAINSPRING_SERVING_PORT` are the same; the variable wins. All are read once at the start and checked together: an unknown key or a
value out of range ends the process with exit code 78 and a line for each problem. An empty default that has to be something follows
from `stack.state_dir` and `stack.port_base`, as its line says."""


def pages() -> dict[str, str]:
    from mainspring.core import settings

    parts = []
    for group, model in settings.GROUPS.items():
        (owner,) = ast.parse(inspect.getsource(model)).body
        assert isinstance(owner, ast.ClassDef)
        words = _docstrings(owner)
        described = model.model_json_schema()["properties"]
        rows = [
            (
                code(f"{group}.{name}"),
                _type(described[name]),
                _default(field.get_default(call_default_factory=True)),
                prose(words.get(name, "")),
            )
            for name, field in model.model_fields.items()
        ]
        parts += [f"## {group}", prose(model.__doc__), table(("setting", "type", "default", ""), rows)]
    return {"reference/settings.md": page("Settings", INTRO, parts)}


def _docstrings(owner: ast.ClassDef) -> dict[str, str]:
    """What stands in a string below each field."""
    found = {}
    for before, after in zip(owner.body, owner.body[1:], strict=False):
        if (
            isinstance(before, ast.AnnAssign)
            and isinstance(before.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
        ):
            found[before.target.id] = str(after.value.value)
    return found


def _type(schema: dict[str, Any]) -> str:
    options = [s for s in schema.get("anyOf", [schema]) if s.get("type") != "null"]
    return " or ".join(_one(s) for s in options)


def _one(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(code(v) for v in schema["enum"])
    if "const" in schema:
        return code(schema["const"])
    kind = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
    name = "path" if schema.get("format") == "path" else kind.get(schema.get("type", ""), "text")
    if "minimum" in schema and "maximum" in schema:
        return f"{name}, {schema['minimum']} to {schema['maximum']}"
    limits = [
        f"{sign} {schema[key]}"
        for key, sign in (
            ("minimum", "≥"),
            ("exclusiveMinimum", ">"),
            ("maximum", "≤"),
            ("exclusiveMaximum", "<"),
        )
        if key in schema
    ]
    return f"{name} {', '.join(limits)}".strip()


def _default(value: object) -> str:
    if value is None or value == "":
        return ""
    return code(json.dumps(value) if isinstance(value, bool | int | float) else value)
