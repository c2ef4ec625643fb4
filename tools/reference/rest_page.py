"""The HTTP APIs, from the OpenAPI documents that the processes themselves answer."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from messages import Known, definitions, linked, name_of, reached
from words import code, page, prose, table

CONTROL = """The control API's document is at `/schema/openapi.json` of a running one. A path that begins with `/v1` is there below `/api/v1`, too. Requests carry `Authorization: Bearer <token>`. Every
change may carry an `Idempotency-Key`; changes of what others change carry `If-Match` ([asking twice](../control-plane.md#asking-twice)).
Errors are [problem documents](errors.md)."""
SERVING = """The data plane's document is at `/openapi.json` of a running one. `serving/README.md` says how answers are made; errors are
[problem documents](errors.md), on `/v2` those of the Open Inference Protocol."""

_METHODS = ("get", "post", "put", "patch", "delete")


def pages() -> dict[str, str]:
    return {
        "reference/control-api.md": page("Control API", CONTROL, _parts(_control(), _first_tag)),
        "reference/serving-api.md": page("Serving API", SERVING, _parts(_serving(), _noun)),
    }


def _control() -> dict[str, Any]:
    from litestar.routes import HTTPRoute

    from mainspring.core import identity, settings
    from mainspring.platform import app as control_app
    from mainspring.platform.runs import launcher

    with tempfile.TemporaryDirectory() as folder:
        s = settings.load({}, directory=Path(folder))
        app = control_app.create_app(s, issuer=identity.TokenIssuer({}), launcher=launcher.MemoryLauncher())
        document: dict[str, Any] = app.openapi_schema.to_schema()
    # The description has the names of functions; what they do is in their docstrings.
    for route in (r for r in app.routes if isinstance(r, HTTPRoute)):
        for handler in route.route_handlers:
            for method in handler.http_methods:
                described = document["paths"].get(route.path_format, {}).get(str(method).lower())
                if described is not None:
                    described["description"] = handler.fn.__doc__ or ""
    return document


class _NoBundles:
    """Nothing is in traffic in an empty folder, so nothing is loaded."""

    def __call__(self, digest: str) -> Any:
        raise LookupError(digest)

    load = __call__


def _serving() -> dict[str, Any]:
    from mainspring.core import identity, settings
    from mainspring.core.features import online
    from mainspring.serving import app as serving_app

    with tempfile.TemporaryDirectory() as folder:
        s = settings.load({"MAINSPRING_SERVING_FRONT": "off"}, directory=Path(folder))
        made: Any = serving_app.create_app(
            s, online=online.OnlineStore(), loader=_NoBundles(), issuer=identity.TokenIssuer({})
        )
        document: dict[str, Any] = made._build().openapi()
    return document


def _parts(document: dict[str, Any], group_of: Any) -> Iterator[str]:
    schemas = document.get("components", {}).get("schemas", {})
    groups: dict[str, list[tuple[str, ...]]] = {}
    there: dict[str, Any] = {}
    known: dict[str, str] = {}
    for path, methods in sorted(document["paths"].items()):
        if path.startswith("/api/") and path.removeprefix("/api") in document["paths"]:
            continue
        for method in _METHODS:
            if method in methods:
                operation = methods[method]
                status, answer = _answer(operation["responses"])
                bodies = [operation.get("requestBody", {}).get("content", {}), answer]
                there |= reached(
                    (n for content in bodies for form in content.values() for n in _names(form)), schemas
                )
                known |= {name: name for name in there}
                groups.setdefault(group_of(path, operation), []).append(
                    (
                        code(f"{method.upper()} {path}"),
                        prose(operation.get("description") or operation.get("summary")),
                        _query(operation.get("parameters", ())),
                        _forms(bodies[0], known),
                        f"{status} {_forms(answer, known)}".strip(),
                    )
                )
    for name, rows in sorted(groups.items()):
        yield f"## {name}"
        yield table(("request", "", "query", "body", "answer"), rows)
    yield "## Types"
    yield from definitions({name: (schema, known) for name, schema in there.items()})


def _first_tag(path: str, operation: dict[str, Any]) -> str:
    return str((operation.get("tags") or ["other"])[0])


def _noun(path: str, operation: dict[str, Any]) -> str:
    del operation
    first, *rest = path.strip("/").split("/")
    return (
        rest[0].partition(":")[0]
        if first == "v1" and rest
        else "Open Inference Protocol"
        if first == "v2"
        else "process"
    )


def _query(parameters: Iterable[dict[str, Any]]) -> str:
    return ", ".join(code(p["name"]) for p in parameters if p.get("in") == "query")


def _answer(responses: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Status and forms of what is answered if all goes well."""
    status = next((s for s in responses if str(s).startswith("2")), "")
    return str(status), responses.get(status, {}).get("content", {})


def _forms(content: dict[str, Any], known: Known) -> str:
    """Each type by its name where it has one; the media type where bytes are all there is to say."""
    said = []
    for media, form in content.items():
        names = [linked(name, known) for name in _names(form)]
        is_list = form.get("schema", {}).get("type") == "array"
        other = "JSON" if media == "application/json" else code(media)
        said.append(f"{'list of ' if is_list else ''}{' or '.join(names)}" if names else other)
    return ", ".join(dict.fromkeys(said))


def _names(form: dict[str, Any]) -> list[str]:
    """The named types of a form: itself, its items, or its alternatives."""
    schema = form.get("schema", {})
    options = [schema, schema.get("items", {}), *(schema.get("oneOf") or schema.get("anyOf") or ())]
    return [name_of(option) for option in options if "$ref" in option]
