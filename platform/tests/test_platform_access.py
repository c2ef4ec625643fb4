"""Access for a time: asked for, decided on by somebody else, and at an end by its own clock, whoever notes it."""

from __future__ import annotations

import asyncio
import http.server
import json
import threading
import typing
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from litestar.testing import TestClient

from mainspring.core import errors, identity, settings
from mainspring.core.client import control as control_client
from mainspring.core.contracts import access_requests, base
from mainspring.core.contracts.access_requests import AccessState
from mainspring.platform import app as control_app
from mainspring.platform import plane as control_plane
from mainspring.platform.access_requests import timers
from mainspring.platform.cli import access as cli_access
from mainspring.platform.cli import main as cli
from mainspring.platform.runs import launcher

#: Once over SQLite, once over PostgreSQL.
pytestmark = pytest.mark.usefixtures("database_url")

ACTORS = {
    "root": identity.Actor("root", ("admin",)),
    "worker": identity.Actor("worker", ("service",)),
    "see": identity.Actor("see", ("viewer",)),
    **{name: identity.Actor(name, ()) for name in ("ana", "eva", "app", "out")},
}
REASON = "a stuck deployment"


class Clock:
    """The time that the control API reads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._ahead = timedelta(0)
        monkeypatch.setattr(base, "utc_now", self.now)

    def now(self) -> datetime:
        return datetime.now(UTC) + self._ahead

    def forward(self, **by: float) -> None:
        self._ahead += timedelta(**by)


class Api:
    """`ana` develops in dev, `eva` looks, `app` approves, `root` runs the platform, `out` is nobody here."""

    def __init__(self, client: TestClient[Any], engine: launcher.MemoryLauncher) -> None:
        self.client, self.engine = client, engine
        self.call("root", "POST", "/projects", 201, {"name": "alpha", "owner": "team"})
        for name, roles in (("ana", {"dev": ["developer"]}), ("eva", {"*": ["viewer"]})):
            self.call("root", "PUT", f"/projects/alpha/members/{name}", 200, {"roles": roles})
        self.call("root", "PUT", "/projects/alpha/members/app", 200, {"roles": {"*": ["approver"]}})

    def call(self, actor: str, method: str, path: str, expect: int, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {actor}"} | ({"If-Match": "*"} if method == "DELETE" else {})
        answer = self.client.request(method, f"/api/v1{path}", json=body, headers=headers)
        assert answer.status_code == expect, answer.text
        return answer.json() if answer.content else None

    def at(self, actor: str, path: str, expect: int = 200, **body: Any) -> Any:
        return self.call(actor, "POST", f"/projects/alpha/access-requests{path}", expect, body)

    def ask(self, actor: str = "ana", expect: int = 201, glass: bool = False, **wanted: Any) -> Any:
        body = {"role": "developer", "environment": "prod", "reason": REASON, **wanted}
        return self.at(actor, ":break-glass" if glass else "", expect, **body)

    def given(self, actor: str = "ana", **wanted: Any) -> str:
        request_id = str(self.ask(actor, **wanted)["request_id"])
        self.at("root", f"/{request_id}/decision", approve=True)
        return request_id

    def start(self, actor: str, expect: int, environment: str = "prod") -> Any:
        return self.call(actor, "POST", "/runs", expect, {"project": "alpha", "environment": environment})

    def listed(self, query: str = "") -> list[tuple[str, str]]:
        page = self.call("eva", "GET", f"/projects/alpha/access-requests{query}", 200)
        return [(row["request_id"], row["state"]) for row in page["items"]]

    def record(self, action: str) -> list[dict[str, Any]]:
        rows = self.call("root", "GET", "/audit?limit=500", 200)["items"]
        return [r for r in rows if r["action"] == action]

    def expire(self, request_id: str, expect: int = 200, by: str = "worker") -> Any:
        """What its workflow does when it is due."""
        due = next(r for r in self.engine.expiries.values() if r.request_id == request_id)
        due = self.engine.expiries.get(f"{request_id}-active", due)
        return self.at(by, f"/{request_id}/expire", expect, **due.model_dump(mode="json"))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def api(tmp_path: Path, clock: Clock, request: pytest.FixtureRequest) -> Iterator[Api]:
    environ = dict(getattr(request, "param", {}))
    if "hook" in request.fixturenames:
        environ["MAINSPRING_CONTROL_ALERT_URL"] = request.getfixturevalue("hook").url
    s = settings.load(environ, directory=tmp_path)
    engine = launcher.MemoryLauncher()
    app = control_app.create_app(s, issuer=identity.TokenIssuer(ACTORS), launcher=engine)
    with TestClient(app) as client:
        yield Api(client, engine)


def test_a_role_is_asked_for_given_and_over_at_its_end(api: Api, clock: Clock) -> None:
    api.start("ana", 403)
    asked = api.ask(minutes=30)
    name = asked["request_id"]
    assert (asked["state"], asked["actor"], asked["is_break_glass"]) == ("open", "ana", False)
    api.start("ana", 403)  # asking is not having
    given = api.at("root", f"/{name}/decision", approve=True, reason="go on")
    assert (given["state"], given["decided_by"], given["decision_reason"]) == ("active", "root", "go on")
    assert api.at("root", f"/{name}/decision", approve=True, reason="go on") == given  # the same again
    api.start("ana", 201)
    assert api.listed("?state=active") == [(name, "active")]
    clock.forward(minutes=29)
    api.start("ana", 201)
    clock.forward(minutes=1)
    # Nobody has noted the end: it is over all the same, for the authoriser and for whoever looks.
    api.start("ana", 403)
    assert api.listed("?state=active") == [] and api.listed("?state=expired") == [(name, "expired")]
    assert api.record("access.expire") == []
    assert api.expire(name)["state"] == "expired"
    assert api.expire(name)["ended_by"] == "worker"
    rows = {
        a: [(r["actor"], r["outcome"]) for r in api.record(a)] for a in ("access.request", "access.decide")
    }
    assert rows == {"access.request": [("ana", "done")], "access.decide": [("root", "done")]}
    (noted,) = api.record("access.expire")
    assert noted["actor"] == "worker" and noted["resource"] == f"access/alpha/{name}"
    assert noted["detail"]["was"] == "active" and noted["detail"]["request"]["actor"] == "ana"


def test_a_workflow_is_started_for_what_is_open_and_for_what_is_given(api: Api) -> None:
    name = api.given()
    assert set(api.engine.expiries) == {f"{name}-open", f"{name}-active"}
    active = api.engine.expiries[f"{name}-active"]
    shown = api.call("eva", "GET", f"/projects/alpha/access-requests/{name}", 200)
    assert active.due_at == datetime.fromisoformat(shown["ends_at"]) and shown["minutes"] == 60


def test_it_is_not_over_before_its_time(api: Api) -> None:
    name = api.given()
    assert api.expire(name)["state"] == "active"
    assert api.expire(name, 403, by="root")["code"] == "permission_denied"
    api.start("ana", 201)
    other = {
        "project": "alpha",
        "request_id": "access_x",
        "state": "active",
        "due_at": "2026-01-01T00:00:00Z",
    }
    assert api.at("worker", f"/{name}/expire", 400, **other)["details"] == {"field": "request_id"}
    assert "access list alpha" in api.at("worker", "/access_x/expire", 404, **other)["detail"]


def test_nobody_decides_on_his_own_or_gives_what_he_may_not(api: Api) -> None:
    own = api.ask("app", role="developer")["request_id"]
    denied = api.at("app", f"/{own}/decision", 403, approve=True)
    assert denied["details"]["rule_id"] == "access.four-eyes"
    theirs = api.ask("ana", role="admin")["request_id"]
    assert "role `admin` there" in api.at("app", f"/{theirs}/decision", 403, approve=True)["detail"]
    api.at("see", f"/{theirs}/decision", 403, approve=True)
    assert api.at("root", f"/{theirs}/decision", approve=False, reason="no")["state"] == "rejected"
    late = api.at("root", f"/{theirs}/decision", 409, approve=True)  # a decision is made once
    assert "is rejected since" in late["detail"]
    api.at("app", f"/{api.ask('ana')['request_id']}/decision", approve=True)
    api.start("ana", 201)


def test_a_role_for_a_time_hands_out_nothing(api: Api) -> None:
    api.given("ana", role="admin", environment="*")
    api.call(
        "ana", "PATCH", "/projects/alpha", 428, {"owner": "x"}
    )  # it is an admin: only `If-Match` is missing
    api.call("ana", "PUT", "/projects/alpha/members/ana", 403, {"roles": {"*": ["admin"]}})
    api.call("ana", "DELETE", "/projects/alpha/members/eva", 403)
    api.at("ana", f"/{api.ask('eva')['request_id']}/decision", 403, approve=True)
    api.given("eva", environment="staging")
    api.ask("eva", 403, glass=True, environment="dev")  # a viewer that develops for an hour breaks no glass


def test_it_ends_with_the_last_standing_role(api: Api) -> None:
    api.given("eva")
    api.start("eva", 201)
    api.call("root", "DELETE", "/projects/alpha/members/eva", 204)
    api.start("eva", 404)  # not even told that there is a project
    api.call("root", "PUT", "/projects/alpha/members/eva", 200, {"roles": {"dev": ["viewer"]}})
    api.start("eva", 201)


def test_it_holds_in_its_environment_and_for_its_actor_only(api: Api) -> None:
    api.given("ana", environment="staging")
    api.start("ana", 201, "staging")
    api.start("ana", 403, "prod")
    api.start("eva", 403, "staging")
    api.given("ana", environment="*")
    api.start("ana", 201, "prod")


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"minutes": 481}, "minutes"),
        ({"minutes": 0}, "minutes"),
        ({"role": "service"}, "role"),
        ({"environment": "moon"}, "environment"),
        ({"reason": "     "}, "reason"),
        ({"approver": "eva"}, "approver"),
    ],
)
def test_what_cannot_be_asked_for(api: Api, wanted: Any, field: str) -> None:
    refused = api.ask("ana", 400, **wanted)
    assert field in str(refused), refused
    assert api.listed() == [] and api.record("access.request") == []


def test_broken_glass_is_shorter_than_what_is_decided(api: Api) -> None:
    too_long = api.ask("ana", 400, glass=True, minutes=61)
    assert "at most 60" in too_long["detail"] and "control.break_glass_hours" in too_long["detail"]
    api.ask("ana", glass=True, minutes=60)


def test_the_same_is_asked_for_once_while_it_is_under_way(api: Api, clock: Clock) -> None:
    first = api.ask()["request_id"]
    taken = api.ask("ana", 409)
    assert first in taken["detail"] and "open until" in taken["detail"]
    api.ask("ana", role="viewer")
    api.ask("eva")
    api.at("root", f"/{first}/decision", approve=True)
    assert "active until" in api.ask("ana", 409)["detail"]
    # Whoever notes ends is away: nobody waits for that.
    clock.forward(minutes=60)
    second = api.ask()["request_id"]
    assert (first, "expired") in api.listed() and (second, "open") in api.listed()
    assert api.record("access.request")[-1]["detail"]["ended"] == {first: "expired"}
    assert api.expire(first)["state"] == "expired" and api.record("access.expire") == []


def test_a_request_that_nobody_decides_on_lapses(api: Api, clock: Clock) -> None:
    name = api.ask()["request_id"]
    clock.forward(hours=24)
    assert api.listed("?state=lapsed") == [(name, "lapsed")] and api.listed("?state=open") == []
    assert "is lapsed since" in api.at("root", f"/{name}/decision", 409, approve=True)["detail"]
    api.start("ana", 403)
    assert api.expire(name)["state"] == "lapsed"


def test_access_is_taken_back_at_once_by_who_may_and_by_its_own(api: Api) -> None:
    name = api.given()
    api.at("eva", f"/{name}/revoke", 403, reason="why not")
    ended = api.at("app", f"/{name}/revoke", reason="done early")
    assert (ended["state"], ended["ended_by"], ended["end_reason"]) == ("revoked", "app", "done early")
    api.start("ana", 403)
    assert api.at("app", f"/{name}/revoke", reason="done early") == ended
    assert api.at("root", f"/{name}/revoke", 409, reason="once more")["code"] == "conflict"
    own = api.ask()["request_id"]
    assert api.at("ana", f"/{own}/revoke", reason="no need")["state"] == "revoked"
    assert [r["detail"]["was"] for r in api.record("access.revoke") if r["outcome"] == "done"] == [
        "active",
        "open",
    ]


def test_broken_glass_holds_at_once_and_is_reviewed_by_another(api: Api, clock: Clock, caplog: Any) -> None:
    taken = api.ask(glass=True, role="approver", minutes=15)
    name = taken["request_id"]
    assert (taken["state"], taken["decided_by"], taken["is_break_glass"]) == ("active", "", True)
    (said,) = [r for r in caplog.records if r.levelname == "CRITICAL"]
    assert "the glass is broken: ana has role approver in prod" in said.message and REASON in said.message
    assert api.call("ana", "GET", "/projects/alpha", 200)
    assert api.record("access.break-glass")[0]["detail"]["words"] == REASON
    assert "revoke it, or review it then" in api.at("root", f"/{name}/review", 409, reason="fine")["detail"]
    clock.forward(minutes=15)
    assert api.listed("?unreviewed=true") == [(name, "expired")]
    own = api.ask("app", glass=True, minutes=1)["request_id"]
    clock.forward(minutes=1)
    assert api.at("app", f"/{own}/review", 403, reason="mine")["details"]["rule_id"] == "access.four-eyes"
    done = api.at("app", f"/{name}/review", reason="it was right")
    assert (done["reviewed_by"], done["review"]) == ("app", "it was right")
    assert api.at("app", f"/{name}/review", reason="it was right") == done
    assert "what was found stays" in api.at("root", f"/{name}/review", 409, reason="not so")["detail"]
    assert api.listed("?unreviewed=true") == [(own, "expired")]
    decided = api.given()
    assert "needs no review" in api.at("root", f"/{decided}/review", 409, reason="fine")["detail"]
    api.ask("eva", 403, glass=True)
    api.ask("out", 404, glass=True)


class Hook:
    """A real receiver of alarms on loopback."""

    def __init__(self) -> None:
        self.got: list[Any] = []
        self.answers = 200
        hook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if hook.answers == 200:
                    hook.got.append(json.loads(body))
                self.send_response(hook.answers)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/alarms"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    yield made
    made.close()


def plane_of(api: Api) -> control_plane.ControlPlane:
    provide = api.client.app.dependencies["plane"]
    made: control_plane.ControlPlane = provide.dependency()
    return made


def keep(api: Api) -> set[str]:
    """One look of the task that keeps timers and alarms, in the application's loop."""
    started: set[str] = set()
    api.client.blocking_portal.call(timers.keep, plane_of(api), started)
    return started


