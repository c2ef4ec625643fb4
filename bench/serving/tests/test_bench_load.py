"""The load counts what came back, compares every byte of it, and charges waiting from the intended time."""

from __future__ import annotations

import contextlib
import queue
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc
import pytest

from mainspring.bench.serving import compiled, forms, load

pytestmark = pytest.mark.integration  # builds the program

Answer = Callable[[int], bytes | None]
METHOD = "/x.Service/Call"


def plain(body: bytes, status: int = 200) -> bytes:
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@contextlib.contextmanager
def answering(answer: Answer) -> Iterator[int]:
    """The port of a server that gives `answer(n)` to the n-th request of all; None: it closes the connection."""
    count, lock, closing = iter(range(10**9)), threading.Lock(), threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            while line := lines.readline():
                length = 0
                while line not in (b"\r\n", b""):
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                    line = lines.readline()
                if len(lines.read(length)) < length:
                    return
                with lock:
                    n = next(count)
                answered = answer(n)
                if answered is None:
                    return
                with contextlib.suppress(OSError):
                    connection.sendall(answered)

    def accept() -> None:
        while not closing.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = listener.accept()
                connection.settimeout(None)
                pool.submit(serve, connection)

    with socket.create_server(("127.0.0.1", 0)) as listener, futures.ThreadPoolExecutor(64) as pool:
        listener.settimeout(0.05)
        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield listener.getsockname()[1]
        finally:
            closing.set()
            accepting.join()


def driven(answer: Answer, **how: Any) -> load.Seen:
    with answering(answer) as port:
        return load.run(load.Load(port, forms.http_request("/x", b"{}", {}), **how))


def test_a_closed_loop_counts_every_answer() -> None:
    seen = driven(lambda _: plain(b"ok"), seconds=0.2, connections=3, answers=(b"ok",))
    assert seen.answers == seen.sent == seen.good > 3
    assert seen.statuses == {"200": seen.answers}
    assert (seen.wrong, seen.failed, seen.unanswered) == (0, 0, 0)
    assert 0 < seen.p50_ms <= seen.p95_ms <= seen.p99_ms <= seen.p999_ms


def test_an_open_loop_sends_at_its_rate_whatever_is_answered() -> None:
    seen = driven(lambda _: plain(b"busy", 503), seconds=0.5, rate=400, answers=(b"ok",))
    assert seen.answers == seen.sent
    assert 140 < seen.sent < 260
    assert (seen.good, seen.wrong, seen.statuses) == (0, 0, {"503": seen.answers})
    assert seen.right_p99_ms == 0


def test_the_same_seed_gives_the_same_arrivals() -> None:
    sent = [driven(lambda _: plain(b""), seconds=0.4, rate=300, seed=seed).sent for seed in (1, 1, 2)]
    assert sent[0] == sent[1] != sent[2]


def test_an_open_loop_charges_a_slow_server_from_the_intended_time() -> None:
    """One connection and 50 ms a request: the wait of those that could not be sent counts, and none is in time."""

    def slowly(_: int) -> bytes:
        time.sleep(0.05)
        return plain(b"ok")

    seen = driven(slowly, seconds=0.4, rate=200, connections=1, in_time_ms=20)
    assert seen.answers == seen.sent
    assert seen.p99_ms > 1000
    assert seen.good == 0


def test_every_byte_is_compared() -> None:
    bodies = [b"right", b"also", b'wr"ng\n']
    seen = driven(lambda n: plain(bodies[n % 3]), seconds=0.2, connections=1, answers=(b"right", b"also"))
    assert seen.wrong > 0
    assert seen.good == seen.answers - seen.wrong
    assert abs(seen.wrong - seen.answers / 3) <= 1
    assert seen.first_wrong == 'wr"ng\n'


def test_a_part_is_enough_where_bodies_differ() -> None:
    seen = driven(
        lambda n: plain(b'{"id":%d,"y":%d}' % (n, n % 2)), seconds=0.2, connections=1, parts=(b'"y":1}',)
    )
    assert abs(seen.good - seen.answers / 2) <= 1
    assert seen.good + seen.wrong == seen.answers > 10


