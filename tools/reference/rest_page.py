"""The HTTP APIs, from the OpenAPI documents that the processes themselves answer."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from words import code, page, prose, table

CONTROL = """The control API's document is at `/schema/openapi.json` of a running one. Every path below is there with `/api` before it, too. Requests carry `Authorization: Bearer <token>`. Every
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
    groups: dict[str, list[tuple[str, ...]]] = {}
    for path, methods in sorted(document["paths"].items()):
        if path.startswith("/api/") and path.removeprefix("/api") in document["paths"]:
            continue
        for method in _METHODS:
            if method in methods:
                operation = methods[method]
                groups.setdefault(group_of(path, operation), []).append(
                    (
                        code(f"{method.upper()} {path}"),
                        prose(operation.get("description") or operation.get("summary")),
                        _query(operation.get("parameters", ())),
                        _body(operation.get("requestBody", {})),
                        _answer(operation["responses"]),
                    )
                )
    for name, rows in sorted(groups.items()):
        yield f"## {name}"
        yield table(("request", "", "query", "body", "answer"), rows)


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


def _body(body: dict[str, Any]) -> str:
    return ", ".join(dict.fromkeys(_named(form, kind) for kind, form in body.get("content", {}).items()))


def _answer(responses: dict[str, Any]) -> str:
    status = next((s for s in responses if str(s).startswith("2")), "")
    content = responses.get(status, {}).get("content", {})
    return " ".join(
        [str(status), ", ".join(dict.fromkeys(_named(form, kind) for kind, form in content.items()))]
    ).strip()


def _named(form: dict[str, Any], kind: str) -> str:
    """The schema's name where it has one; the media type where bytes are all there is to say."""
    schema = form.get("schema", {})
    items = schema.get("items", {})
    if "$ref" in schema:
        return code(schema["$ref"].rpartition("/")[2])
    if "$ref" in items:
        return f"list of {code(items['$ref'].rpartition('/')[2])}"
    return "JSON" if kind == "application/json" else code(kind)
