"""What starts each process, what it answers and what it can be asked: from the contracts that are published as JSON Schemas."""

from __future__ import annotations

from typing import Any

from messages import Known, definitions, fields, name_of
from words import code, page, prose

INTRO = """Each process is a Temporal workflow with a versioned contract. Any Temporal client may start one by this name with this JSON;
`mainspring contracts export FOLDER` writes the schemas, `mainspring contracts check FOLDER` says whether stored ones still hold. Within a
version a contract only grows: new fields have defaults, new values may come, nothing is taken away."""


def pages() -> dict[str, str]:
    from mainspring.core.contracts import published

    types: dict[str, tuple[Any, Known]] = {}
    parts = []
    for name, process in published.PROCESSES.items():
        document = published.schema(name, process)
        known = _headings(name, document, types)
        parts += [f"## {name}", prose((process.request.__doc__ or "").split("\n\n")[0])]
        parts += [f"[JSON Schema](../schemas/next/{name}.json)"]
        for what, ref in document["properties"].items():
            message = name_of(ref)
            parts += [f"### {_title(what)}", code(message), fields(document["$defs"][message], known)]
    return {"reference/processes.md": page("Processes", INTRO, [*parts, "## Types", *definitions(types)])}


def _headings(process: str, document: dict[str, Any], types: dict[str, tuple[Any, Known]]) -> dict[str, str]:
    """The heading of each type within this process's messages, which are added to `types`. Where another process has
    one of that name that is not the same, it says whose it is."""
    told = {name_of(ref) for ref in document["properties"].values()}
    known: dict[str, str] = {}
    for name, schema in document["$defs"].items():
        if name not in told:
            is_other = name in types and types[name][0] != schema
            known[name] = f"{name} of {process}" if is_other else name
            types.setdefault(known[name], (schema, known))
    return known


def _title(told: str) -> str:
    kind, _, name = told.partition(":")
    return {"request": "Started with", "result": "Answers"}.get(kind) or f"{kind.capitalize()} `{name}`"
