"""A whole server over sockets, native front and app behind it, against bytes that mean harm: no crash, little memory, right codes.

What a parser does with a bad document is its own test's; here is what a stranger can do to the process.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import socket
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import serving_tensors as tensors
import serving_world as world

from mainspring.core.client import serving as client_module
from mainspring.core.contracts.deployment import TrafficTable

PREDICT = "/v1/endpoints/flights:predict"
INFER = "/v2/models/linear/infer"
PATHS = (PREDICT, "/v1/endpoints/flights:explain", INFER, "/v1/features:read", "/get-online-features")
MAX_BODY = 1 << 20
BODY_SECONDS = 0.5
GOOD = {"entities": [world.entity()], "as_of": world.AS_OF}

#: What the process may take beside what it took when all was answered once: a few bodies of MAX_BODY in their parsed form.
MAX_GROWTH = 128 << 20


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[world.Served]:
    bundle = world.World()
    with world.serve(
        tmp_path_factory.mktemp("hostile"),
        bundle,
        models={"linear": tensors.network},
        front="on",
        max_body_bytes=MAX_BODY,
        max_held_body_bytes=16 << 20,
        body_timeout_seconds=BODY_SECONDS,
    ) as running:
        with client_module.ServingClient(running.url, token=running.tokens.token_of("service@local")) as c:
            c.load_bundle(bundle.digest)
            c.set_traffic(TrafficTable(endpoint="flights", version=1, stable=bundle.digest))
        yield running


def connect(served: world.Served) -> socket.socket:
    host, port = served.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def head(path: str, **fields: object) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "host: x", *(f"{n.replace('_', '-')}: {v}" for n, v in fields.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def said(s: socket.socket) -> int:
    """The status of the answer; 0: the connection ended without one."""
    seen = b""
    while b"\r\n" not in seen:
        try:
            more = s.recv(4096)
        except ConnectionError:
            return 0
        if not more:
            return 0
        seen += more
    return int(seen.split(b" ", 2)[1])


def ask(served: world.Served, path: str, body: bytes, **fields: object) -> int:
    with connect(served) as s:
        fields = {"content_type": "application/json", "content_length": len(body), **fields}
        with contextlib.suppress(ConnectionError):  # answered before all was sent
            s.sendall(head(path, **fields) + body)
        return said(s)


def peak_bytes() -> int:
    """The most that this process, which the server is in, took since :func:`forget_peak`."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) << 10
    raise AssertionError("the kernel does not say")


