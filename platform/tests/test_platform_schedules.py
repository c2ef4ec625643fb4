"""Schedules over the control API: who may, what is on record, and what an engine that is away leaves."""

from __future__ import annotations

import asyncio
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

ACTORS = {
    name: identity.Actor(f"{name}@local", (name,)) for name in ("developer", "viewer", "admin", "approver")
}
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


RETENTION = PATH.replace("skew", "retention")
HOLDS = "/api/v1/projects/hospital/holds"
CASE = {"kind": "reads", "since": "2026-01-01T00:00:00Z", "reason": "case 12"}


def test_a_schedule_takes_no_hold_and_says_where_it_is_placed(world: World) -> None:
    told = world.call("admin", "PUT", RETENTION, 400, {"every_minutes": 60, "request": {"holds": [CASE]}})
    assert told["code"] == "invalid_request" and "mainspring hold place hospital" in told["detail"]
    world.call("admin", "GET", RETENTION, 404)
    assert world.record() == []


@pytest.mark.parametrize("change", ["put", "remove"])
def test_who_changes_a_schedule_drops_none_of_the_holds_that_it_has(world: World, change: str) -> None:
    """An older version took them in the schedule's parameters."""
    other = {**CASE, "kind": None}
    asked = schedules.ScheduleCreate(every_minutes=60, request={"holds": [CASE, other]})
    had = asyncio.run(world.scheduler.put("hospital", schedules.Process.RETENTION, asked)).version
    fewer = {"every_minutes": 60, "request": {"holds": [CASE]}}
    erase = {"entity": "person", "key": "p-1", "ground": "objection", "reason": "a letter"}
    erasures = "/api/v1/projects/hospital/erasures"
    told = world.call("developer", "POST", erasures, 403, erase)["message"]
    assert "case 12" in told and "put that schedule again without `holds`" in told
    assert world.call("admin", "GET", HOLDS, 200)["items"] == []
    world.call("viewer", "PUT", RETENTION, 403, fewer, tag=f'"{had}"')
    if change == "put":
        made = world.call("developer", "PUT", RETENTION, 200, fewer, tag=f'"{had}"')
        later = world.call(
            "developer", "PUT", RETENTION, 200, {"every_minutes": 90}, tag=f'"{made["version"]}"'
        )
        assert later["request"] == {}
    else:
        world.call("developer", "DELETE", RETENTION, 204, tag=f'"{had}"')
    found = world.call("viewer", "GET", HOLDS, 200)["items"]
    assert [(one["state"], one["reason"], one["since"]) for one in found] == [
        ("in_force", "case 12", "2026-01-01T00:00:00Z")
    ] * 2
    assert "hold_" in world.call("developer", "POST", erasures, 403, erase)["message"]
    assert sorted(one["kinds"] for one in found) == [[], ["reads"]]
    rows = [
        r
        for r in world.call("viewer", "GET", "/api/v1/audit", 200)["items"]
        if r["action"] == "hold.take-over"
    ]
    assert [(row["actor"], row["outcome"]) for row in rows] == [("developer@local", "done")] * 2
    hold = f"{HOLDS}/{found[0]['hold_id']}"
    world.call("admin", "POST", f"{hold}/lift", 200, {"reason": "it is over"})
    world.call("admin", "POST", f"{hold}/decide", 403, {"approve": True})


def test_a_hold_that_was_lifted_is_not_taken_over_again(world: World) -> None:
    asked = schedules.ScheduleCreate(every_minutes=60, request={"holds": [CASE]})
    had = asyncio.run(world.scheduler.put("hospital", schedules.Process.RETENTION, asked)).version
    kept = {"every_minutes": 90, "request": {"holds": [CASE]}}
    now = world.call("developer", "PUT", RETENTION, 200, kept, tag=f'"{had}"')["version"]
    (hold,) = world.call("viewer", "GET", HOLDS, 200)["items"]
    path = f"{HOLDS}/{hold['hold_id']}"
    world.call("admin", "POST", f"{path}/lift", 200, {"reason": "it is over"})
    world.call("approver", "POST", f"{path}/decide", 200, {"approve": True})
    world.call("developer", "PUT", RETENTION, 200, {"every_minutes": 90}, tag=f'"{now}"')
    assert [one["state"] for one in world.call("viewer", "GET", HOLDS, 200)["items"]] == ["lifted"]


def test_the_command_knows_every_process() -> None:
    assert tuple(schedules.Process) == commands.PROCESSES
