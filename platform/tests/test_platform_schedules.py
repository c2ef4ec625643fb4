"""Schedules over the control API: who may, what is on record, and what an engine that is away leaves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar.testing import TestClient

from mainspring.core import identity, settings
from mainspring.core.contracts import schedules
from mainspring.platform import app as control_app
from mainspring.platform.cli import schedules as commands
from mainspring.platform.runs import launcher
from mainspring.platform.schedules import engine

ACTORS = {name: identity.Actor(f"{name}@local", (name,)) for name in ("developer", "viewer", "admin")}
PATH = "/api/v1/projects/hospital/schedules/skew"
HOURLY = {"every_minutes": 60, "request": {"max_rows": 7}}


class World:
    def __init__(self, client: TestClient[Any], scheduler: engine.MemoryScheduler) -> None:
        self.client, self.scheduler = client, scheduler

    def call(self, role: str, method: str, path: str, expect: int, body: Any = None, tag: str = "") -> Any:
        headers = {"Authorization": f"Bearer {role}"} if role else {}
        headers |= {"If-Match": tag} if tag else {}
        answer = self.client.request(method, path, json=body, headers=headers)
        assert answer.status_code == expect, answer.text
        return answer.json() if answer.content else None

    def record(self) -> list[tuple[str, str, dict[str, Any]]]:
        rows = self.call("viewer", "GET", "/api/v1/audit", 200)["items"]
        return [(r["action"], r["outcome"], r["detail"]) for r in rows if r["action"].startswith("schedule.")]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    scheduler = engine.MemoryScheduler()
    app = control_app.create_app(
        settings.load({}, directory=tmp_path),
        issuer=identity.TokenIssuer(ACTORS),
        launcher=launcher.MemoryLauncher(),
        scheduler=scheduler,
    )
    with TestClient(app) as client:
        made = World(client, scheduler)
        made.call("developer", "POST", "/api/v1/projects", 201, {"name": "hospital", "owner": "o"})
        yield made


def test_a_schedule_is_made_shown_run_and_removed_on_record(world: World) -> None:
    made = world.call("developer", "PUT", PATH, 200, HOURLY)
    assert made["request"] == {"max_rows": 7} and made == world.call("viewer", "GET", PATH, 200)
    assert world.call("viewer", "GET", PATH.removesuffix("/skew"), 200)["items"] == [made]
    started = world.call("developer", "POST", f"{PATH}/runs", 202)
    assert world.call("viewer", "GET", f"{PATH}/runs/{started['run_id']}", 200)["state"] == "done"
    world.call("developer", "DELETE", PATH, 428)
    world.call("developer", "DELETE", PATH, 204, tag=f'"{made["version"]}"')
    world.call("viewer", "GET", PATH, 404)
    world.call("developer", "DELETE", PATH, 404, tag="*")
    rows = world.record()
    assert [(a, o) for a, o, _ in rows] == [
        (f"schedule.{what}", outcome)
        for what in ("put", "run", "remove")
        for outcome in ("requested", "done")
    ]
    assert rows[0][2].pop("authorisation")["decisions"][0]["policies"] == ["schedule.change"]
    assert rows[0][2] == {"every_minutes": 60.0, "is_paused": False, "request": {"max_rows": 7}}
    assert rows[3][2] == {"run_id": started["run_id"]}


def test_who_may_not_changes_nothing(world: World) -> None:
    world.call("developer", "PUT", PATH, 200, HOURLY)
    for role, expect in (("", 401), ("viewer", 403)):
        world.call(role, "PUT", PATH, expect, {"every_minutes": 1})
        world.call(role, "POST", f"{PATH}/runs", expect)
        world.call(role, "DELETE", PATH, expect)
    assert world.call("viewer", "GET", PATH, 200)["every_minutes"] == 60
    assert [o for _, o, _ in world.record()] == ["requested", "done", "denied", "denied", "denied"]


@pytest.mark.parametrize(
    ("path", "body", "expect"),
    [
        (PATH, {"every_minutes": 0}, 400),
        (PATH, {"every_minutes": 60, "request": {"max_row": 7}}, 400),
        (PATH, {"every_minutes": 60, "request": {"max_rows": 0}}, 400),
        (PATH, {"every": 60}, 400),
        (PATH.replace("skew", "nonsense"), HOURLY, 400),
        (PATH.replace("hospital", "absent"), HOURLY, 404),
    ],
)
def test_what_is_none_is_refused_before_it_is_on_record(
    world: World, path: str, body: Any, expect: int
) -> None:
    world.call("developer", "PUT", path, expect, body)
    assert world.record() == []


def test_an_engine_that_is_away_is_on_record_and_asked_again(world: World) -> None:
    world.scheduler.is_down = True
    world.call("developer", "PUT", PATH, 503, HOURLY)
    world.scheduler.is_down = False
    world.call("developer", "PUT", PATH, 200, HOURLY)
    found = world.record()
    assert [o for _, o, _ in found] == ["requested", "failed", "requested", "done"]
    assert found[1][2]["code"] == "dependency_down"


def test_a_change_is_of_the_schedule_that_was_looked_at(world: World) -> None:
    first = world.call("developer", "PUT", PATH, 200, HOURLY)["version"]
    blind = world.call("admin", "PUT", PATH, 428, {"every_minutes": 5})
    assert blind["details"]["current"] == first
    world.call("admin", "PUT", PATH, 200, HOURLY)  # the same again undoes nothing
    second = world.call("developer", "PUT", PATH, 200, {"every_minutes": 5}, tag=f'"{first}"')["version"]
    late = world.call("admin", "PUT", PATH, 412, {"every_minutes": 7}, tag=f'"{first}"')
    assert (late["details"]["current"], late["details"]["by"]) == (second, "developer@local")
    assert world.call("admin", "PUT", PATH, 200, {"every_minutes": 7}, tag="*")["every_minutes"] == 7
    absent = PATH.replace("skew", "retention")
    world.call("admin", "PUT", absent, 404, {"every_minutes": 7}, tag='"x"')
    assert [o for _, o, _ in world.record()] == ["requested", "done"] * 4, "what came too late is no request"


def test_what_changes_between_the_look_and_the_engine_is_found_by_the_engine(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = world.call("developer", "PUT", PATH, 200, HOURLY)["version"]
    put = world.scheduler.put

    async def slow(*asked: Any, **options: Any) -> schedules.ScheduleView:
        monkeypatch.setattr(world.scheduler, "put", put)
        other = schedules.ScheduleCreate(every_minutes=1)
        await put("hospital", schedules.Process.SKEW, other, put_by="eva")
        return await put(*asked, **options)

    monkeypatch.setattr(world.scheduler, "put", slow)
    late = world.call("developer", "PUT", PATH, 412, {"every_minutes": 7}, tag=f'"{first}"')
    assert late["code"] == "precondition_failed"
    assert world.call("viewer", "GET", PATH, 200)["every_minutes"] == 1
    assert [o for _, o, _ in world.record()] == ["requested", "done", "requested", "failed"]


def test_what_it_starts_is_in_the_name_of_who_put_it_last(world: World) -> None:
    path, asked = PATH.replace("skew", "retrain"), {"every_minutes": 60, "request": {"endpoint": "delay"}}
    assert world.call("developer", "PUT", path, 200, asked)["on_behalf_of"] == "developer@local"
    assert world.call("admin", "PUT", path, 200, asked)["on_behalf_of"] == "admin@local"
    world.call("developer", "POST", f"{path}/runs", 202)
    assert world.scheduler.prompted == ["developer@local"], "who runs it now answers for it as well"
    assert world.call("viewer", "GET", path, 200)["on_behalf_of"] == "admin@local"
    forged = {"every_minutes": 60, "request": {"endpoint": "delay", "on_behalf_of": "viewer@local"}}
    assert "no option `on_behalf_of`" in world.call("developer", "PUT", path, 400, forged)["detail"]
    assert world.call("developer", "PUT", PATH, 200, HOURLY)["on_behalf_of"] == ""  # it starts nothing


def test_the_command_knows_every_process() -> None:
    assert tuple(schedules.Process) == commands.PROCESSES