def test_a_chunked_answer_is_read_however_it_is_cut() -> None:
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nrig\r\n2\r\nht\r\n0\r\n\r\n"
    seen = driven(lambda _: chunked, seconds=0.2, connections=2, answers=(b"right",))
    assert seen.good == seen.answers > 0


def test_a_connection_that_ends_is_a_failure_and_is_made_anew() -> None:
    seen = driven(
        lambda n: None if n % 5 == 4 else plain(b"ok"), seconds=0.3, connections=2, answers=(b"ok",)
    )
    assert seen.failed > 0
    assert seen.good == seen.answers > seen.failed
    assert seen.sent == seen.answers + seen.failed


@pytest.mark.parametrize(
    "answer", [b"SMTP hello\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", plain(b"ok") + b"HTTP"]
)
def test_what_is_no_answer_is_a_failure(answer: bytes) -> None:
    seen = driven(lambda _: answer, seconds=0.1, connections=1)
    assert seen.failed > 0


def test_a_caller_who_leaves_hangs_up() -> None:
    gone: queue.Queue[int] = queue.Queue()

    def never(n: int) -> bytes:
        gone.put(n)
        time.sleep(0.2)
        return plain(b"ok")

    seen = driven(never, seconds=0.3, connections=1, leave_ms=20)
    assert seen.left == seen.sent > 2
    assert (seen.answers, seen.failed) == (0, 0)


@contextlib.contextmanager
def calls(answer: Callable[[bytes, Any], bytes]) -> Iterator[int]:
    method = grpc.unary_unary_rpc_method_handler(answer)
    server = grpc.server(futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("x.Service", {"Call": method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


def test_grpc_calls_are_made_and_their_messages_compared() -> None:
    """Enough of them to use up the window of a connection several times over."""
    asked, sizes = b"m" * 3000, set()

    def answer(message: bytes, _: Any) -> bytes:
        sizes.add(len(message))
        return b"a" * 2000

    with calls(answer) as port:
        how: dict[str, Any] = {"seconds": 0.5, "connections": 4, "grpc_method": METHOD}
        right = load.run(load.Load(port, asked, answers=(b"a" * 2000,), **how))
        wrong = load.run(load.Load(port, asked, answers=(b"b",), **how))
    assert sizes == {3000}
    assert right.good == right.answers == right.sent > 100
    assert (right.failed, right.unanswered) == (0, 0)
    assert wrong.wrong == wrong.answers > 0


def test_a_grpc_call_that_fails_is_no_answer() -> None:
    def refuse(_: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode.UNAVAILABLE, "busy")

    with calls(refuse) as port:
        seen = load.run(load.Load(port, b"m", 0.2, connections=2, grpc_method=METHOD))
    assert seen.answers > 0
    assert seen.statuses == {"500": seen.answers}
    assert seen.good == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--port"], "`--port` has no value"),
        (["--port", "many"], "`--port` cannot be `many`"),
        (["--port", "80"], "give --port and --request"),
        (["--connections", "0"], "unknown option or value"),
        (["--request", "/nowhere"], "`--request` cannot be `/nowhere`"),
    ],
)
def test_bad_arguments_are_refused(arguments: list[str], said: str) -> None:
    done = subprocess.run([str(compiled.load()), *arguments], capture_output=True, text=True)
    assert done.returncode == 2
    assert said in done.stderr


def test_a_program_that_does_not_compile_says_why(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "broken.cc"
    source.write_text("int main() { return nothing; }\n")
    monkeypatch.setattr(compiled.environments, "cache", lambda: tmp_path / "cache")
    with pytest.raises(compiled.NotBuilt, match=r"(?s)failed.*nothing"):
        compiled._built("broken", [(source, ())], [source], link=())
    assert not list((tmp_path / "cache").rglob("broken"))
