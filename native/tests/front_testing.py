"""An app behind the front that shows what reached it, a client that sees bytes, and models small enough to check by hand."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import pathlib
import socket
import socketserver
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from mainspring.native import front, mlp

SUM = mlp.make(2, [mlp.Layer(np.ones((1, 2), np.float32))])
PATH = "/v2/models/sum/infer"
JSON = b'{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]}'
ANSWER = b'{"model_name":"sum","model_version":"1","outputs":[{"name":"y","datatype":"FP32","shape":[1,1],"data":[3.0]}]}'


def sum_model(version: str = "1", **how: Any) -> front.Model:
    return front.Model("sum", version, **({"model": SUM, "input": "x", "output": "y", "max_rows": 64} | how))


class App(http.server.BaseHTTPRequestHandler):
    """Answers with what it was sent, in the form that the path asks for."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the tests read answers."""

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                assert self.rfile.readline() == b"\r\n"
            assert self.rfile.readline() == b"\r\n"
            return body
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def _seen(self, body: bytes) -> bytes:
        seen = {
            "line": self.requestline,
            "fields": [[k.lower(), v] for k, v in self.headers.items()],
            "size": len(body),
            "digest": hashlib.sha256(body).hexdigest(),
        }
        return json.dumps(seen).encode()

    def _any(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/early":  # answers before it has the body
            self.send_response(413)
            self.send_header("content-length", "3")
            self.end_headers()
            self.wfile.write(b"no\n")
            self.close_connection = True
            return
        answer = self._seen(self._body())
        if path.startswith("/status/"):
            self.send_response(int(path.rpartition("/")[2]))
            self.end_headers()
            return
        if path.startswith("/bytes/"):
            answer = bytes(range(256)) * (int(path.rpartition("/")[2]) // 256)
        self.send_response(200)
        self.send_header("X-Seen", "yes")
        if path == "/chunked":
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for i in range(0, len(answer), 50):
                piece = answer[i : i + 50]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")
        elif path == "/until-close":
            self.send_header("connection", "close")
            self.end_headers()
            self.wfile.write(answer)
            self.close_connection = True
        else:
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _any


class _Threads(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are what some tests are about."""


@contextlib.contextmanager
def app() -> Iterator[str]:
    """The app, listening; its socket's path."""
    with tempfile.TemporaryDirectory() as directory:
        path = str(pathlib.Path(directory) / "app.sock")
        with _Threads(path, App) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
            thread.start()
            try:
                yield path
            finally:
                server.shutdown()
                thread.join()


@contextlib.contextmanager
def scripted(script: Callable[[socket.socket], None]) -> Iterator[str]:
    """An app that does with each connection what `script` says, and closes it then."""
    with tempfile.TemporaryDirectory() as directory:
        path = str(pathlib.Path(directory) / "app.sock")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()

            def serve() -> None:
                while True:
                    try:
                        connection, _ = listener.accept()
                    except OSError:
                        return
                    with connection, contextlib.suppress(OSError):
                        script(connection)

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            yield path
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@contextlib.contextmanager
def serving(upstream: str, *, threads: int = 1, **limits: Any) -> Iterator[front.Front]:
    """A front with the sum model."""
    sockets = front.listen("127.0.0.1", 0, threads=threads)
    with front.Front(sockets, front.Options(upstream, **limits)) as server:
        server.set_models([sum_model()])
        yield server


class Answer:
    """A whole answer as it came."""

    def __init__(self, head: bytes, body: bytes) -> None:
        line, *fields = head.decode("latin-1").split("\r\n")
        self.status = int(line.split(" ")[1])
        self.fields: dict[str, str] = {}
        for field in fields:
            name, _, value = field.partition(": ")
            assert name.lower() not in self.fields, f"{name} is there twice"
            self.fields[name.lower()] = value
        self.body = body

    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """A connection on which bytes are sent and whole answers are read."""

    def __init__(self, port: int, timeout: float = 20) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self.held = bytearray()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def more(self) -> None:
        data = self.socket.recv(1 << 16)
        if not data:
            raise EOFError
        self.held += data

    def _take(self, size: int) -> bytes:
        while len(self.held) < size:
            self.more()
        taken = bytes(self.held[:size])
        del self.held[:size]
        return taken

    def _line(self) -> bytes:
        return self._up_to(b"\r\n")

    def _up_to(self, mark: bytes) -> bytes:
        while (at := self.held.find(mark)) < 0:
            self.more()
        return self._take(at + len(mark))[:at]

    def read(self, *, method: str = "GET") -> Answer:
        answer = Answer(self._up_to(b"\r\n\r\n"), b"")
        if method == "HEAD" or answer.status in (100, 204, 304):
            return answer
        if answer.fields.get("transfer-encoding") == "chunked":
            while size := int(self._line(), 16):
                answer.body += self._take(size)
                assert self._line() == b""
            assert self._line() == b""
        elif "content-length" in answer.fields:
            answer.body = self._take(int(answer.fields["content-length"]))
        else:
            answer.body = self.rest()
        return answer

    def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        with contextlib.suppress(EOFError):
            while True:
                self.more()
        return self._take(len(self.held))

    def ask(self, data: bytes, *, method: str = "GET") -> Answer:
        self.send(data)
        return self.read(method=method)


def request(path: str = PATH, body: bytes = JSON, method: str = "POST", **fields: str) -> bytes:
    """A whole request; `_` in names of fields is `-`."""
    lines = [f"{method} {path} HTTP/1.1", "host: test"]
    lines += [f"{k.replace('_', '-')}: {v}" for k, v in fields.items()]
    if body or method == "POST":
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def get(path: str, method: str = "GET", **fields: str) -> bytes:
    return request(path, b"", method, **fields)


def binary(rows: list[list[float]], padding: int = 0) -> bytes:
    """An infer request with a binary tensor, answered binary; `padding` moves the tensor."""
    values = np.array(rows, "<f4")
    head = json.dumps(
        {
            "inputs": [
                {
                    "name": "x",
                    "shape": values.shape,
                    "datatype": "FP32",
                    "parameters": {"binary_data_size": values.nbytes},
                }
            ],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    head += b" " * padding
    return request(body=head + values.tobytes(), inference_header_content_length=str(len(head)))


def floats(answer: Answer) -> list[float]:
    """The tensor of a binary answer."""
    at = int(answer.fields["inference-header-content-length"])
    n = (len(answer.body) - at) // 4
    return list(struct.unpack(f"<{n}f", answer.body[at:]))
