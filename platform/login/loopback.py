"""Where the browser comes back to with a code: this machine's loopback address, once (RFC 8252, 7.3)."""

from __future__ import annotations

import contextlib
import queue
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import parse_qs, urlsplit

from mainspring.core import errors

__all__ = ["Loopback"]

_PATH: Final = "/callback"
_PAGE: Final = b"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Mainspring</title>
<p>Back to the terminal: it says whether you are signed in. This page can be closed.</p></html>
"""


class Loopback:
    """Listens from the start of a `with` to its end; what comes back with `state` or an error is taken once."""

    def __init__(self, port: int = 0) -> None:
        """`port` 0: a free one. Errors: PortInUse."""
        self._came: queue.Queue[dict[str, list[str]]] = queue.Queue(maxsize=1)
        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self._came))
        except OSError as error:
            raise errors.PortInUse(
                f"port {port} of this machine cannot be had: {error.strerror}; choose another with `--port`, or leave it out",
                port=port,
                setting="--port",
            ) from error
        # A browser opens connections ahead that say nothing: they must not keep this process.
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)

    @property
    def redirect(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}{_PATH}"

    def wait(self, seconds: float) -> dict[str, str]:
        """What the first browser that came back brought. Errors: DeadlineExceeded; Unauthenticated for what is said twice."""
        try:
            came = self._came.get(timeout=seconds)
        except queue.Empty as error:
            raise errors.DeadlineExceeded(
                f"nobody signed in within {seconds:.0f} s; run `mainspring login` again", stage="login"
            ) from error
        if twice := sorted(name for name, values in came.items() if len(values) != 1):
            raise errors.Unauthenticated(
                f"the answer says `{twice[0][:40]}` twice; run `mainspring login` again"
            )
        return {name: values[0] for name, values in came.items()}


def _handler(came: queue.Queue[dict[str, list[str]]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            # By this name alone: a page of somebody's own domain that points here is not the browser that we sent.
            is_ours = self.headers.get("host", "") == "{}:{}".format(*self.connection.getsockname())
            said = parse_qs(asked.query, keep_blank_values=True)
            if asked.path != _PATH or not is_ours or not said.keys() & {"code", "error"}:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(_PAGE)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("Referrer-Policy", "no-referrer")
            self.send_header("Content-Security-Policy", "default-src 'none'")
            self.end_headers()
            self.wfile.write(_PAGE)
            with contextlib.suppress(queue.Full):  # only the first counts
                came.put_nowait(said)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: the code is in the address."""

    return Handler
