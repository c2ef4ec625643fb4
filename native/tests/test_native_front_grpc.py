"""The front's HTTP/2 against clients that no library makes: floods, slow ones, those that do not read, and noise."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import front_http2 as h2
import pytest
from front_testing import sum_model

from mainspring.native import front, status

pytestmark = pytest.mark.skipif(bool(front.why_no_grpc()), reason=front.why_no_grpc())


class Alone:
    """A front with a model and no app behind it."""

    def __init__(self, **options: Any) -> None:
        sockets = [front.listen("127.0.0.1", 0, threads=1) for _ in range(2)]
        self.port = int(sockets[1][0].getsockname()[1])
        chosen = {"upstream": "/nowhere/app", "grpc_upstream": "/nowhere/grpc", **options}
        self.front = front.Front(sockets[0], front.Options(**chosen), grpc_listeners=sockets[1])
        self.front.set_models([sum_model(max_rows=1 << 16)])

    def client(self, settings: bytes = b"", **how: Any) -> h2.Client:
        return h2.Client(self.port, settings, **how)

    def still_answers(self) -> bool:
        """A new client, and nothing is left of the ones before."""
        with contextlib.closing(self.client()) as one:
            one.send(h2.headers(1) + h2.data(1, h2.message()))
            return one.answer(1).endswith(h2.ANSWER)

    def becomes(self, name: str, value: int, *, seconds: float = 5.0) -> bool:
        until = time.monotonic() + seconds
        while self.front.counts()[name] != value and time.monotonic() < until:
            time.sleep(0.01)
        return self.front.counts()[name] == value


@contextlib.contextmanager
def alone(**options: Any) -> Iterator[Alone]:
    one = Alone(**options)
    with one.front:
        yield one


@pytest.fixture(scope="module")
def server() -> Iterator[Alone]:
    with alone() as one:
        yield one


def setting(number: int, value: int) -> bytes:
    return struct.pack(">HI", number, value)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_a_call_in_one_piece_and_byte_by_byte(server: Alone) -> None:
    call = h2.headers(1) + h2.data(1, h2.message())
    with contextlib.closing(server.client()) as one:
        one.send(call)
        assert one.answer(1).endswith(h2.ANSWER)
    with contextlib.closing(server.client(greets=False)) as one:
        one.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in h2.PREFACE + h2.frame(h2.SETTINGS) + call:
            one.send(bytes([byte]))
        assert one.answer(1).endswith(h2.ANSWER)


def test_a_message_in_many_frames_and_padding(server: Alone) -> None:
    whole = h2.message()
    with contextlib.closing(server.client()) as one:
        one.send(h2.headers(1))
        for byte in whole[:-1]:
            one.send(h2.data(1, bytes([byte]), ends=False))
        padded = bytes([5]) + whole[-1:] + bytes(5)
        one.send(h2.frame(h2.DATA, 8, 1, padded) + h2.data(1, b""))
        assert one.answer(1).endswith(h2.ANSWER)


def test_calls_take_turns_on_one_connection(server: Alone) -> None:
    with contextlib.closing(server.client()) as one:
        one.send(b"".join(h2.headers(2 * i + 1) for i in range(200)))
        one.send(b"".join(h2.data(2 * i + 1, h2.message()) for i in reversed(range(200))))
        ended = set()
        for got in one.frames():
            if got.flags & h2.END_STREAM and got.kind == h2.HEADERS:
                ended.add(got.stream)
            if len(ended) == 200:
                break
        assert ended == set(range(1, 401, 2))


def test_what_is_not_answered_here_is_unavailable_without_an_app(server: Alone) -> None:
    with contextlib.closing(server.client()) as one:
        one.send(h2.headers(1) + h2.data(1, h2.message(model="other")))
        refused = one.until(h2.HEADERS, 1)
        assert refused.flags & h2.END_STREAM
        one.send(h2.headers(3) + h2.data(3, h2.message()))
        assert one.answer(3).endswith(h2.ANSWER), "the connection goes on"


def test_what_is_not_http2_is_not_answered(server: Alone) -> None:
    with contextlib.closing(server.client(greets=False)) as one:
        one.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert one.is_closed()
    assert server.still_answers()


@pytest.mark.parametrize(
    "flood",
    [
        h2.frame(h2.PING, payload=bytes(8)) * 500,
        h2.frame(h2.SETTINGS, payload=setting(4, 65535)) * 500,
        h2.frame(h2.PRIORITY, 0, 1, bytes(5)) * 500,
        h2.frame(h2.WINDOW_UPDATE, 0, 0, struct.pack(">I", 1)) * 500,
        h2.data(1, b"", ends=False) * 500,
    ],
    ids=["ping", "settings", "priority", "window update", "empty data"],
)
def test_frames_that_carry_nothing_end_the_connection(server: Alone, flood: bytes) -> None:
    before = resident_bytes()
    with contextlib.closing(server.client()) as one:
        one.send(h2.headers(1))
        assert one.send_until_closed(flood)
    assert server.still_answers()
    assert resident_bytes() - before < 64 << 20


def test_frames_of_an_unknown_kind_are_skipped(server: Alone) -> None:
    """As they must be. They cost no more than to be read."""
    with contextlib.closing(server.client()) as one:
        for _ in range(20):
            one.send(h2.frame(0xFA, payload=b"what is not known") * 500)
        one.send(h2.headers(1) + h2.data(1, h2.message()))
        assert one.answer(1).endswith(h2.ANSWER)


def test_rapid_resets_end_the_connection(server: Alone) -> None:
    with contextlib.closing(server.client()) as one:
        streams = iter(range(1, 1 << 30, 2))
        is_closed = False
        with contextlib.suppress(ConnectionError):
            for _ in range(400):
                some = [next(streams) for _ in range(100)]
                cancel = struct.pack(">I", h2.CANCEL)
                one.send(b"".join(h2.headers(s) + h2.frame(h2.RST_STREAM, 0, s, cancel) for s in some))
        is_closed = one.is_closed()
    assert is_closed
    assert server.becomes("held_bytes", 0)
    assert server.still_answers()


def test_cancelled_calls_of_a_usual_client_do_not(server: Alone) -> None:
    with contextlib.closing(server.client()) as one:
        for stream in range(1, 2000, 2):
            one.send(h2.headers(stream) + h2.frame(h2.RST_STREAM, 0, stream, struct.pack(">I", h2.CANCEL)))
        one.send(h2.headers(2001) + h2.data(2001, h2.message()))
        assert one.answer(2001).endswith(h2.ANSWER)


def test_a_block_of_fields_without_an_end_ends_the_connection(server: Alone) -> None:
    before = resident_bytes()
    with contextlib.closing(server.client()) as one:
        one.send(h2.frame(h2.HEADERS, 0, 1, h2.block(h2.FIELDS)))
        more = h2.frame(h2.CONTINUATION, 0, 1, h2.block((("a", "b" * 1000),)) * 10)
        assert one.send_until_closed(more)
    assert server.still_answers()
    assert resident_bytes() - before < 64 << 20


def test_fields_that_are_too_many_end_the_call_alone(server: Alone) -> None:
    with contextlib.closing(server.client()) as one:
        one.send(h2.headers(1, *((f"a{i}", "b" * 1000) for i in range(14))))
        one.send(h2.data(1, h2.message()))
        assert one.answer(1).endswith(h2.ANSWER), "16 KiB are allowed"
        many = h2.block((*h2.FIELDS, *((f"a{i}", "b" * 1000) for i in range(20))))
        one.send(h2.frame(h2.HEADERS, 0, 3, many[:16000]))
        one.send(h2.frame(h2.CONTINUATION, h2.END_HEADERS, 3, many[16000:]))
        one.until(h2.RST_STREAM, 3)
        one.send(h2.headers(5) + h2.data(5, h2.message()))
        assert one.answer(5).endswith(h2.ANSWER)


def test_slow_clients_are_given_up() -> None:
    with alone(head_seconds=0.4, body_seconds=0.4) as server:
        with contextlib.closing(server.client(greets=False)) as one:
            one.send(h2.PREFACE[:5])
            assert one.is_closed(), "its preface"
        with contextlib.closing(server.client()) as one:
            one.send(h2.frame(h2.HEADERS, 0, 1, h2.block(h2.FIELDS)))
            assert one.is_closed(), "its fields"
        with contextlib.closing(server.client()) as one:
            one.send(h2.headers(1) + h2.data(1, h2.message()[:-1], ends=False))
            reset = one.until(h2.RST_STREAM, 1)
            assert struct.unpack(">I", reset.payload) == (h2.CANCEL,)
            one.send(h2.headers(3) + h2.data(3, h2.message()))
            assert one.answer(3).endswith(h2.ANSWER), "its other calls are answered"
        assert server.front.counts()["timed_out"] == 3
        assert server.becomes("held_bytes", 0)


def test_a_client_that_takes_no_answers_holds_no_more_than_the_limit() -> None:
    rows = 1 << 10
    with alone(max_held_bytes=1 << 20, write_seconds=0.8) as server:
        with contextlib.closing(server.client(setting(4, 0))) as one:
            call = h2.message(rows)
            for stream in range(1, 1001, 2):
                one.send(h2.headers(stream) + h2.data(stream, call))
            # 4 KiB each: about 300 of them find room.
            refused = [f for f in one.frames(seconds=3) if f.kind == h2.RST_STREAM]
            codes = {struct.unpack(">I", f.payload)[0] for f in refused}
            assert codes == {h2.ENHANCE_YOUR_CALM, h2.CANCEL}
            assert server.front.counts()["held_bytes"] <= 1 << 20
            assert server.becomes("held_bytes", 0), "those that it did not take were given up"
        assert server.still_answers()


def test_bodies_that_find_no_room_are_told_to_calm_down() -> None:
    with alone(max_held_bytes=256 << 10) as server, contextlib.closing(server.client()) as one:
        part = bytes([0, 0, 0x10, 0, 0]) + bytes(16_000)
        for stream in range(1, 101, 2):
            one.send(h2.headers(stream) + h2.data(stream, part, ends=False))
        reset = one.until(h2.RST_STREAM)
        assert struct.unpack(">I", reset.payload) == (h2.ENHANCE_YOUR_CALM,)
        assert server.front.counts()["held_bytes"] <= 256 << 10


def test_idle_connections_are_told_to_go() -> None:
    with alone(grpc_idle_seconds=0.3) as server, contextlib.closing(server.client()) as one:
        notice = one.until(h2.GOAWAY)
        assert struct.unpack(">II", notice.payload[:8]) == ((1 << 31) - 1, 0), "the next calls go elsewhere"
        one.send(h2.headers(1) + h2.data(1, h2.message()))
        assert one.answer(1).endswith(h2.ANSWER), "those on their way are answered"
        last = one.until(h2.GOAWAY)
        assert struct.unpack(">II", last.payload[:8]) == (1, 0)
        assert one.is_closed()


def test_a_stop_lets_calls_end() -> None:
    server = Alone()
    with contextlib.closing(server.client()) as one:
        one.send(h2.headers(1) + h2.data(1, h2.message()[:-1], ends=False))
        assert server.becomes("connections", 1)
        stopping = threading.Thread(target=server.front.stop, args=(5.0,))
        stopping.start()
        one.until(h2.GOAWAY)
        one.send(h2.data(1, h2.message()[-1:]))
        assert one.answer(1).endswith(h2.ANSWER)
        stopping.join(10)
        assert not stopping.is_alive()


def test_more_connections_than_allowed_are_closed() -> None:
    with alone(max_connections=2) as server:
        with contextlib.closing(server.client()), contextlib.closing(server.client()):
            assert server.becomes("connections", 2)
            with contextlib.closing(server.client()) as third:
                assert third.is_closed()
        assert server.becomes("connections", 0)
        assert server.still_answers()


def noise(random_: random.Random) -> bytes:
    """Calls whose frames were changed, cut, shuffled or made up."""
    frames = [
        h2.headers(1),
        h2.data(1, h2.message()),
        h2.headers(3),
        h2.data(3, h2.message()[:7], ends=False),
    ]
    frames += [h2.frame(h2.SETTINGS, payload=setting(random_.randrange(8), random_.getrandbits(32)))]
    frames += [h2.frame(h2.RST_STREAM, 0, 3, bytes(4)), h2.frame(h2.WINDOW_UPDATE, 0, 1, b"\x7f\xff\xff\xff")]
    for _ in range(random_.randrange(6)):
        payload = random_.randbytes(random_.choice((0, 4, 5, 8, 40, 3000)))
        made = (random_.randrange(12), random_.getrandbits(8), random_.choice((0, 1, 2, 3, 5, 1 << 30)))
        frames.append(h2.frame(*made, payload))
    if random_.random() < 0.5:
        random_.shuffle(frames)
    sent = bytearray(b"".join(frames))
    for _ in range(random_.randrange(8)):
        sent[random_.randrange(len(sent))] = random_.getrandbits(8)
    return bytes(sent[: random_.randrange(len(sent))] if random_.random() < 0.3 else sent)


def test_noise_harms_nobody(server: Alone) -> None:
    random_ = random.Random(36)
    for i in range(400):
        with contextlib.closing(server.client()) as one, contextlib.suppress(ConnectionError):
            one.send(noise(random_))
            if i % 4 == 0:
                one.socket.shutdown(socket.SHUT_WR)
                list(one.frames(seconds=0.2))
    before = resident_bytes()
    for _ in range(400):
        with contextlib.closing(server.client()) as one, contextlib.suppress(ConnectionError):
            one.send(noise(random_))
    assert server.becomes("connections", 0)
    assert server.becomes("held_bytes", 0)
    assert server.still_answers()
    assert resident_bytes() - before < 32 << 20


def test_options_that_make_no_sense_are_refused() -> None:
    http, grpc, more = (front.listen("127.0.0.1", 0, threads=1) for _ in range(3))
    with http[0], grpc[0], more[0]:
        options = front.Options(upstream="/nowhere/app", grpc_upstream="/nowhere/grpc")
        with pytest.raises(status.NativeError, match="as many sockets for gRPC as for HTTP"):
            front.Front(http, options, grpc_listeners=[*grpc, *more])
        for path in ("", "/" + "x" * 120):
            with pytest.raises(status.NativeError, match="path of 1 to 107 bytes for `grpc_upstream`"):
                front.Front(http, front.Options(upstream="/a", grpc_upstream=path), grpc_listeners=grpc)
        with pytest.raises(status.NativeError, match="`max_calls` is 0"):
            front.Front(
                http, front.Options(upstream="/a", grpc_upstream="/b", max_calls=0), grpc_listeners=grpc
            )
