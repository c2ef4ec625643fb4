"""Watching over a real server: told at once, from where one was, only what one may read, and ended when it must."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from platform_tenants import FINDING

from mainspring.core import errors, identity, settings
from mainspring.core.contracts import progress
from mainspring.platform import app as control_app
from mainspring.platform.events import news
from mainspring.platform.runs import launcher

ACTORS = {
    "root": identity.Actor("root", ("admin",)),
    "worker": identity.Actor("worker", ("service",)),
    "ana": identity.Actor("ana", ()),
}


class Server(uvicorn.Server):
    """Says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listens = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.listens.set()


@dataclass
class Told:
    """One watcher, reading in a thread of its own."""

    lines: list[str] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def events(self, name: str = "record") -> list[dict[str, Any]]:
        found = zip(self.lines, self.lines[1:], strict=False)
        return [json.loads(b.removeprefix("data: ")) for a, b in found if a == f"event: {name}"]

    def actions(self) -> list[str]:
        return [one["action"] for one in self.events()]

    def wait(self, condition: Callable[[], bool]) -> None:
        until = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < until, self.lines
            time.sleep(0.01)


class World:
    def __init__(
        self,
        url: str,
        plane_news: news.News,
        issuer: identity.TokenIssuer,
        engine: launcher.MemoryLauncher,
    ) -> None:
        self.url, self.news, self.issuer, self.engine = url, plane_news, issuer, engine
        self.threads: list[threading.Thread] = []

    def call(self, who: str, method: str, path: str, expect: int = 0, body: Any = None) -> Any:
        answer = httpx.request(
            method, f"{self.url}/v1{path}", json=body, headers={"Authorization": f"Bearer {who}"}
        )
        assert answer.status_code == expect if expect else answer.is_success, answer.text
        return answer.json() if answer.content else None

    def watch(self, who: str, query: str = "", last: str = "") -> Told:
        told, opened = Told(), threading.Event()
        headers = {"Authorization": f"Bearer {who}"} | ({"Last-Event-ID": last} if last else {})

        def read() -> None:
            url = f"{self.url}/v1/events?{query}"
            with httpx.stream("GET", url, headers=headers, timeout=30) as answer:
                assert answer.headers["content-type"].startswith("text/event-stream"), answer.read()
                opened.set()
                for line in answer.iter_lines():
                    told.lines.append(line)
            told.ended.set()

        thread = threading.Thread(target=read, daemon=True)
        self.threads.append(thread)
        thread.start()
        assert opened.wait(10)
        return told


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    s = settings.load({}, directory=tmp_path)
    issuer = identity.TokenIssuer(ACTORS)
    engine = launcher.MemoryLauncher()
    app = control_app.create_app(s, issuer=issuer, launcher=engine)
    listener = socket.create_server(("127.0.0.1", 0))
    server = Server(uvicorn.Config(app, log_level="warning", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    assert server.listens.wait(30)
    made = World(f"http://127.0.0.1:{listener.getsockname()[1]}", app.state["news"], issuer, engine)
    for name in ("alpha", "beta"):
        answer = httpx.post(
            f"{made.url}/api/v1/projects",
            json={"name": name, "owner": "o"},
            headers={"Authorization": "Bearer root"},
        )
        assert answer.status_code == 201
    yield made
    app.state["news"].close()
    server.should_exit = True
    thread.join(10)
    assert not thread.is_alive(), "watchers keep the server from its end"
    listener.close()


def _start(world: World, project: str) -> str:
    answer = httpx.post(
        f"{world.url}/api/v1/runs", json={"project": project}, headers={"Authorization": "Bearer root"}
    )
    assert answer.status_code == 201, answer.text
    return str(answer.json()["run_id"])


def test_what_goes_on_record_is_told_at_once_and_gone_on_from(world: World) -> None:
    told = world.watch("root")
    began = time.monotonic()
    run_id = _start(world, "alpha")
    told.wait(lambda: len(told.events()) == 2)
    assert time.monotonic() - began < 5
    first = told.events()[0]
    assert first["resource"] == f"run/{run_id}" and first["actor"] == "root"
    assert set(first) == {"sequence", "at", "actor", "action", "resource", "outcome"}, "no detail"
    again = world.watch("root", "until_idle=true", last=str(first["sequence"]))
    assert again.ended.wait(10)
    assert [one["sequence"] for one in again.events()] == [first["sequence"] + 1]
    whole = world.watch("root", "until_idle=true&after=0")
    assert whole.ended.wait(10)
    assert whole.actions() == ["project.create"] * 2 + ["run.start"] * 2
    ahead = world.watch("root", "until_idle=true&after=999999")
    assert ahead.ended.wait(10) and ahead.events() == []


def test_only_what_one_may_read_and_only_as_long(world: World) -> None:
    member = "/projects/alpha/members/ana"
    made = world.call("root", "PUT", member, body={"roles": {"*": ["viewer"]}})
    told = world.watch("ana", "after=0")
    told.wait(lambda: told.actions() == ["project.create", "member.set"])
    _start(world, "beta")
    _start(world, "alpha")
    told.wait(lambda: told.actions().count("run.start") == 2)
    assert "beta" not in "".join(told.lines)
    answer = httpx.delete(
        f"{world.url}/v1{member}",
        headers={"Authorization": "Bearer root", "If-Match": f'"{made["version"]}"'},
    )
    assert answer.status_code == 204
    mine = world.watch("root")
    _start(world, "alpha")
    mine.wait(lambda: len(mine.events()) == 2)
    time.sleep(0.2)
    assert told.actions().count("run.start") == 2 and "member.remove" not in told.actions()


def test_a_member_is_told_of_whatever_is_of_its_project(world: World) -> None:
    world.call("root", "PUT", "/projects/alpha/members/ana", body={"roles": {"*": ["viewer"]}})
    told = world.watch("ana")
    for project in ("beta", "alpha"):
        answer = httpx.post(
            f"{world.url}/api/v1/projects/{project}/classifications",
            json={"entry": "view.guests", "findings": [FINDING]},
            headers={"Authorization": "Bearer root"},
        )
        assert answer.status_code == 200, answer.text
    told.wait(lambda: bool(told.events()))
    assert [one["resource"] for one in told.events()] == ["classification/alpha/view.guests"]


def test_a_denial_is_for_the_audit_log(world: World) -> None:
    world.call("root", "PUT", "/projects/alpha/members/ana", body={"roles": {"*": ["viewer"]}})
    world.call("ana", "PUT", "/catalog/alpha", 403, {"entries": []})
    whole = world.watch("root", "until_idle=true&after=0")
    assert whole.ended.wait(10) and "catalog.put" not in whole.actions()


def test_one_run_is_watched_with_its_stages(world: World) -> None:
    run_id, other = _start(world, "alpha"), _start(world, "alpha")
    told = world.watch("root", f"run={run_id}")
    told.wait(lambda: [one["stage"] for one in told.events("stage")] == ["approval"])
    for one in (other, run_id):
        answer = httpx.post(
            f"{world.url}/api/v1/runs/{one}/decision",
            json={"approve": True},
            headers={"Authorization": "Bearer root"},
        )
        assert answer.status_code == 200
    told.wait(lambda: [one["stage"] for one in told.events("stage")] == ["approval", "done"])
    assert {one["resource"] for one in told.events()} == {f"run/{run_id}"}


def test_one_run_is_watched_with_how_far_its_steps_are(world: World) -> None:
    run_id = _start(world, "alpha")
    told = world.watch("root", f"run={run_id}")
    told.wait(lambda: bool(told.events("stage")))
    for done in (1, 2):
        world.engine.work(run_id, progress.StepProgress(step="train", done=done, of=8, unit="epoch"))
        told.wait(lambda done=done: [one.done for one in _steps(told)] == [done])  # type: ignore[misc]
    world.engine.work(run_id)
    told.wait(lambda: told.events("stage")[-1]["stage"] == "approval" and not _steps(told))


def _steps(told: Told) -> list[progress.StepProgress]:
    found = told.events("stage")[-1]["step_progress"]
    return [progress.StepProgress.model_validate(one) for one in found]


def test_one_endpoint_is_watched_with_what_serving_says_of_it(world: World) -> None:
    asked = {"project": "alpha", "endpoint": "delay"}
    answer = httpx.post(f"{world.url}/api/v1/runs", json=asked, headers={"Authorization": "Bearer root"})
    assert answer.status_code == 201, answer.text
    told = world.watch("root", "endpoint=delay")
    told.wait(lambda: bool(told.events("endpoint")))
    _start(world, "beta")
    _start(world, "alpha")
    told.wait(lambda: len(told.events()) == 2)  # of its project alone
    time.sleep(1.2)  # it is looked at anew, and is as it was
    (seen,) = told.events("endpoint")
    assert seen["project"] == "alpha" and "serving does not answer" in seen["unavailable"]
    other = world.watch("root", "endpoint=delay&project=beta&until_idle=true&after=0")
    assert other.ended.wait(10) and other.events() == []


def test_a_heartbeat_says_how_far_was_looked(world: World) -> None:
    told = world.watch("root", "heartbeat_seconds=0.1&project=beta")
    _start(world, "alpha")
    told.wait(lambda: "id: 4" in told.lines)
    assert told.events() == []


@pytest.mark.parametrize(
    ("query", "who", "status"),
    [
        ("project=nowhere", "root", 404),
        ("project=alpha", "ana", 404),
        ("run=run_nowhere", "root", 404),
        ("endpoint=nowhere", "root", 404),
        ("after=x", "root", 400),
        ("after=%C2%B2", "root", 400),
        ("after=" + "9" * 400, "root", 400),
        ("heartbeat_seconds=0", "root", 400),
        ("", "nobody", 401),
    ],
)
def test_what_cannot_be_watched_is_refused_before_the_first_byte(
    world: World, query: str, who: str, status: int
) -> None:
    world.call(who, "GET", f"/events?{query}", status)
    if query.startswith("after"):
        audit = httpx.get(f"{world.url}/api/v1/audit?{query}", headers={"Authorization": f"Bearer {who}"})
        assert audit.status_code == status


def test_more_watchers_than_a_process_bears_are_told_to_wait(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(news, "MAX_WATCHERS", 1)
    world.watch("root")
    deadline = time.monotonic() + 10
    while not world.news._watchers and time.monotonic() < deadline:
        time.sleep(0.01)
    refused = world.call("root", "GET", "/events", 429)
    assert errors.from_wire(refused).retryable


def test_a_token_that_ends_ends_the_watch(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    told = world.watch("root")
    monkeypatch.setattr(world.issuer, "_tokens", {})
    assert told.ended.wait(10)
    (why,) = told.events("error")
    assert isinstance(errors.from_wire(why), errors.Unauthenticated)


def test_a_server_that_stops_ends_its_watchers(world: World) -> None:
    told = world.watch("root")
    world.news.close()
    assert told.ended.wait(10) and told.events("error") == []


@pytest.mark.integration
def test_the_process_ends_at_once_although_somebody_watches(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAINSPRING_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "mainspring.platform"],
        cwd=tmp_path,
        env={**environment, "MAINSPRING_CONTROL_PORT": str(port)},
        stderr=subprocess.DEVNULL,
    )
    try:
        url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 60
        while not _answers(url):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        tokens = json.loads(next(tmp_path.rglob("tokens.json")).read_text())["tokens"]
        headers = {"Authorization": f"Bearer {tokens[0]['token']}"}
        with httpx.stream("GET", f"{url}/v1/events", headers=headers, timeout=60) as answer:
            assert answer.status_code == 200
            process.terminate()
            assert list(answer.iter_lines()) == []
        process.wait(20)
    finally:
        process.kill()
        process.wait(10)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False
