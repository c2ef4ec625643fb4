"""The suite measures what it says: its load counts rightly, its answers are checked, its rows are all there."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest

from mainspring.bench.serving import __main__ as suite
from mainspring.bench.serving import goals, load, machine, measure, model, servers


async def answering(status: int, delay: float, work: Any) -> Any:
    """`work` of a port on which a server gives that status after that many seconds."""

    handlers: list[asyncio.Task[Any] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.append(asyncio.current_task())
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
                await asyncio.sleep(delay)
                writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: 2\r\n\r\nok".encode())
        except asyncio.IncompleteReadError:
            writer.close()
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        seen = await work(server.sockets[0].getsockname()[1])
        await asyncio.gather(*(task for task in handlers if task is not None))
        return seen


def sent(port: int, **how: Any) -> load.Load:
    request = base64.b64encode(measure.http_request("/x", b"{}", {})).decode()
    return load.Load(port, request, **how)


def test_closed_and_open_loops_count_every_answer() -> None:
    closed = asyncio.run(answering(200, 0.0, lambda port: load.http(sent(port, seconds=0.2, connections=3))))
    assert closed.answers == closed.sent == closed.good > 3
    assert closed.statuses == {"200": closed.answers}
    opened = asyncio.run(answering(503, 0.0, lambda port: load.http(sent(port, seconds=0.3, rate=200))))
    assert opened.answers == opened.sent > 20
    assert (opened.good, opened.statuses) == (0, {"503": opened.answers})


def test_an_open_loop_charges_a_slow_server_from_the_intended_time() -> None:
    """One connection and 50 ms a request: the wait of those that could not be sent counts, and none is in time."""
    seen = asyncio.run(
        answering(
            200,
            0.05,
            lambda port: load.http(sent(port, seconds=0.4, rate=200, connections=1, in_time_ms=20)),
        )
    )
    assert seen.answers == seen.sent
    assert seen.p99_ms > 1000
    assert seen.good == 0


def test_a_wrong_answer_is_seen() -> None:
    y = model.forward(model.ROW).ravel()
    right = {"outputs": [{"data": y.tolist()}]}
    assert model.is_right(json.dumps(right).encode(), None)
    assert not model.is_right(json.dumps({"outputs": [{"data": (y + 1).tolist()}]}).encode(), None)
    body, length = model.binary_body()
    assert len(body) - length == 256


@pytest.mark.integration
def test_contestants_answer_rightly_and_can_be_driven() -> None:
    names = (servers.OURS, servers.FASTAPI, servers.ECHO, servers.FRONT, servers.PASSED)
    with measure.running(*names, cpu=-1) as found:
        for name in names:
            form = measure.Form(name, "json")
            assert measure.check(found[name], form) == ""
            seen, cpu = measure.drive(found[name], measure.request_of(form), -1, seconds=0.2, connections=2)
            assert seen.statuses == {"200": seen.answers}
            assert cpu >= 0
        for name in (servers.OURS, servers.FRONT):
            assert measure.check(found[name], measure.Form(name, "binary")) == ""
        passed, answered = (
            [measure.metric(found[name], f"mainspring_front_{how}_total") for how in ("passed", "answered")]
            for name in (servers.PASSED, servers.FRONT)
        )
        assert passed[0] > 1 and passed[1] == 0
        assert answered[1] > 1


@pytest.mark.integration
def test_grpc_contestants_answer_rightly() -> None:
    with measure.running(servers.OURS_GRPC, servers.GRPC_ECHO, cpu=-1) as found:
        for name, server in found.items():
            assert measure.check(server, measure.Form(name, "grpc")) == ""


def test_ports_differ() -> None:
    assert len(set(machine.free_ports(20))) == 20


def result() -> dict[str, Any]:
    rows = [
        {
            "name": form.name,
            "contestant": form.contestant,
            "body": form.body,
            "correct": True,
            "requests_per_second": 1000.0,
            "cpu_us_per_request": 200.0 if form.contestant == servers.FASTAPI else 40.0,
            "p50_ms": 1.0,
            "p99_ms": 2.0,
            "resident_mb": 80.0,
        }
        for form in measure.FORMS
    ]
    opened = [
        {"name": f"open-loop/{name}", "rate": 1000.0, "p99_ms": 1.0}
        for name in (servers.OURS, servers.FASTAPI)
    ]
    overload = {"goodput": 0.5, "run_without_answer": 3}
    start = {"seconds": 1.0, "resident_mb": 80.0}
    return {"results": rows, "goals": goals.judge(rows, opened, overload, start)}


def test_every_target_has_a_row_met_or_not() -> None:
    judged = result()["goals"]
    by_name = {g["name"]: g for g in judged}
    assert by_name["ASGI fast path, json, times against fastapi-pydantic"]["ratio"] == 5.0
    assert by_name["ASGI fast path, json, times against fastapi-pydantic"]["ok"]
    assert not by_name["overload 2x, 20 ms deadlines, goodput"]["ok"]
    assert not by_name["overload 2x, models run for nothing"]["ok"]
    for name, _, _, why in goals.NOT_BUILT:
        assert (by_name[name]["ok"], by_name[name]["value"], by_name[name]["why"]) == (False, None, why)


def test_the_table_has_every_row() -> None:
    text = suite.table(result())
    for form in measure.FORMS:
        assert form.name in text
    assert text.count("NOT MET") == len(goals.NOT_BUILT) + 4
