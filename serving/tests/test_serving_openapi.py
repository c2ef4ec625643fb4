"""The description says all there is: every route, its forms, its errors, who may ask; and it holds together."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import serving_world as world
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts

from mainspring.core import identity
from mainspring.serving import app
from mainspring.serving.http import doors, openapi


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    """The framework's app with every route, as a process builds it."""
    directory = tmp_path_factory.mktemp("openapi")
    made = app.create_app(
        world.settings_in(directory, front="off"),
        online=world.filled_store(),
        loader=world.DictLoader({}),
        issuer=identity.ensure_token_file(directory / "tokens.json"),
    )
    built = made._build()
    assert isinstance(built, FastAPI)
    return built


@pytest.fixture(scope="module")
def document(api: FastAPI) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(api.openapi()))
    assert api.openapi() is api.openapi()  # made once
    return found


def test_every_route_is_there_and_nothing_else(api: FastAPI, document: dict[str, Any]) -> None:
    routes = {
        (context.path, method.lower())
        for context in iter_route_contexts(api.routes)
        if isinstance(context.original_route, APIRoute)
        for method in context.methods or ()
    }
    described = {(path, method) for path, method, _ in openapi.operations(document)}
    assert described == routes
    assert len(described) > 35


#: Changes that the path alone says.
WITHOUT_BODY = {"/v1/endpoints/{name}:rest"}


def test_every_operation_says_what_it_takes_answers_and_needs(document: dict[str, Any]) -> None:
    ids = []
    for path, method, operation in openapi.operations(document):
        where = f"{method} {path}"
        ids.append(operation["operationId"])
        assert operation.get("description"), where
        answers = operation["responses"]
        good = [status for status in answers if status.startswith("2")]
        assert len(good) == 1, where
        content = answers[good[0]].get("content", {})
        is_empty = path.startswith("/v2/health") or path.endswith(("/ready", "/load", "/unload"))
        assert bool(content) != is_empty, where
        assert all(form["schema"] for form in content.values()), where
        if path in WITHOUT_BODY:
            assert "requestBody" not in operation, where
        elif method in ("put", "post"):
            assert operation["requestBody"]["content"], where
            assert {"400", "408", "413"} <= set(answers), where
            assert all(form.get("schema") for form in operation["requestBody"]["content"].values()), where
        door = doors.door_of(method.upper(), path)
        assert operation["security"] if door else operation["security"] == [], where
        assert (door is not None) == ({"401", "403"} <= set(answers)), where
        assert ("429" in answers) == (door is not None and bool(door.target)), where
        names = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
        assert names == set(re.findall(r"\{(\w+)\}", path)), where
    assert len(set(ids)) == len(ids)


def test_every_error_is_a_document_and_tells_when_to_come_back(document: dict[str, Any]) -> None:
    for path, method, operation in openapi.operations(document):
        is_v2 = path.startswith("/v2")
        for status, answer in operation["responses"].items():
            where = f"{method} {path} {status}"
            assert "x-request-id" in answer["headers"], where
            if int(status) < 400:
                continue
            media_type = "application/json" if is_v2 else "application/problem+json"
            name = "V2Error" if is_v2 else "Problem"
            assert answer["content"] == {media_type: {"schema": {"$ref": f"#/components/schemas/{name}"}}}, (
                where
            )
            assert "x-error-code" in answer["headers"], where
            assert ("retry-after" in answer["headers"]) == (status in ("429", "503", "504")), where
            assert ("www-authenticate" in answer["headers"]) == (status == "401"), where


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    for reference in set(re.findall(r'"\$ref": "([^"]+)"', json.dumps(document))):
        at: Any = document
        for part in reference.removeprefix("#/").split("/"):
            at = at[part]
    text = json.dumps(document)
    assert "HTTPValidationError" not in text
    assert "x-contract" not in text
    limits = document["components"]["schemas"]["LimitsDocument"]
    assert limits["properties"]["rules"]["items"]["$ref"].startswith("#/components/schemas/LimitRule")


def test_what_changes_who_may_ask_takes_a_token_only(document: dict[str, Any]) -> None:
    paths = document["paths"]
    assert paths["/v1/keys"]["post"]["security"] == [{"bearer": []}]
    assert paths["/v1/limits"]["put"]["security"] == [{"bearer": []}]
    assert paths["/v1/masking"]["put"]["security"] == [{"bearer": []}]
    assert paths["/v1/bundles:load"]["post"]["security"] == [{"bearer": []}, {"apiKey": []}]
    assert {} in paths["/v1/endpoints/{name}:predict"]["post"]["security"]
    assert set(document["components"]["securitySchemes"]) == {"bearer", "apiKey"}
