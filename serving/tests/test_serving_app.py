"""The app without its routes: probes are answered, the first request for a route has them built, and a failure is told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import serving_world as world
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from mainspring.core import errors, identity, ports
from mainspring.core.features import online
from mainspring.serving import app as serving
from mainspring.serving.http import probes, serving_app


@contextlib.asynccontextmanager
async def lifespan(_: object) -> AsyncIterator[None]:
    yield


def routes() -> ASGIApp:
    answer = PlainTextResponse("built")
    return Starlette(routes=[Route("/{path:path}", lambda request: answer)])


def app(
    build: Callable[[], ASGIApp], views: Callable[[], list[Any]] = list, *, builds_ahead: bool = False
) -> serving_app.ServingApp:
    probed = probes.Probes(views, list, lambda: lambda: PlainTextResponse("counters"))
    return serving_app.ServingApp(
        build, lifespan=lifespan, probed=probed, builds_ahead=builds_ahead, hot=None
    )


def whole_app(directory: Path, store: online.OnlineStore) -> serving_app.ServingApp:
    return serving.create_app(
        world.settings_in(directory),
        online=store,
        loader=world.DictLoader({}),
        issuer=identity.ensure_token_file(directory / "tokens.json"),
    )


def client(served: serving_app.ServingApp) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=served, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://app")


PROBES = {
    "/v2/health/live": b"",
    "/v2/health/ready": b"",
    "/healthz": b'{"status":"ok"}',
    "/readyz": b'{"status":"ready","endpoints":[],"views":[]}',
    "/metrics": b"counters",
}


def test_probes_are_answered_without_the_routes() -> None:
    def never() -> ASGIApp:
        raise AssertionError("nobody asked for a route")

    async def ask() -> dict[str, bytes]:
        async with client(app(never)) as asking:
            answers = {path: await asking.get(path) for path in PROBES}
            assert {a.status_code for a in answers.values()} == {200}
            return {path: a.content for path, a in answers.items()}

    assert asyncio.run(ask()) == PROBES


def test_the_first_request_for_a_route_has_them_built_once_and_probes_do_not_wait() -> None:
    may_end = threading.Event()
    builds = []

    def slowly() -> ASGIApp:
        assert may_end.wait(10)
        builds.append(1)
        return routes()

    async def ask() -> None:
        async with client(app(slowly)) as asking:
            waiting = [asyncio.create_task(asking.get("/v1/bundles")) for _ in range(3)]
            await asyncio.sleep(0.05)
            assert {path: (await asking.get(path)).content for path in PROBES} == PROBES
            assert not any(one.done() for one in waiting)
            may_end.set()
            assert [(await one).text for one in waiting] == ["built"] * 3
            assert (await asking.get("/v2/health/ready")).text == "built", "it is the routes' from now on"
            assert (await asking.post("/healthz")).status_code == 405, "no probe"

    asyncio.run(ask())
    assert builds == [1]


@pytest.mark.parametrize("path", sorted(PROBES))
def test_a_probe_has_the_answer_of_its_route(tmp_path: Path, path: str) -> None:
    """Before the routes are there, and after: status, headers and body, counters that moved aside."""

    def seen(answer: httpx.Response) -> tuple[int, dict[str, str], str]:
        body = "" if path == "/metrics" else answer.text
        fields = {k: v for k, v in answer.headers.items() if path != "/metrics" or k != "content-length"}
        return answer.status_code, fields, body

    served = whole_app(tmp_path, online.OnlineStore())

    async def ask() -> None:
        headers = {"x-request-id": "probe-1", "user-agent": ""}
        async with client(served) as asking:
            before = await asking.get(path, headers=headers)
            assert (await asking.get("/v1/bundles")).json() == []
            after = await asking.get(path, headers=headers)
            assert seen(before) == seen(after)
            assert after.headers["x-request-id"] == "probe-1"
            if path == "/metrics":
                names = [
                    {line.split()[2] for line in answer.text.splitlines() if line.startswith("# TYPE")}
                    for answer in (before, after)
                ]
                assert names[0] == names[1] and "mainspring_running_requests" in names[0]

    asyncio.run(ask())


class AwayStore(online.OnlineStore):
    """An online store that has stopped answering."""

    def views(self) -> tuple[ports.ViewSchema, ...]:
        raise errors.DependencyDown("the store does not answer", name="store")


def test_what_is_not_ready_is_worded_as_the_routes_do(tmp_path: Path) -> None:
    async def ask() -> list[list[tuple[int, bytes]]]:
        async with client(whole_app(tmp_path, AwayStore())) as asking:

            async def probed() -> list[tuple[int, bytes]]:
                headers = {"x-request-id": "probe-1"}
                answers = [await asking.get(p, headers=headers) for p in ("/readyz", "/v2/health/ready")]
                return [(a.status_code, a.content) for a in answers]

            before = await probed()
            assert (await asking.get("/v1/bundles")).status_code == 200
            return [before, await probed()]

    before, after = asyncio.run(ask())
    assert before == after
    assert [status for status, _ in before] == [503, 503]
    assert json.loads(before[0][1])["code"] == "dependency_down"
    assert json.loads(before[1][1]) == {"error": "the store does not answer"}


def test_routes_that_cannot_be_built_are_told(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> ASGIApp:
        raise RuntimeError("no route")

    async def ask() -> int:
        async with client(app(broken)) as asking:
            return (await asking.get("/v1/bundles")).status_code

    with caplog.at_level(logging.ERROR, "mainspring.serving"):
        assert asyncio.run(ask()) == 500
    assert "the routes cannot be built" in caplog.text and "no route" in caplog.text


@pytest.mark.parametrize("ahead", [False, True])
def test_they_are_built_though_nobody_asks_if_settings_say_so(
    ahead: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving_app, "_HEAD_START_SECONDS", 0.0)
    built = threading.Event()

    def noted() -> ASGIApp:
        built.set()
        return routes()

    async def start() -> None:
        told: list[Any] = []
        asked: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        served = app(noted, builds_ahead=ahead)

        async def send(message: Any) -> None:
            told.append(message["type"])

        running = asyncio.create_task(served({"type": "lifespan", "asgi": {}}, asked.get, send))
        await asked.put({"type": "lifespan.startup"})
        assert await asyncio.to_thread(built.wait, 10 if ahead else 0.3) is ahead
        await asked.put({"type": "lifespan.shutdown"})
        await running
        assert told == ["lifespan.startup.complete", "lifespan.shutdown.complete"]

    asyncio.run(start())
