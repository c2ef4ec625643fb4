"""The description of the API: what FastAPI knows of the routes, and what only we know.

Routes answer bytes of their own, so FastAPI sees neither their other forms nor their errors. Here each operation gets them: by
what it needs (`doors.py`), what it takes, and the tables of `openapi_schemas.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from pydantic.json_schema import models_json_schema

from mainspring.core.contracts import access, deployment, erasure, features, masking, prediction, quality
from mainspring.serving.http import bodies, doors, openapi_schemas
from mainspring.serving.http import errors as http_errors

#: What routes read from bodies (`bodies.documented`).
_READ: Final = (
    access.KeyCreate,
    access.KeyRotate,
    access.LimitsDocument,
    masking.MaskingDocument,
    deployment.TrafficTable,
    features.FeatureRead,
    prediction.BundleLoad,
    prediction.BundleWithdraw,
    deployment.EndpointRelease,
    erasure.OnlineSubject,
    prediction.FeaturePush,
    prediction.PredictRequest,
    quality.ReleaseCreate,
)

_METHODS: Final = frozenset({"get", "put", "post", "delete"})
_OURS: Final = ("ValidationError", "HTTPValidationError")  # FastAPI's; nothing here answers them
_WAITING: Final = frozenset({429, 503})

#: By how it can fail, beside what all do.
_OF_CALLERS: Final = (401, 403)
_OF_BODIES: Final = (400, 408, 413)
_OF_ALL: Final = (500, 503)

#: Answers that are refused for what they contain, or for the state of what they change.
_UNPROCESSABLE: Final = re.compile(r":(predict|explain|load|push|read|release)$|^/get-online-features$")
_DEADLINE: Final = re.compile(r":(predict|explain|read)$|/infer$|^/get-online-features$")
_FINDS: Final = re.compile(r"\{|:load$|:read$|^/get-online-features$|/quarantine")


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """FastAPI's document with what it does not know; changed in place."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name in _OURS:
        schemas.pop(name, None)
    schemas.update(openapi_schemas.SCHEMAS)
    requests = _requests(schemas)
    document["components"]["securitySchemes"] = openapi_schemas.SECURITY
    document["components"]["headers"] = openapi_schemas.HEADERS
    for path, method, operation in operations(document):
        _complete(path, method, operation, requests)
    return document


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, method in small letters, and operation."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method in _METHODS:
                yield path, method, operation


def _complete(path: str, method: str, operation: dict[str, Any], requests: dict[str, str]) -> None:
    operation["operationId"] = _id(path, method)
    for form in operation.get("requestBody", {}).get("content", {}).values():
        name = form.get("schema", {}).pop(bodies.NAMED, None)
        if name is not None:
            form["schema"]["$ref"] = f"#/components/schemas/{requests[name]}"
    operation.get("responses", {}).pop("422", None)
    raw = openapi_schemas.RAW.get((method, path), {})
    operation.setdefault("parameters", []).extend(raw.get("parameters", []))
    if _DEADLINE.search(path):
        operation["parameters"].append(openapi_schemas.DEADLINE)
    if "requestBody" in raw:
        content = operation.setdefault("requestBody", {"content": {}}).setdefault("content", {})
        content.update(raw["requestBody"])
    answered = next(status for status in operation["responses"] if status.startswith("2"))
    success = operation["responses"][answered]
    if "answer" in raw:
        success["content"] = raw["answer"]
        if not raw["answer"]:
            del success["content"]
    success.setdefault("headers", {}).update(_headers(int(answered)))
    for status in _statuses(path, method, operation):
        operation["responses"][str(status)] = _problem(path, status)
    door = doors.door_of(method.upper(), path)
    operation["security"] = [] if door is None else _security(path, door.scope)


def _statuses(path: str, method: str, operation: dict[str, Any]) -> Iterator[int]:
    door = doors.door_of(method.upper(), path)
    yield from _OF_ALL
    if door is not None:
        yield from _OF_CALLERS
        if door.target:
            yield 429
    if operation["parameters"] or "requestBody" in operation:
        yield 400
    if "requestBody" in operation:
        yield from _OF_BODIES
    if _FINDS.search(path):
        yield 404
    if method in ("put", "delete") or (method == "post" and (door is None or door.scope != "read")):
        yield 409
    if _UNPROCESSABLE.search(path):
        yield 422
    if _DEADLINE.search(path):
        yield 504


def _problem(path: str, status: int) -> dict[str, Any]:
    is_v2 = http_errors.is_v2(path)
    name, media_type = ("V2Error", "application/json") if is_v2 else ("Problem", "application/problem+json")
    return {
        "description": openapi_schemas.REASONS[status],
        "headers": {**_headers(status), "x-error-code": {"$ref": "#/components/headers/ErrorCode"}},
        "content": {media_type: {"schema": {"$ref": f"#/components/schemas/{name}"}}},
    }


def _headers(status: int) -> dict[str, Any]:
    headers = {"x-request-id": {"$ref": "#/components/headers/RequestId"}}
    if status in _WAITING or status == 504:
        headers["retry-after"] = {"$ref": "#/components/headers/RetryAfter"}
    if status == 401:
        headers["www-authenticate"] = {"$ref": "#/components/headers/Authenticate"}
    return headers


def _security(path: str, scope: access.Scope) -> list[dict[str, list[str]]]:
    if path.startswith("/v1/keys") or path in ("/v1/limits", "/v1/masking") or path.endswith(":release"):
        return [{"bearer": []}]  # an actor of the issuer, never a key
    asked: list[dict[str, list[str]]] = [{"bearer": []}, {"apiKey": []}]
    # While `serving.require_token` is off, whoever reaches the port may ask.
    is_optional = scope != "admin" and "quarantine" not in path
    return [*asked, {}] if is_optional else asked


def _id(path: str, method: str) -> str:
    words = re.sub(r"[^a-zA-Z0-9]+", "_", path).strip("_") or "root"
    return f"{method}_{words}"


def _requests(schemas: dict[str, Any]) -> dict[str, str]:
    """Add what bodies are made of; the name that each model's schema has.

    What is sent may leave out what an answer always has: where a name is taken by another schema, it ends in `Sent`.
    """
    _, made = models_json_schema(
        [(model, "validation") for model in _READ], ref_template="#/components/schemas/{model}"
    )
    definitions = made["$defs"]
    renamed = {name for name, schema in definitions.items() if schemas.get(name, schema) != schema}
    text = json.dumps(definitions)
    for name in renamed:
        text = text.replace(f'"#/components/schemas/{name}"', f'"#/components/schemas/{name}Sent"')
    names = {name: f"{name}Sent" if name in renamed else name for name in definitions}
    for name, schema in json.loads(text).items():
        schemas[names[name]] = schema
    return names