def forget_peak() -> int:
    """What it takes now."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak_bytes()


def check_well(served: world.Served) -> None:
    with httpx.Client(base_url=served.url, trust_env=False, timeout=20) as http:
        assert http.post(PREDICT, json=GOOD).status_code == 200
        assert http.get("/v2/health/ready").status_code == 200


def deep(open_with: bytes, n: int) -> bytes:
    return open_with * n


def tensor(**changes: object) -> bytes:
    one = {"name": "x", "datatype": "FP32", "shape": [1, 8], "data": [1.0] * 8, **changes}
    return json.dumps({"inputs": [one]}).encode()


#: Each fits into MAX_BODY, so that it is the parsers that must refuse it.
BODIES: dict[str, bytes] = {
    "deep lists": deep(b"[", 500_000),
    "deep objects": deep(b'{"entities":', 80_000),
    "deep and closed": b"[" * 200_000 + b"]" * 200_000,
    "deep value": b'{"entities":[{"origin":' + b"[" * 100_000 + b"]" * 100_000 + b"}]}",
    "no UTF-8": b'{"entities": [{"origin": "\xff\xfe\x80"}]}',
    "half a surrogate": b'{"entities": [{"origin": "\\ud800"}]}',
    "NUL": b"\x00" * 1000,
    "a long number": b'{"entities": [{"flight": ' + b"9" * 900_000 + b"}]}",
    "a long exponent": b'{"entities": [{"distance": 1e' + b"9" * 900_000 + b"}]}",
    "many fields": json.dumps({"entities": [{f"f{i}": i for i in range(60_000)}]}).encode(),
    "many entities": b'{"entities": [' + b"{}," * 300_000 + b"{}]}",
    "the same key": b'{"entities": [{' + b'"origin":"a",' * 60_000 + b'"origin":"b"}]}',
    "cut off": json.dumps(GOOD).encode()[:-9],
    "nothing": b"",
    "huge shape": tensor(shape=[1 << 62, 8]),
    "shape that overflows": tensor(shape=[1 << 32, 1 << 32, 8]),
    "many dimensions": tensor(shape=[1] * 100_000),
    "another type": tensor(datatype="BYTES"),
    "no type": tensor(datatype="FP4096"),
    "text for numbers": tensor(data=["a"] * 8),
    "too much data": tensor(data=[0] * 200_000),
}


@pytest.mark.parametrize("name", BODIES)
def test_bad_documents_are_refused_on_every_route(served: world.Served, name: str) -> None:
    for path in PATHS:
        check = ask(served, path, BODIES[name])
        assert check in (400, 404, 422), (path, check)
    check_well(served)


def test_bombs_are_refused_before_they_go_off(served: world.Served) -> None:
    zeros = zlib.compressobj(9, wbits=31)
    bomb = b"".join(zeros.compress(bytes(1 << 20)) for _ in range(256)) + zeros.flush()
    twice = gzip.compress(bomb)
    assert len(bomb) < MAX_BODY
    check_well(served)
    before = forget_peak()
    for path in PATHS:
        assert ask(served, path, bomb, content_encoding="gzip") == 413, path
        assert ask(served, path, twice, content_encoding="gzip") in (400, 413), path
        assert ask(served, path, bomb[:-5000], content_encoding="gzip") in (400, 413), path
        assert ask(served, path, b"no gzip at all", content_encoding="gzip") == 400, path
        assert ask(served, path, b"{}", content_encoding="br") == 400, path
    assert peak_bytes() - before < MAX_GROWTH
    check_well(served)


def test_documents_take_memory_in_proportion_to_their_bytes(served: world.Served) -> None:
    for body in BODIES.values():  # once, so that caches and pools are there
        ask(served, PREDICT, body)
    before = forget_peak()
    for _ in range(2):
        for name, body in BODIES.items():
            for path in (PREDICT, INFER):
                assert ask(served, path, body) < 500, name
    assert peak_bytes() - before < MAX_GROWTH


@pytest.mark.parametrize(
    ("fields", "body", "codes"),
    [
        ({"content_length": -1}, b"", (400,)),
        ({"content_length": "10, 10"}, b"0123456789", (400,)),
        ({"content_length": 10**19}, b"", (400, 413)),
        ({"content_length": MAX_BODY + 1}, b"{", (413,)),
        ({"transfer_encoding": "chunked", "content_length": 5}, b"0\r\n\r\n", (400,)),
        ({"transfer_encoding": "chunked"}, b"zz\r\n{}\r\n0\r\n\r\n", (400,)),
        ({"transfer_encoding": "chunked"}, b"ffffffffffffffffff\r\n", (400, 413)),
        ({"transfer_encoding": "chunked"}, b"-1\r\n", (400,)),
        ({"transfer_encoding": "gzip"}, b"{}", (400, 501)),
    ],
)
def test_lengths_that_are_none_are_refused(
    served: world.Served, fields: dict[str, object], body: bytes, codes: tuple[int, ...]
) -> None:
    for path in (PREDICT, INFER):
        with connect(served) as s:
            s.sendall(head(path, **fields) + body)
            assert said(s) in codes
    check_well(served)


@pytest.mark.parametrize("path", [PREDICT, INFER])
def test_a_body_that_ends_early_is_never_taken_for_a_whole_one(served: world.Served, path: str) -> None:
    whole = json.dumps(GOOD).encode() if path == PREDICT else tensor()
    for sent in (0, 1, len(whole) // 2, len(whole) - 1):
        for chunked in (False, True):
            with connect(served) as s:
                if chunked:
                    s.sendall(head(path, transfer_encoding="chunked") + b"%x\r\n" % len(whole) + whole[:sent])
                else:
                    s.sendall(head(path, content_length=len(whole)) + whole[:sent])
                s.shutdown(socket.SHUT_WR)
                assert said(s) in (0, 400, 408), (sent, chunked)
    check_well(served)


def test_those_who_are_slow_hold_up_nobody_and_are_sent_away(served: world.Served) -> None:
    """Heads and bodies that come a byte at a time, from more clients than there are workers."""
    check_well(served)
    before = forget_peak()
    slow = [(connect(served), i % 2) for i in range(120)]
    try:
        for s, is_body in slow:
            s.sendall(head(PREDICT, content_length=1000) + b"{" if is_body else b"POST /v1/")
        ended = time.monotonic() + 4 * BODY_SECONDS
        slowest = 0.0
        while time.monotonic() < ended:
            for s, is_body in slow:
                if not is_body:
                    s.sendall(b"x")
            began = time.monotonic()
            check_well(served)
            slowest = max(slowest, time.monotonic() - began)
        assert slowest < 5  # of a machine that others use; one that they hold up waits for them all
        assert {said(s) for s, is_body in slow if is_body} == {408}
    finally:
        for s, _ in slow:
            s.close()
    assert peak_bytes() - before < MAX_GROWTH
    check_well(served)


def test_clients_that_leave_in_the_middle_leave_nothing_behind(served: world.Served) -> None:
    check_well(served)
    before = len(os.listdir("/proc/self/fd"))
    whole = json.dumps(GOOD).encode()
    for i in range(200):
        s = connect(served)
        s.sendall((head(PREDICT, content_length=len(whole)) + whole)[: 20 + i])
        s.close()
    deadline = time.monotonic() + 10
    while len(os.listdir("/proc/self/fd")) > before + 20 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(os.listdir("/proc/self/fd")) <= before + 20
    check_well(served)
