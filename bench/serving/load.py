"""The load generator, a process of its own: a specification on stdin, what was seen on stdout, both JSON.

Closed loop (`rate` 0): each connection sends its next request when it has its answer; for throughput. Open loop: a
Poisson process says when requests are sent, whatever the answers do, and latency counts from the intended time, so
that a stalled server is charged for everyone it kept waiting.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import re
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any

import uvloop


@dataclass(frozen=True)
class Load:
    """What to send. `request` is the whole HTTP request in base64, or one gRPC message."""

    port: int
    request: str
    seconds: float
    connections: int = 64
    rate: float = 0.0
    grpc_method: str = ""
    cpu: int = -1
    """Core to stay on; -1: any."""
    in_time_ms: float = 0.0
    """An answer counts as good if it is 200 and came within this time of its intended sending; 0: any time."""


@dataclass
class Seen:
    """What came back. Latencies are milliseconds."""

    seconds: float = 0.0
    answers: int = 0
    good: int = 0
    sent: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    p50_ms: float = 0.0
    p95_ms: float = 0.0
    p99_ms: float = 0.0


_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


class _Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request under way."""

    def __init__(self, answered: Any) -> None:
        self._answered = answered
        self._buffer = b""
        self.intended = 0.0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def send(self, request: bytes, intended: float) -> None:
        self.intended = intended
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        length = _LENGTH.search(self._buffer, 0, head)
        if length is None or len(self._buffer) < head + 4 + int(length[1]):
            return
        status, self._buffer = self._buffer[9:12], b""
        self._answered(self, status)

    def close(self) -> None:
        self._transport.close()


class _Book:
    def __init__(self, load: Load) -> None:
        self._in_time = load.in_time_ms / 1000 or float("inf")
        self.latencies: list[float] = []
        self.statuses: dict[bytes, int] = {}
        self.good = 0
        self.sent = 0

    def note(self, status: bytes, latency: float) -> None:
        self.latencies.append(latency)
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.good += status == b"200" and latency <= self._in_time

    def seen(self, seconds: float) -> Seen:
        ordered = sorted(self.latencies) or [0.0]

        def at(share: float) -> float:
            return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000, 4)

        statuses = {k.decode(): v for k, v in sorted(self.statuses.items())}
        n = len(self.latencies)
        return Seen(seconds, n, self.good, self.sent, statuses, at(0.5), at(0.95), at(0.99))


async def http(load: Load) -> Seen:
    """Send HTTP requests."""
    request = base64.b64decode(load.request)
    book, clock = _Book(load), time.perf_counter
    free: deque[_Connection] = deque()
    due: deque[float] = deque()
    stop_at = float("inf")

    def answered(connection: _Connection, status: bytes) -> None:
        now = clock()
        book.note(status, now - connection.intended)
        if load.rate:
            if due:
                connection.send(request, due.popleft())
            else:
                free.append(connection)
        elif now < stop_at:
            book.sent += 1
            connection.send(request, now)
        else:
            free.append(connection)

    loop = asyncio.get_running_loop()
    connections = []
    for _ in range(load.connections):
        _, connection = await loop.create_connection(lambda: _Connection(answered), "127.0.0.1", load.port)
        connections.append(connection)
    began = clock()
    stop_at = began + load.seconds
    if load.rate:
        free.extend(connections)
        chance = random.Random(0)
        intended = began
        while (intended := intended + chance.expovariate(load.rate)) < stop_at:
            while (wait := intended - clock()) > 0:
                await asyncio.sleep(wait if wait > 0.002 else 0)
            book.sent += 1
            if free:
                free.popleft().send(request, intended)
            else:
                due.append(intended)
    else:
        for connection in connections:
            book.sent += 1
            connection.send(request, clock())
    give_up = clock() + load.seconds + 10
    while len(book.latencies) < book.sent and clock() < give_up:
        await asyncio.sleep(0.005)
    seconds = clock() - began
    for connection in connections:
        connection.close()
    return book.seen(seconds)


async def grpc(load: Load) -> Seen:
    """Send gRPC messages, closed loop."""
    import grpc as library

    message = base64.b64decode(load.request)
    book, clock = _Book(load), time.perf_counter
    async with library.aio.insecure_channel(f"127.0.0.1:{load.port}") as channel:
        call = channel.unary_unary(load.grpc_method)
        await call(message)
        began = clock()

        async def one_after_the_other() -> None:
            while (sent := clock()) < began + load.seconds:
                book.sent += 1
                await call(message)
                book.note(b"200", clock() - sent)

        await asyncio.gather(*(one_after_the_other() for _ in range(load.connections)))
        return book.seen(clock() - began)


def main() -> None:
    load = Load(**json.load(sys.stdin))
    if load.cpu >= 0:
        os.sched_setaffinity(0, {load.cpu})
    json.dump(asdict(uvloop.run(grpc(load) if load.grpc_method else http(load))), sys.stdout)


if __name__ == "__main__":
    main()
