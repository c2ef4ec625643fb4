"""A request that comes twice with one key is carried out once, on every route that changes something."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.routes import HTTPRoute
from litestar.testing import TestClient

from mainspring.core import identity, settings
from mainspring.core.contracts import base
from mainspring.platform import app as control_app
from mainspring.platform.http import idempotency, request_keys
from mainspring.platform.runs import launcher as run_launcher

#: Once over SQLite, once over PostgreSQL.
pytestmark = pytest.mark.usefixtures("database_url")

Raw = Callable[..., list[Any]]
PROJECT = {"name": "alpha", "owner": "team"}
ACTORS = {
    "dev": identity.Actor("ana", ("developer",)),
    "other": identity.Actor("ben", ("developer",)),
    "narrow": identity.Actor("ana", ("developer",), identity.Scope(("viewer", "developer"), "dev")),
    "alike": identity.Actor("ana", ("developer",), identity.Scope(("developer", "viewer"), "dev")),
    "elsewhere": identity.Actor("ana", ("developer",), identity.Scope(("viewer", "developer"), "prod")),
    "narrower": identity.Actor("ana", ("developer",), identity.Scope(("viewer",), "dev")),
}


class Slow(run_launcher.MemoryLauncher):
    """An engine that takes its time until it is let go, and may be away."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.let_go = threading.Event(), threading.Event()
        self.let_go.set()

    async def start_training(self, request: Any) -> None:
        self.asked.set()
        while not self.let_go.is_set():
            await asyncio.sleep(0.01)
        await super().start_training(request)


class Api:
    def __init__(self, app: Litestar, client: TestClient[Any], launcher: Slow) -> None:
        self.app, self.client, self.launcher = app, client, launcher

    def post(
        self, path: str, body: Any, key: str | None = "k", actor: str = "dev", method: str = "POST"
    ) -> Any:
        headers = {"Authorization": f"Bearer {actor}"}
        if key is not None:
            headers["Idempotency-Key"] = key
        return self.client.request(method, path, json=body, headers=headers)

    def actions(self) -> list[str]:
        found = self.client.get("/api/v1/audit", headers={"Authorization": "Bearer dev"}).json()["items"]
        return [f"{row['action']} {row['outcome']}" for row in found]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    launcher = Slow()
    app = control_app.create_app(
        settings.load({}, directory=tmp_path), issuer=identity.TokenIssuer(ACTORS), launcher=launcher
    )
    with TestClient(app, raise_server_exceptions=False) as client:
        yield Api(app, client, launcher)


def test_the_same_again_gets_the_first_answer_and_changes_nothing(api: Api) -> None:
    first = api.post("/api/v1/projects", PROJECT)
    again = api.post("/api/v1/projects", PROJECT)
    assert (first.status_code, again.status_code) == (201, 201) and again.content == first.content
    assert again.headers["content-type"] == first.headers["content-type"]
    assert "idempotent-replayed" not in first.headers and again.headers["idempotent-replayed"] == "true"
    assert api.actions() == ["project.create done"]
    assert api.post("/api/v1/projects", PROJECT, key=None).status_code == 409  # without it: taken


def test_a_key_is_for_one_request_of_one_actor(api: Api) -> None:
    assert api.post("/api/v1/projects", PROJECT).status_code == 201
    other = api.post("/api/v1/projects", {**PROJECT, "name": "beta"})
    assert other.status_code == 409 and "another request" in other.json()["detail"]
    assert other.headers["content-type"].startswith("application/problem+json")
    assert api.post("/api/v1/projects?x=1", PROJECT).status_code == 409
    assert api.post("/api/v1/projects", {**PROJECT, "name": "beta"}, actor="other").status_code == 201
    assert api.post("/api/v1/projects", {**PROJECT, "name": "gamma"}, actor="nobody").status_code == 401


def test_an_answer_is_not_told_to_a_token_that_is_narrowed_otherwise(api: Api) -> None:
    first = api.post("/api/v1/projects", PROJECT, actor="narrow")
    assert first.status_code == 201
    again = api.post("/api/v1/projects", PROJECT, actor="alike")
    assert again.content == first.content and again.headers["idempotent-replayed"] == "true"
    for token in ("dev", "elsewhere", "narrower"):
        refused = api.post("/api/v1/projects", PROJECT, actor=token)
        assert refused.status_code == 409 and "a token of another scope" in refused.json()["detail"]
        assert "team" not in refused.text and "idempotent-replayed" not in refused.headers
    assert api.post("/api/v1/projects", {**PROJECT, "name": "beta"}, key="b").status_code == 201
    assert (
        api.post("/api/v1/projects", {**PROJECT, "name": "beta"}, key="b", actor="narrow").status_code == 409
    )
    assert api.actions() == ["project.create done"] * 2


