"""The control API's client without a server: what is sent again and with which key, what is told, and that both halves are one."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from mainspring.core import errors
from mainspring.core.client import control as clients
from mainspring.core.client.api import wire
from mainspring.core.contracts import control, events, members, schedules

PROJECT = {
    "name": "alpha",
    "owner": "team",
    "description": "",
    "monthly_budget": None,
    "spent_this_month": 0,
    "version": "v1",
    "created_at": "2026-11-01T10:00:00Z",
    "created_by": "ana",
}
Answer = Callable[[httpx.Request], httpx.Response]


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "_WAITS", (0.0, 0.0))


class Server:
    """Answers in turn, and keeps what it was asked; the last answer is given again."""

    def __init__(self, *answers: httpx.Response | type[httpx.HTTPError]) -> None:
        self.answers, self.asked = list(answers), list[httpx.Request]()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, httpx.Response):
            if isinstance(answer.stream, Broken):
                return answer
            return httpx.Response(answer.status_code, content=answer.content, headers=answer.headers)
        raise answer("no", request=request)

    @property
    def keys(self) -> list[str]:
        return [one.headers.get("idempotency-key", "") for one in self.asked]


def waiting(server: Server, **options: Any) -> clients.ControlClient:
    return clients.ControlClient("http://x", "t", transport=httpx.MockTransport(server), **options)


def refused(error: errors.MainspringError, status: int) -> httpx.Response:
    return httpx.Response(status, json=errors.to_wire(error))


CREATE = control.ProjectCreate(name="alpha", owner="team")


def create_waiting(server: Server) -> control.ProjectView:
    with waiting(server) as client:
        return client.create_project(CREATE)


def create_awaited(server: Server) -> control.ProjectView:
    async def walk() -> control.ProjectView:
        transport = httpx.MockTransport(server)
        async with clients.AsyncControlClient("http://x", "t", transport=transport) as client:
            return await client.create_project(CREATE)

    return asyncio.run(walk())


CREATES = pytest.mark.parametrize("create", [create_waiting, create_awaited])


@CREATES
@pytest.mark.parametrize(
    "lost",
    [
        httpx.ConnectError,
        httpx.ReadTimeout,
        httpx.RemoteProtocolError,
        refused(errors.Overloaded("busy", retry_after_seconds=0.0), 429),
        refused(errors.DependencyDown("away", name="database"), 503),
    ],
    ids=str,
)
def test_a_change_without_an_answer_is_sent_again_with_its_key(
    create: Callable[[Server], control.ProjectView], lost: Any
) -> None:
    server = Server(lost, lost, httpx.Response(201, json=PROJECT))
    assert create(server).name == "alpha"
    assert len(server.asked) == 3 and len(set(server.keys)) == 1 and server.keys[0]


@CREATES
def test_a_first_try_that_is_still_at_work_is_waited_for(create: Callable[[Server], Any]) -> None:
    at_work = refused(errors.Conflict("under way", resource="idempotency key", name="k"), 409)
    server = Server(httpx.ReadTimeout, at_work, httpx.Response(201, json=PROJECT))
    assert create(server).name == "alpha" and len(set(server.keys)) == 1
    # Of a first try it is somebody else's request with the same key, and an answer.
    with pytest.raises(errors.Conflict):
        create(Server(at_work))


@CREATES
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.Conflict("taken", resource="project", name="alpha"), 409),
        (errors.PermissionDenied("no"), 403),
        (errors.InvalidRequest("no", field="name"), 400),
    ],
)
def test_what_is_refused_is_not_sent_again(
    create: Callable[[Server], Any], error: errors.MainspringError, status: int
) -> None:
    server = Server(refused(error, status))
    with pytest.raises(type(error)):
        create(server)
    assert len(server.asked) == 1


@CREATES
def test_what_stays_away_is_said_after_the_last_try(create: Callable[[Server], Any]) -> None:
    server = Server(httpx.ConnectError)
    with pytest.raises(errors.DependencyDown, match="mainspring up"):
        create(server)
    assert len(server.asked) == 3


def test_keys_are_fresh_for_each_change_and_looks_have_none() -> None:
    server = Server(httpx.Response(200, json=PROJECT))
    with waiting(server, retries=0) as client:
        client.create_project(CREATE)
        client.create_project(CREATE)
        client.project("alpha")
    assert server.keys[0] != server.keys[1] and server.keys[2] == ""
    server = Server(httpx.ConnectError)
    with waiting(server, retries=0) as client, pytest.raises(errors.DependencyDown):
        client.project("alpha")
    assert len(server.asked) == 1


def test_a_wait_that_is_asked_for_is_kept_and_has_an_end() -> None:
    asked = errors.Overloaded("busy", retry_after_seconds=7.0)
    assert wire.wait_before(1, 2, asked) == 7.0
    assert wire.wait_before(1, 2, errors.Overloaded("busy", retry_after_seconds=1e9)) == 30.0
    assert wire.wait_before(3, 2, asked) is None


def test_a_change_is_tried_anew_on_what_others_made_of_it() -> None:
    late = refused(errors.PreconditionFailed("late", resource="project", name="alpha", current="v2"), 412)
    newer = {**PROJECT, "version": "v2", "owner": "others"}
    server = Server(
        httpx.Response(200, json=PROJECT),
        late,
        httpx.Response(200, json=newer),
        httpx.Response(200, json=newer),
    )
    seen: list[str] = []

    def change(found: control.ProjectView) -> control.ProjectPatch:
        seen.append(found.owner)
        return control.ProjectPatch(description=f"of {found.owner}")

    with waiting(server) as client:
        client.change_project("alpha", change)
    assert seen == ["team", "others"]
    patches = [one for one in server.asked if one.method == "PATCH"]
    assert [one.headers["if-match"] for one in patches] == ['"v1"', '"v2"']
    assert b"of others" in patches[1].content

    def answer(request: httpx.Request) -> httpx.Response:
        return late if request.method == "PATCH" else httpx.Response(200, json=PROJECT)

    with clients.ControlClient("http://x", "t", transport=httpx.MockTransport(answer)) as client:
        with pytest.raises(errors.PreconditionFailed):
            client.change_project("alpha", change)
    assert len(seen) == 2 + wire.RACES


def test_members_and_schedules_are_changed_as_they_are_found() -> None:
    at = {"set_at": "2026-11-01T10:00:00Z", "set_by": "ana"}
    member = {"project": "alpha", "actor": "ben", "roles": {"*": ["viewer"]}, "version": "v1", **at}
    newer = {**member, "roles": {"*": ["viewer"], "dev": ["developer"]}, "version": "v2"}
    late = refused(errors.PreconditionFailed("late", resource="member", name="ben", current="v2"), 412)
    server = Server(*(httpx.Response(200, json=member), late), *[httpx.Response(200, json=newer)] * 2)

    def promote(found: members.MemberView) -> members.MemberPut:
        return members.MemberPut.model_validate({"roles": {**found.roles, "prod": ["approver"]}})

    with waiting(server) as client:
        client.change_member("alpha", "ben", promote)
    puts = [one for one in server.asked if one.method == "PUT"]
    assert [one.headers["if-match"] for one in puts] == ['"v1"', '"v2"']
    assert [b"developer" in one.content for one in puts] == [False, True], "what others made of it is kept"

    schedule = {
        "project": "alpha",
        "process": "skew",
        "every_minutes": 5,
        "is_paused": False,
        "request": {"a": 1},
    }
    server = Server(httpx.Response(200, json={**schedule, "version": "v7"}))
    with waiting(server) as client:
        client.change_schedule(
            "alpha",
            "skew",
            lambda found: schedules.ScheduleCreate(
                every_minutes=found.every_minutes * 2, request=found.request
            ),
        )
    (put,) = [one for one in server.asked if one.method == "PUT"]
    assert (
        put.headers["if-match"] == '"v7"'
        and b'"every_minutes":10.0,"is_paused":false,"request":{"a":1}' in put.content
    )


def test_pages_are_walked_to_their_end() -> None:
    def page(request: httpx.Request) -> httpx.Response:
        after = request.url.params["after"]
        item = {**PROJECT, "name": {"": "aa", "aa": "bb", "bb": "cc"}[after]}
        return httpx.Response(200, json={"items": [item], "next": "" if after == "bb" else item["name"]})

    transport = httpx.MockTransport(page)
    with clients.ControlClient("http://x", "t", transport=transport) as client:
        assert [one.name for one in client.each_project()] == ["aa", "bb", "cc"]

    async def walk() -> list[str]:
        async with clients.AsyncControlClient("http://x", "t", transport=transport) as client:
            return [one.name async for one in client.each_project()]

    assert asyncio.run(walk()) == ["aa", "bb", "cc"]


def _record(number: int) -> bytes:
    row = events.EventView(
        sequence=number, at="2026-11-01T10:00:00Z", actor="ana", action="a.b", resource="r", outcome="done"
    )
    return f"id: {number}\nevent: record\ndata: {row.model_dump_json()}\n\n".encode()


class Broken(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A stream that breaks off behind what it has sent."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces
        raise httpx.ReadError("gone")

    async def __aiter__(self) -> Any:
        for piece in self._pieces:
            yield piece
        raise httpx.ReadError("gone")


def _watched() -> tuple[Server, list[dict[str, str]]]:
    half = _record(2)[:-9]
    headers = {"content-type": "text/event-stream"}
    beat = b"id: 5\n\n"
    unknown = b"event: of-a-later-version\ndata: {}\n\n"
    server = Server(
        httpx.Response(200, headers=headers, stream=Broken(_record(1), half)),
        httpx.Response(200, headers=headers, stream=Broken(_record(2), unknown, beat)),
        httpx.Response(200, headers=headers, content=_record(6)),
    )
    return server, []


def test_a_watch_that_breaks_off_is_gone_on_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mainspring.core.client.api.sse.wait_before", lambda _tries: 0.0)
    server, _ = _watched()
    with waiting(server) as client:
        told = [one.sequence for one in client.watch(until_idle=True) if isinstance(one, events.EventView)]
    assert told == [1, 2, 6]
    assert [one.headers.get("last-event-id") for one in server.asked] == [None, "1", "5"]

    async def walk() -> list[int]:
        again, _ = _watched()
        transport = httpx.MockTransport(again)
        async with clients.AsyncControlClient("http://x", "t", transport=transport) as client:
            found = client.watch(until_idle=True)
            return [one.sequence async for one in found if isinstance(one, events.EventView)]

    assert asyncio.run(walk()) == [1, 2, 6]


def test_a_watch_ends_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mainspring.core.client.api.sse.wait_before", lambda _tries: 0.0)
    with waiting(Server(httpx.ConnectError)) as client, pytest.raises(errors.DependencyDown):
        next(client.watch())
    over = errors.to_wire(errors.Unauthenticated("your token has ended"))
    said = f"event: error\ndata: {httpx.Response(200, json=over).text}\n\n".encode()
    with waiting(Server(httpx.Response(200, content=said))) as client:
        with pytest.raises(errors.Unauthenticated):
            next(client.watch())
    with waiting(Server(refused(errors.NotFound("no run"), 404))) as client:
        with pytest.raises(errors.NotFound):
            next(client.watch(run="run_x"))
    beats = httpx.Response(200, content=b"id: 1\n\n" * 3)
    with waiting(Server(beats)) as client, pytest.raises(errors.DeadlineExceeded):
        next(client.watch(within_seconds=0.0))


def test_both_halves_have_the_same_methods() -> None:
    halves: list[dict[str, str]] = []
    for kind in (clients.ControlClient, clients.AsyncControlClient):
        found = {}
        for name, method in inspect.getmembers(kind, inspect.isfunction):
            if not name.startswith("_"):
                text = str(inspect.signature(method))
                found[name] = re.sub(r"Async(Iterator)", r"\1", text)
                is_awaited = inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method)
                assert is_awaited is (kind is clients.AsyncControlClient), name
        halves.append(found)
    assert halves[0] == halves[1] and len(halves[0]) > 50


def test_what_a_notebook_shows_asks_nobody() -> None:
    server = Server(httpx.ConnectError)
    with waiting(server) as client:
        assert repr(client) == "ControlClient('http://x')"
    view = control.ProjectView.model_validate({**PROJECT, "description": "<script>"})
    assert "&lt;script&gt;" in view._repr_html_() and "<th>owner</th>" in view._repr_html_()
    page = control.Page(items=[{"name": "aa", "n": 1}, {"name": "<b>"}], next="bb")
    shown = page._repr_html_()
    assert shown.count("<tr>") == 3 and "&lt;b&gt;" in shown and "there are more" in shown
    assert not server.asked
