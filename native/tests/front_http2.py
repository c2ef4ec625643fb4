"""HTTP/2 by hand, so that tests can send what no library would: frames, fields without compression, infer messages."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import time
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)
END_STREAM, END_HEADERS, ACK = 1, 4, 1
ENHANCE_YOUR_CALM, CANCEL = 11, 8
METHOD: Final = "/inference.GRPCInferenceService/ModelInfer"

FIELDS: Final = (
    (":method", "POST"),
    (":scheme", "http"),
    (":path", METHOD),
    (":authority", "here"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
)


class Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    payload: bytes


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def block(fields: tuple[tuple[str, str], ...]) -> bytes:
    """Literals that no table keeps."""

    def text(value: str) -> bytes:
        size, more = len(value), b""
        if size < 127:
            return bytes([size]) + value.encode()
        size -= 127
        while size >= 128:
            more += bytes([size % 128 + 128])
            size //= 128
        return b"\x7f" + more + bytes([size]) + value.encode()

    return b"".join(b"\0" + text(name) + text(value) for name, value in fields)


def headers(stream: int, *more: tuple[str, str], ends: bool = False) -> bytes:
    return frame(HEADERS, END_HEADERS | (END_STREAM if ends else 0), stream, block((*FIELDS, *more)))


def data(stream: int, payload: bytes, *, ends: bool = True) -> bytes:
    return frame(DATA, END_STREAM if ends else 0, stream, payload)


def _field(number: int, value: bytes) -> bytes:
    size, n = b"", len(value)
    while n >= 128:
        size += bytes([n % 128 + 128])
        n //= 128
    return bytes([number << 3 | 2]) + size + bytes([n]) + value


def message(rows: int = 1, model: str = "sum") -> bytes:
    """An infer request for `front_testing.sum_model`, with gRPC's five bytes: rows of (1, 2)."""
    shape = bytes([rows % 128 + 128, rows // 128, 2]) if rows >= 128 else bytes([rows, 2])
    tensor = _field(1, b"x") + _field(2, b"FP32") + _field(3, shape)
    raw = np.tile(np.array([1, 2], np.float32), rows).tobytes()
    asked = _field(1, model.encode()) + _field(5, tensor) + _field(7, raw)
    return b"\0" + struct.pack(">I", len(asked)) + asked


ANSWER: Final = np.array([3], np.float32).tobytes()


class Client:
    """A connection whose frames are read as they come."""

    def __init__(self, port: int, settings: bytes = b"", *, greets: bool = True) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 5)
        self._read = b""
        if greets:
            self.send(PREFACE + frame(SETTINGS, payload=settings))

    def send(self, sent: bytes) -> None:
        self.socket.sendall(sent)

    def send_until_closed(self, sent: bytes, *, seconds: float = 10.0) -> bool:
        """The same again and again, reading nothing but what stands in the way; whether the server ended it."""
        until = time.monotonic() + seconds
        self.socket.setblocking(False)
        while time.monotonic() < until:
            readable, writable, _ = select.select([self.socket], [self.socket], [], 1)
            try:
                if readable and not self.socket.recv(1 << 16):
                    return True
                if writable:
                    self.socket.send(sent)
            except BlockingIOError:
                pass
            except OSError:
                return True
        return False

    def frames(self, *, seconds: float = 5.0) -> Iterator[Frame]:
        """Until the server ends the connection, or nothing comes for so long."""
        self.socket.settimeout(seconds)
        while True:
            while len(self._read) >= 9:
                size = int.from_bytes(self._read[:3], "big")
                if len(self._read) < 9 + size:
                    break
                kind, flags, stream = self._read[3], self._read[4], int.from_bytes(self._read[5:9], "big")
                payload, self._read = self._read[9 : 9 + size], self._read[9 + size :]
                yield Frame(kind, flags, stream, payload)
            try:
                more = self.socket.recv(1 << 16)
            except (TimeoutError, ConnectionError):
                return
            if not more:
                return
            self._read += more

    def until(self, kind: int, stream: int | None = None, *, seconds: float = 5.0) -> Frame:
        """The next of a kind. Errors: AssertionError if none comes."""
        seen = []
        for one in self.frames(seconds=seconds):
            if one.kind == kind and stream in (None, one.stream):
                return one
            seen.append(one)
        raise AssertionError(f"no frame of kind {kind} came, but {seen}")

    def answer(self, stream: int) -> bytes:
        """The data of a call's whole answer, after its fields and before its trailers."""
        got, n_fields = b"", 0
        for one in self.frames():
            if one.stream != stream:
                continue
            assert one.kind in (HEADERS, DATA, WINDOW_UPDATE), one
            n_fields += one.kind == HEADERS
            if one.kind == DATA:
                got += one.payload
            if one.flags & END_STREAM and one.kind in (HEADERS, DATA):
                assert n_fields == 2, "fields, data, and fields behind them"
                return got
        raise AssertionError("the connection ended before the answer")

    def is_closed(self, *, seconds: float = 5.0) -> bool:
        """Whether the server ends the connection, whatever it says before."""
        until = time.monotonic() + seconds
        with contextlib.suppress(ConnectionError):
            for _ in self.frames(seconds=seconds):
                pass
        return time.monotonic() < until

    def close(self) -> None:
        self.socket.close()