def test_an_alarm_is_delivered_and_on_record_once(hook: Hook, api: Api) -> None:
    name = api.ask(glass=True)["request_id"]
    (alarm,) = hook.got
    assert (alarm["kind"], alarm["request_id"], alarm["actor"]) == ("access.break-glass", name, "ana")
    assert alarm["reason"] == REASON
    keep(api)
    assert len(hook.got) == 1 and [r["outcome"] for r in api.record("access.alarm")] == ["done"]


@pytest.mark.parametrize("answers", [500, 302])
def test_an_alarm_that_nobody_takes_is_sent_again(hook: Hook, api: Api, answers: int) -> None:
    hook.answers = answers
    api.ask(glass=True)
    keep(api)
    assert hook.got == [] and api.record("access.alarm") == []
    hook.answers = 200
    keep(api)
    keep(api)
    assert len(hook.got) == 1 and len(api.record("access.alarm")) == 1


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1/x", "ftp://x", "file:///etc/passwd", "http://127.0.0.1.evil/"]
)
def test_alarms_go_by_https_or_to_this_machine(tmp_path: Path, url: str) -> None:
    with pytest.raises(errors.InvalidSettings, match="control.alert_url"):
        settings.load({"MAINSPRING_CONTROL_ALERT_URL": url}, directory=tmp_path)


