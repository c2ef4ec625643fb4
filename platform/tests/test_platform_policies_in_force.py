"""Policies change while requests come: each is decided by one set, none fails, and which set is in force is on record."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar.testing import TestClient

from mainspring.core import durable, identity, settings
from mainspring.platform import app as control_app
from mainspring.platform.policies import in_force
from mainspring.platform.runs import launcher

ACTORS = {"root": identity.Actor("root", ("admin",)), "dev": identity.Actor("dev", ("developer",))}
PERMIT = '@id("acme.open")\n@advice("-")\npermit (principal, action == Action::"project.create", resource);\n'
CLOSED = """
@id("acme.closed")
@advice("no new projects this week")
forbid (principal, action == Action::"project.create", resource);
"""


class Api:
    def __init__(self, client: TestClient[Any], folder: Path) -> None:
        self.client, self.folder = client, folder

    def create(self, who: str = "dev") -> int:
        body = {"name": f"project-{time.monotonic_ns()}-{threading.get_ident() % 1000}", "owner": "o"}
        answer = self.client.post("/api/v1/projects", json=body, headers={"Authorization": f"Bearer {who}"})
        return int(answer.status_code)

    def write(self, text: str, name: str = "own.cedar") -> None:
        """Whole: on a busy machine two looks may see the file empty that is being written in place."""
        durable.replace_file(self.folder / name, text)

    def record(self) -> list[tuple[str, dict[str, Any]]]:
        """From the export: a list is of projects, where policies tell those apart."""
        answer = self.client.get("/api/v1/audit:export", headers={"Authorization": "Bearer root"})
        rows = [json.loads(line)["row"] for line in answer.text.splitlines()]
        return [(r["outcome"], r["detail"]) for r in rows if r["action"] == "policy.reload"]


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    monkeypatch.setattr(in_force, "LOOK_SECONDS", 0.02)
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "own.cedar").write_text(PERMIT)
    s = settings.load({"MAINSPRING_CONTROL_POLICIES_DIR": str(folder)}, directory=tmp_path)
    app = control_app.create_app(s, issuer=identity.TokenIssuer(ACTORS), launcher=launcher.MemoryLauncher())
    with TestClient(app, raise_server_exceptions=False) as client:
        yield Api(client, folder)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_set_that_is_changed_is_in_force_without_a_restart_and_on_record(api: Api) -> None:
    assert api.create() == 201
    api.write(PERMIT + CLOSED)
    until(lambda: api.create() == 403)
    ((outcome, first),) = api.record()
    assert outcome == "done" and first["from"] != first["to"]
    api.write(PERMIT)
    until(lambda: api.create() == 201)
    assert api.record()[1] == ("done", {"from": first["to"], "to": first["from"]})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("permit (principal", "own.cedar"),
        (PERMIT.replace('@id("acme.open")\n', ""), "@id"),
        (PERMIT.replace("project.create", "project.creat"), "creat"),
    ],
)
def test_a_set_that_is_none_changes_nothing_and_is_told_once(api: Api, text: str, says: str) -> None:
    api.write(PERMIT + CLOSED)
    until(lambda: api.create() == 403)
    api.write(text)
    until(lambda: len(api.record()) == 2)
    outcome, detail = api.record()[1]
    assert outcome == "failed" and says in detail["problem"]
    time.sleep(0.3)
    assert len(api.record()) == 2 and api.create() == 403, "what was in force stays"
    for path in api.folder.glob("*.cedar"):
        path.unlink()
    until(lambda: len(api.record()) == 3)
    assert "no `*.cedar` file" in api.record()[2][1]["problem"] and api.create() == 403
    api.write(PERMIT, "other.cedar")
    until(lambda: api.create() == 201)


def test_no_request_fails_while_sets_change(api: Api) -> None:
    seen: list[int] = []
    is_done = threading.Event()

    def ask() -> None:
        while not is_done.wait(0.01):
            seen.append(api.create())

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for number in range(4):
            api.write(PERMIT + (CLOSED if number % 2 == 0 else ""))
            until(lambda n=number: len(api.record()) == n + 1)  # type: ignore[misc]
    finally:
        is_done.set()
        for thread in threads:
            thread.join()
    assert set(seen) == {201, 403} and len(seen) > 10


def test_a_set_that_is_being_written_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = list("aabcdddeffff")
    loads: list[str] = []
    last = ""

    def state(_: Path) -> str:
        nonlocal last
        last = looks.pop(0)
        return last

    async def load(*_: Any) -> None:
        loads.append(last)

    monkeypatch.setattr(in_force, "_state", state)
    monkeypatch.setattr(in_force, "_load", load)
    monkeypatch.setattr(in_force, "LOOK_SECONDS", 0.0)
    with pytest.raises(IndexError):
        asyncio.run(in_force.follow(None, Path()))  # type: ignore[arg-type]
    assert loads == ["a", "d", "f"], "once each, when it was written"


def test_what_changed_before_the_first_look_is_in_force_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The set is loaded as the application is made; the folder is looked at from its start on."""
    monkeypatch.setattr(in_force, "LOOK_SECONDS", 0.02)
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "own.cedar").write_text(PERMIT)
    s = settings.load({"MAINSPRING_CONTROL_POLICIES_DIR": str(folder)}, directory=tmp_path)
    app = control_app.create_app(s, issuer=identity.TokenIssuer(ACTORS), launcher=launcher.MemoryLauncher())
    durable.replace_file(folder / "own.cedar", PERMIT + CLOSED)
    with TestClient(app, raise_server_exceptions=False) as client:
        api = Api(client, folder)
        until(lambda: api.create() == 403)
        assert [outcome for outcome, _ in api.record()] == ["done"]
