"""The app before its routes are built: probes are answered, everything else waits for them, and a failure is told."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from mainspring.core import errors
from mainspring.serving.http import serving_app


@contextlib.asynccontextmanager
async def lifespan(_: object) -> AsyncIterator[None]:
    yield


def routes() -> ASGIApp:
    answer = PlainTextResponse("built")
    return Starlette(routes=[Route("/{path:path}", lambda request: answer)])


def app(build: Callable[[], ASGIApp], check_ready: Callable[[], object] = list) -> serving_app.ServingApp:
    return serving_app.ServingApp(build, lifespan=lifespan, check_ready=check_ready, hot=None)


def client(served: serving_app.ServingApp) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=served, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://app")


def test_probes_are_answered_while_the_routes_are_built_and_the_rest_waits() -> None:
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
            for path in ("/v2/health/live", "/v2/health/ready"):
                probed = await asking.get(path, headers={"x-request-id": "probe-1"})
                assert (probed.status_code, probed.content) == (200, b"")
                assert probed.headers["x-request-id"] == "probe-1"
            assert not any(one.done() for one in waiting)
            may_end.set()
            assert [(await one).text for one in waiting] == ["built"] * 3
            assert (await asking.get("/v2/health/ready")).text == "built", "it is the routes' from now on"

    asyncio.run(ask())
    assert builds == [1]


def test_what_is_not_ready_is_worded_by_the_routes() -> None:
    def down() -> None:
        raise errors.DependencyDown("the store does not answer", name="store")

    async def ask() -> str:
        async with client(app(routes, down)) as asking:
            return (await asking.get("/v2/health/ready")).text

    assert asyncio.run(ask()) == "built"


def test_routes_that_cannot_be_built_are_told(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> ASGIApp:
        raise RuntimeError("no route")

    async def ask() -> int:
        async with client(app(broken)) as asking:
            return (await asking.get("/v1/bundles")).status_code

    with caplog.at_level(logging.ERROR, "mainspring.serving"):
        assert asyncio.run(ask()) == 500
    assert "the routes cannot be built" in caplog.text and "no route" in caplog.text


def test_they_are_built_though_nobody_asks() -> None:
    built = threading.Event()

    def noted() -> ASGIApp:
        built.set()
        return routes()

    async def start() -> None:
        told: list[Any] = []
        asked: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        served = app(noted)

        async def send(message: Any) -> None:
            told.append(message["type"])

        running = asyncio.create_task(served({"type": "lifespan", "asgi": {}}, asked.get, send))
        await asked.put({"type": "lifespan.startup"})
        assert await asyncio.to_thread(built.wait, 10)
        await asked.put({"type": "lifespan.shutdown"})
        await running
        assert told == ["lifespan.startup.complete", "lifespan.shutdown.complete"]

    asyncio.run(start())


def test_a_start_imports_no_framework() -> None:
    code = (
        "import sys, mainspring.serving.__main__\n"
        "print([m for m in ('fastapi', 'pydantic.v1', 'grpc', 'torch', 'polars', 'pyarrow') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.split() == ["[]"]
