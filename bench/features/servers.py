"""Feature servers as processes: ours over its online store, and `feast serve` over the Redis of `world`.

`python -m mainspring.bench.features.servers PORT ENTITIES FEATURES WAY` is ours, until SIGTERM.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson

from mainspring.bench.features import world
from mainspring.bench.serving import machine

#: Feast imports for most of it.
_START_SECONDS: Final = 90.0

#: What answers in our server: the native front (one thread), the ASGI fast path before FastAPI, or its route.
WAYS: Final[Mapping[str, Mapping[str, str]]] = {
    "front": {"MAINSPRING_SERVING_FRONT": "on", "MAINSPRING_SERVING_FRONT_THREADS": "1"},
    "asgi": {"MAINSPRING_SERVING_FRONT": "off"},
    "fastapi": {"MAINSPRING_SERVING_FRONT": "off", "MAINSPRING_SERVING_FAST_PATH": "false"},
}


def serve(port: int, entities: int, features: int, way: str) -> None:
    """The whole data plane over the rows that `world` has, in memory as Redis has them."""
    from mainspring.bench.serving import servers
    from mainspring.core import ports
    from mainspring.core.features import online

    store = online.OnlineStore()
    names = [f"f{i}" for i in range(features)]
    store.register(ports.ViewSchema("stats", ("driver",), tuple((n, "float32") for n in names), 86_400))
    now = np.full(entities, time.time_ns() // 1000)
    values = world.values(entities, features)
    store.upsert(
        "stats", {"driver": np.arange(entities)}, event_us=now, created_us=now,
        columns={name: values[:, j] for j, name in enumerate(names)},
    )  # fmt: skip
    servers.data_plane(port, {"MAINSPRING_SERVING_GRPC_PORT": "0", **WAYS[way]}, store)


@contextlib.contextmanager
def ours(entities: int, features: int, way: str) -> Iterator[Connection]:
    """Our server, answering in one of `WAYS`, and a connection to it; its end is the end of the block."""
    (port,) = machine.free_ports(1)
    command = [
        sys.executable,
        "-m",
        "mainspring.bench.features.servers",
        *map(str, (port, entities, features, way)),
    ]
    with _process(command, Path.cwd()), _connected(port, "/v1/features:read") as connection:
        yield connection


@contextlib.contextmanager
def feast(made: world.World) -> Iterator[Connection]:
    """`feast serve` with one worker that never restarts and no access log, over the Redis store of `made`."""
    (port,) = machine.free_ports(1)
    folder = Path(made.redis.config.repo_path)
    (folder / "feature_store.yaml").write_text(
        f"project: bench\nprovider: local\nentity_key_serialization_version: 3\n"
        f"online_store: {{type: redis, connection_string: '127.0.0.1:{made.port}'}}\n"
        f"offline_store: {{type: dask}}\n"
        f"registry: {{registry_type: sql, path: 'sqlite:///{folder / 'registry.db'}', cache_ttl_seconds: 600}}\n"
    )
    command = [
        str(Path(sys.executable).parent / "feast"), "-c", str(folder), "serve", "-h", "127.0.0.1", "-p", str(port),
        "--no-access-log", "--max-requests", "0", "--registry_ttl_sec", "600",
    ]  # fmt: skip
    with _process(command, folder), _connected(port, "/get-online-features") as connection:
        yield connection


class Connection:
    """One kept connection, and the one question that Feast's clients ask. A bare socket: what is timed is the server."""

    def __init__(self, port: int, path: str) -> None:
        self._port = port
        self._head = (
            f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: "
        )
        self._socket: socket.socket | None = None
        self._buffer = bytearray(1 << 20)

    def ask(self, body: bytes) -> bytes:
        """The answer's body. Errors: RuntimeError for any status but 200; OSError while nobody listens."""
        whole = f"{self._head}{len(body)}\r\n\r\n".encode() + body
        try:
            return self._asked(whole)
        except ConnectionError:
            self.close()  # servers end connections that were idle
            return self._asked(whole)

    def _asked(self, whole: bytes) -> bytes:
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=60)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(whole)
        view, got, end = memoryview(self._buffer), 0, -1
        while end < 0 or got < end:
            n = self._socket.recv_into(view[got:])
            if n == 0:
                raise ConnectionResetError("the server closed the connection")
            got += n
            if end < 0 and (at := self._buffer.find(b"\r\n\r\n", 0, got)) >= 0:
                head = bytes(view[:at]).lower()
                begin = at + 4
                end = begin + int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        answer = bytes(view[begin:end])
        if not head.startswith(b"http/1.1 200"):
            raise RuntimeError(f"{head[:20]!r}: {answer[:300]!r}")
        return answer

    def close(self) -> None:
        """Whatever comes next connects anew."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def question(features: int, drivers: list[int]) -> bytes:
    """The body that Feast's clients send."""
    refs = [f"stats:f{i}" for i in range(features)]
    return orjson.dumps({"features": refs, "entities": {"driver": drivers}, "full_feature_names": False})


def values_of(answer: bytes) -> dict[str, list[Any]]:
    """Name to values; what both servers must agree on to the bit of a float32."""
    found = orjson.loads(answer)
    names = found["metadata"]["feature_names"]
    return {
        n: np.array(r["values"], np.float32).tolist() for n, r in zip(names, found["results"], strict=True)
    }


@contextlib.contextmanager
def _process(command: list[str], folder: Path) -> Iterator[None]:
    # A session of its own: gunicorn's worker goes with it.
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextlib.contextmanager
def _connected(port: int, path: str) -> Iterator[Connection]:
    connection = Connection(port, path)
    until = time.monotonic() + _START_SECONDS
    while True:
        try:
            connection.ask(question(1, [0]))
            break
        except (OSError, RuntimeError):
            connection.close()
            if time.monotonic() > until:
                raise
            time.sleep(0.2)
    try:
        yield connection
    finally:
        connection.close()


if __name__ == "__main__":
    port, entities, features = map(int, sys.argv[1:4])
    serve(port, entities, features, sys.argv[4])