def test_an_engine_that_is_away_gets_its_timers_later(api: Api) -> None:
    api.engine.is_down = True
    name = api.given()
    api.start("ana", 503)  # the run waits for the engine, and access does not
    assert keep(api) == set() and api.engine.expiries == {}
    api.engine.is_down = False
    assert keep(api) == {f"{name}-active"} == set(api.engine.expiries)


def test_the_client_and_the_command_line(api: Api, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    clients = {
        name: control_client.ControlClient("http://api", name, transport=api.client._transport)
        for name in ("ana", "root", "app")
    }
    monkeypatch.setattr(cli_access.session, "client", lambda actor: clients.get(actor, clients["ana"]))
    monkeypatch.setattr(control_client.ControlClient, "close", lambda _self: None)

    def run(*arguments: str, code: int = 0) -> Any:
        done = CliRunner().invoke(cli.cli, ["access", *arguments, "--json"])
        assert done.exit_code == code, done.output
        return json.loads(done.stdout)["data"] if code == 0 else done.output

    asked = run("request", "alpha", "prod:developer", "--for", "2h", "--reason", REASON)
    assert (asked["minutes"], asked["environment"], asked["role"]) == (120, "prod", "developer")
    name = asked["request_id"]
    run("approve", "alpha", name, code=3)  # ana's own
    assert run("approve", "alpha", name, "--as", "root")["state"] == "active"
    assert run("show", "alpha", name)["state"] == "active"
    assert [r["request_id"] for r in run("list", "alpha", "--state", "active")] == [name]
    assert run("revoke", "alpha", name, "--reason", "done now")["state"] == "revoked"
    other = run("request", "alpha", "viewer", "--for", "1d", "--reason", REASON, code=1)
    assert "at most 480" in other
    other = run("request", "alpha", "viewer", "--reason", REASON)["request_id"]
    assert run("reject", "alpha", other, "--reason", "not now", "--as", "app")["state"] == "rejected"
    glass = run("break-glass", "alpha", "prod:approver", "--for", "5m", "--reason", REASON)
    clock.forward(minutes=5)
    assert [r["request_id"] for r in run("list", "alpha", "--unreviewed")] == [glass["request_id"]]
    assert run("review", "alpha", glass["request_id"], "--finding", "was right", "--as", "app")["review"]
    assert "write `45m`" in run("request", "alpha", "viewer", "--for", "soon", "--reason", "x", code=2)
    assert "is no role" in run("request", "alpha", "moon:viewer", "--reason", "xyz", code=2)


def test_requests_are_paged_newest_first(api: Api) -> None:
    names = [api.ask(who)["request_id"] for who in ("ana", "eva", "app")]
    page = api.call("eva", "GET", "/projects/alpha/access-requests?limit=2", 200)
    rest = api.call("eva", "GET", f"/projects/alpha/access-requests?before={page['next']}", 200)
    assert [r["request_id"] for r in page["items"] + rest["items"]] == names[::-1] and rest["next"] == ""
    api.call("out", "GET", "/projects/alpha/access-requests", 404)


def test_two_decisions_at_once_give_one_access(api: Api) -> None:
    name = api.ask()["request_id"]

    async def both() -> list[Any]:
        from mainspring.platform.access_requests import service

        plane = plane_of(api)
        decisions = [
            service.decide(
                plane, f"Bearer {who}", "alpha", name, access_requests.AccessDecision(approve=approve)
            )
            for who, approve in (("root", True), ("app", False))
        ]
        return list(await asyncio.gather(*decisions, return_exceptions=True))

    found = api.client.blocking_portal.call(both)
    assert sorted(type(f).__name__ for f in found) == ["AccessRequestView", "Conflict"]
    assert len([r for r in api.record("access.decide") if r["outcome"] == "done"]) == 1


def test_the_command_line_knows_the_contracts_words() -> None:
    assert tuple(AccessState) == cli_access.STATES
    assert set(typing.get_args(access_requests.AccessRequestCreate.model_fields["role"].annotation)) == set(
        identity.ROLES
    ) - {"service"}
