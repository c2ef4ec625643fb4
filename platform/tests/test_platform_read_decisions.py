"""Reads are on record with the policies that decided them: counted, bounded, and the sensitive ones before they are answered."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from litestar.testing import TestClient
from sqlalchemy import exc

from mainspring.core import identity, settings
from mainspring.core.client import control as control_client
from mainspring.core.contracts import base
from mainspring.platform import app as control_app
from mainspring.platform import mutation
from mainspring.platform import plane as control_plane
from mainspring.platform.cli import main as cli
from mainspring.platform.cli import policies as cli_policies
from mainspring.platform.decisions import log, store, writing
from mainspring.platform.policies import questions
from mainspring.platform.runs import launcher

ACTORS = {
    "root": identity.Actor("root", ("admin",)),
    "ana": identity.Actor("ana", ()),
    "eva": identity.Actor("eva", ()),
    "late": identity.Actor("late", ()),
}
HIDDEN = """
@id("acme.hidden")
@advice("ask the board")
forbid (principal == Actor::"ana", action == Action::"cost.read", resource);
"""


class Api:
    def __init__(self, folder: Path) -> None:
        s = settings.load({"MAINSPRING_CONTROL_POLICIES_DIR": str(folder / "own")}, directory=folder)
        self.app = control_app.create_app(
            s, issuer=identity.TokenIssuer(ACTORS), launcher=launcher.MemoryLauncher()
        )
        self.client = TestClient(self.app, raise_server_exceptions=False)

    @property
    def plane(self) -> control_plane.ControlPlane:
        provided: Any = self.app.dependencies["plane"]
        found: control_plane.ControlPlane = provided.dependency()
        return found

    def call(self, who: str, method: str, path: str, expect: int = 200, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {who}"}
        answer = self.client.request(method, f"/api/v1{path}", json=body, headers=headers)
        assert answer.status_code == expect, (path, answer.text)
        return answer.json()

    def get(self, who: str, path: str, expect: int = 200) -> Any:
        return self.call(who, "GET", path, expect)

    def reads(self, who: str = "root", query: str = "") -> list[Any]:
        found, before = list[Any](), ""
        while True:
            page = self.get(who, f"/policies:reads?{query}&before={before}")
            found += page["items"]
            if not (before := page["next"]):
                return found


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Api]]:
    """Control APIs over one database, none of which writes unless it is asked to."""
    monkeypatch.setattr(writing, "FLUSH_SECONDS", 1000.0)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "acme.cedar").write_text(HIDDEN)
    opened = list[Api]()

    def started() -> Api:
        api = Api(tmp_path)
        api.client.__enter__()
        opened.append(api)
        return api

    yield started
    for api in opened:
        api.client.__exit__(None, None, None)


@pytest.fixture
def api(start: Callable[[], Api]) -> Api:
    made = start()
    for project, member in (("alpha", "ana"), ("beta", "eva")):
        made.call("root", "POST", "/projects", 201, {"name": project, "owner": "o"})
        roles = {"roles": {"*": ["viewer"]}}
        made.call("root", "PUT", f"/projects/{project}/members/{member}", 200, roles)
    return made


#: Once over SQLite, once over PostgreSQL.
BOTH = pytest.mark.usefixtures("database_url")


@BOTH
def test_a_denied_read_is_on_record_with_the_policies_that_denied_it(api: Api) -> None:
    api.get("ana", "/costs?project=alpha", 404)
    api.get("eva", "/projects/alpha", 404)
    forbidden, stranger = sorted(api.reads(query="denied=true&project=alpha"), key=lambda one: one["actor"])
    assert (forbidden["actor"], forbidden["action"], forbidden["policies"]) == (
        "ana",
        "cost.read",
        ["acme.hidden"],
    )
    assert (stranger["actor"], stranger["action"], stranger["policies"]) == ("eva", "project.read", [])
    assert forbidden["version"] == stranger["version"] == api.plane.policies.version
    assert forbidden["count"] == 1 and not forbidden["allowed"] and not forbidden["is_sensitive"]
    # Whoever may read the project's log sees who tried; nobody is told of another's.
    assert {one["actor"] for one in api.reads("ana", "denied=true")} == {"ana", "eva"}
    assert api.reads("eva", "denied=true") == [] and {one["project"] for one in api.reads("eva")} == {"beta"}
    api.get("eva", "/policies:reads?project=alpha", 404)
    assert api.reads("late") == []
    assert api.get("nobody", "/policies:reads", 401)["code"] == "unauthenticated"
    for bad in ("limit=0", "limit=501", "before=x", "before=[1]", 'before=["a",1]', "denied=perhaps"):
        assert api.get("root", f"/policies:reads?{bad}", 400)["code"] == "invalid_request"


@BOTH
def test_a_thousand_same_reads_are_one_row(api: Api, start: Callable[[], Api]) -> None:
    question = questions.Question(
        questions.Principal("ana", frozenset({"viewer"})), "catalog.read", questions.project("alpha")
    )
    other = start()
    for plane, times in ((api.plane, 600), (other.plane, 400)):
        for _ in range(times):
            answer = questions.Decision(True, ("read.project",))
            plane.reads.note(question, answer, plane.policies.version, sensitive=False)
        assert len(plane.reads) == 1
    other.reads()
    (one,) = api.reads(query="actor=ana&action=catalog.read")
    assert (one["count"], one["allowed"], one["policies"]) == (1000, True, ["read.project"])
    for _ in range(3):
        api.get("ana", "/projects/alpha")
    (one,) = api.reads(query="actor=ana&action=project.read&limit=1")
    assert one["count"] == 3 and one["first_at"] <= one["last_at"]
    everything = api.reads()
    assert len({json.dumps(one) for one in everything}) == len(everything)


@BOTH
def test_a_process_that_dies_loses_no_sensitive_read(api: Api, start: Callable[[], Api]) -> None:
    api.get("ana", "/projects/alpha")
    api.get("ana", "/projects/alpha/secrets")
    api.get("ana", "/runs")
    other = start()  # nothing of what the first one holds is here
    found = {one["action"]: one for one in other.reads("root", "actor=ana")}
    assert found["secret.read"]["is_sensitive"] and found["secret.read"]["count"] == 1
    # What came before it is on record by the same write; what came after is held.
    assert "project.read" in found and "run.read" not in found


@BOTH
def test_a_log_that_takes_nothing_stops_sensitive_reads_alone(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def down(*_: Any) -> None:
        raise exc.OperationalError("INSERT", {}, OSError("disk full"))

    with monkeypatch.context() as patched:
        patched.setattr(mutation, "note", down)
        api.get("ana", "/projects/alpha")
        refused = api.get("ana", "/projects/alpha/secrets", 503)
        assert refused["code"] == "dependency_down" and "not answered" in refused["detail"]
        assert "project.read" not in {one["action"] for one in api.reads("root", "actor=ana")}
    api.get("ana", "/projects/alpha/secrets")
    found = {one["action"]: one["count"] for one in api.reads("root", "actor=ana")}
    assert found["project.read"] == 1 and found["secret.read"] == 2, "nothing that was held is lost"


@BOTH
def test_the_dry_run_tells_of_a_read_that_a_change_would_deny(api: Api) -> None:
    for _ in range(3):
        api.get("ana", "/projects/alpha/members")
    api.get("ana", "/costs?project=alpha", 404)
    freeze = """
    @id("acme.members")
    @advice("members are not for viewers")
    forbid (principal, action == Action::"member.read", resource == Project::"alpha");
    """
    found = api.call("root", "POST", "/policies:dry-run", 200, {"policies": {"acme.cedar": freeze}})
    by_action = {one["action"]: one for one in found["changes"]}
    denied, allowed = by_action["member.read"], by_action["cost.read"]
    assert (denied["is_read"], denied["count"], denied["resource"]) == (True, 3, "project/alpha")
    assert (denied["was_by"], denied["is_by"]) == (["read.project"], ["acme.members"])
    assert denied["next_step"] == "members are not for viewers"
    assert (allowed["was_allowed"], allowed["is_allowed"], allowed["was_by"]) == (
        False,
        True,
        ["acme.hidden"],
    )
    assert (found["newly_denied"], found["newly_allowed"]) == (3, 1)
    assert found["reads"] == 4 and found["decisions"] > found["reads"]


@BOTH
def test_what_is_old_goes(api: Api) -> None:
    api.get("ana", "/projects/alpha")
    assert api.reads(query="actor=ana")

    async def forget(days: int) -> None:
        before = base.utc_now() + timedelta(days=days)
        await mutation.note(api.plane, lambda connection: store.forget(connection, before))

    portal: Any = api.client.blocking_portal
    portal.call(forget, -writing.KEPT_DAYS)
    assert api.reads(query="actor=ana")
    portal.call(forget, 1)
    assert api.reads(query="actor=ana") == []


def test_it_is_written_soon_by_itself(
    api: Api, start: Callable[[], Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "FLUSH_SECONDS", 0.02)
    made = start()
    made.get("ana", "/projects/alpha")
    deadline = time.monotonic() + 30
    while len(made.plane.reads):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert [one["action"] for one in api.reads(query="actor=ana")] == ["project.read"]


def _asked(held: log.ReadLog, project: str, *, allowed: bool, who: str = "eva", times: int = 1) -> None:
    question = questions.Question(
        questions.Principal(who, frozenset()), "project.read", questions.project(project)
    )
    for _ in range(times):
        held.note(question, questions.Decision(allowed, ()), "v", sensitive=False)


def test_nobody_fills_the_log_and_no_count_is_lost() -> None:
    async def tried() -> None:
        held = log.ReadLog()
        for number in range(1000):
            _asked(held, f"guess-{number}", allowed=False)
            _asked(held, f"guess-{number}", allowed=True)
        _asked(held, "no name \ud800\0", allowed=True, who="ana", times=7)
        _asked(held, "alpha", allowed=False, who="ben", times=100)
        found = held.take()
        assert len(found) <= log.MAX_DENIALS * 2 + log.MAX_APART + 5
        told = log.rows(found)
        assert sum(int(str(row["count"])) for row in told) == 2107
        apart = [row for row in told if row["actor"] == "eva" and not row["allowed"] and row["count"] == 1]
        assert len(apart) >= log.MAX_DENIALS, "the first are told one by one"
        (nameless,) = [row for row in told if row["actor"] == "ana"]
        assert (nameless["project"], nameless["count"]) == (log.SEVERAL, 7)
        assert max(int(str(row["count"])) for row in told if row["actor"] == "ben") == 100 - log.MAX_DENIALS
        assert len({row["decision_key"] for row in told}) == len(told)

    asyncio.run(tried())


def test_what_cannot_be_written_is_held_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "MAX_HELD", 10)

    async def tried() -> None:
        held = log.ReadLog()
        for number in range(100):
            _asked(held, f"project-{number}", allowed=True)
            held.give_back(held.take())
        assert len(held) == 11
        assert sum(counted.count for counted in held.take().values()) == 100

    asyncio.run(tried())


def test_the_command_line(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    client = control_client.ControlClient("http://api", "root", transport=api.client._transport)
    monkeypatch.setattr(cli_policies.session, "client", lambda _actor: client)
    monkeypatch.setattr(client, "close", lambda: None)
    api.get("ana", "/costs?project=alpha", 404)

    def run(*words: str) -> str:
        done = CliRunner().invoke(cli.cli, ["policy", "reads", *words])
        assert done.exit_code == 0, done.output
        return done.stdout

    assert "acme.hidden" in run("--denied") and "acme.hidden" not in run("--actor", "eva")
    assert len(json.loads(run("--action", "cost.read", "--json", "--limit", "1"))["data"]) == 1