def test_what_was_refused_may_come_again(api: Api) -> None:
    run = {"project": "alpha"}
    assert api.post("/api/v1/runs", run).status_code == 404
    assert api.post("/api/v1/projects", PROJECT, key="p").status_code == 201
    api.launcher.is_down = True
    assert api.post("/api/v1/runs", run).status_code == 503
    api.launcher.is_down = False
    started = api.post("/api/v1/runs", {**run, "idempotency_key": "body"})
    assert started.status_code == 201
    assert api.post("/api/v1/runs", {**run, "idempotency_key": "body"}).json() == started.json()


@pytest.mark.parametrize("key", ["", "x" * 201, "a\x07b"])
def test_a_key_that_is_none_is_refused(api: Api, key: str) -> None:
    answer = api.post("/api/v1/projects", PROJECT, key=key)
    assert (answer.status_code, answer.json()["details"]) == (400, {"field": "Idempotency-Key"})
    assert api.actions() == []


def test_at_the_same_time_one_is_carried_out(api: Api) -> None:
    api.post("/api/v1/projects", PROJECT, key="p")
    api.launcher.let_go.clear()
    with futures.ThreadPoolExecutor(1) as pool:
        first = pool.submit(api.post, "/api/v1/runs", {"project": "alpha"})
        assert api.launcher.asked.wait(30)
        meanwhile = api.post("/api/v1/runs", {"project": "alpha"})
        assert meanwhile.status_code == 409 and "under way" in meanwhile.json()["detail"]
        api.launcher.let_go.set()
        assert first.result().status_code == 201
    assert api.post("/api/v1/runs", {"project": "alpha"}).json() == first.result().json()
    assert len(api.launcher.started) == 1


def test_a_key_whose_process_died_is_free_after_a_minute(
    api: Api, raw: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert api.post("/api/v1/projects", PROJECT).status_code == 201
    raw("UPDATE request_keys SET status = NULL")
    assert api.post("/api/v1/projects", PROJECT).status_code == 409
    now = base.utc_now()
    later = now + request_keys.ABANDONED_AFTER + timedelta(seconds=1)
    monkeypatch.setattr(base, "utc_now", lambda: later)
    taken = api.post("/api/v1/projects", PROJECT)
    assert (
        taken.status_code == 409 and "exists" in taken.json()["detail"]
    )  # carried out again: by its own rules


def test_answers_are_kept_for_a_week(api: Api, raw: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    assert api.post("/api/v1/projects", PROJECT).status_code == 201
    later = base.utc_now() + request_keys.KEPT_FOR + timedelta(seconds=1)
    monkeypatch.setattr(base, "utc_now", lambda: later)
    assert api.post("/api/v1/projects", {**PROJECT, "name": "beta"}, key="new").status_code == 201
    assert [row.key for row in raw('SELECT "key" FROM request_keys')] == ["new"]


def changing(app: Litestar) -> list[tuple[str, str]]:
    """Every route that changes something, with its names filled in."""
    return sorted(
        (str(method), re.sub(r"\{[^}]+\}", "alpha", route.path))
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        for method in idempotency.CHANGING & set(handler.http_methods)
    )


def test_no_route_that_changes_something_forgets_the_key(api: Api) -> None:
    """Each refuses a key that came with another request, before it looks at anything else."""
    assert api.post("/api/v1/projects", PROJECT).status_code == 201
    found = changing(api.app)
    assert len(found) >= 15 and {m for m, _ in found} == idempotency.CHANGING
    forgetful = []
    for method, path in found:
        answer = api.post(path, {"other": True}, method=method)
        if answer.status_code != 409 or "another request" not in answer.json()["detail"]:
            forgetful.append(f"{method} {path}: {answer.status_code}")
    assert forgetful == []


def test_a_long_body_is_refused_as_without_a_key(api: Api) -> None:
    body = {**PROJECT, "description": "x" * (2 << 20)}
    assert api.post("/api/v1/projects", body).status_code == 413
    assert api.actions() == []
