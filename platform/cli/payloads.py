"""`mainspring payloads`: the keys of what Temporal keeps, and a look at it with Temporal's own command."""

from __future__ import annotations

import asyncio
import hmac
import secrets
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final

import rich_click as click

from mainspring.core import errors
from mainspring.platform.cli import output, session

if TYPE_CHECKING:
    from mainspring.core.client.payloads import SealedPayloads

__all__ = ["CodecServer", "payloads"]

#: Temporal's own limit of a message is 4 MiB; in JSON it grows by a third.
_MAX_BODY: Final = 8 << 20


@click.group()
def payloads() -> None:
    """Encrypted payloads: rotate their key, read them with the `temporal` command."""


@payloads.command("rotate")
@session.JSON
def payloads_rotate(as_json: bool) -> None:
    """Encrypt by a new key from now on; what earlier keys encrypted can still be read.

    Where machines have copies of the file: add the new line at the end of each copy before it becomes the first of any.
    """
    from mainspring.core import settings
    from mainspring.core.client import payloads as sealed

    where = settings.load().workflow
    output.show(
        {"key_id": sealed.rotate(where.payload_keys), "file": str(where.payload_keys)}, as_json=as_json
    )


@payloads.command("codec")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="On loopback; 0: one that is free.")
@session.JSON
def payloads_codec(port: int, as_json: bool) -> None:
    """Decrypt for the `temporal` command until told to stop; prints the options to give it."""
    from mainspring.core import settings
    from mainspring.core.client import payloads as sealed

    where = settings.load().workflow
    codec = sealed.SealedPayloads(where.payload_keys, store=sealed.store_of(where))
    with CodecServer(port, codec, secrets.token_urlsafe(24)) as server:
        output.show(server.options(), as_json=as_json)
        server.serve_forever()


class CodecServer(ThreadingHTTPServer):
    """A codec server of Temporal on loopback. Whoever has not its token gets nothing: other users share the machine."""

    daemon_threads = True

    def __init__(self, port: int, codec: SealedPayloads, token: str) -> None:
        """Errors: PortInUse."""
        self.codec, self.authorization = codec, f"Bearer {token}"
        try:
            super().__init__(("127.0.0.1", port), _Answer)
        except OSError as error:
            raise errors.PortInUse(
                f"port {port} is in use; give another `--port`, or none", port=port
            ) from error

    def options(self) -> dict[str, str]:
        return {
            "--codec-endpoint": f"http://127.0.0.1:{self.server_port}",
            "--codec-auth": self.authorization,
        }


class _Answer(BaseHTTPRequestHandler):
    server: CodecServer

    def do_POST(self) -> None:
        """`/decode`; `/encode` gives back what came: workers read plaintext, too."""
        given = self.headers.get("authorization", "")
        if not hmac.compare_digest(given.encode(), self.server.authorization.encode()):
            return self._say(401, b"{}")
        length = self.headers.get("content-length", "")
        if not length.isdigit() or int(length) > _MAX_BODY:
            return self._say(413, b"{}")
        body = self.rfile.read(int(length))
        path = self.path.rstrip("/")
        if path.endswith("/encode"):
            return self._say(200, body)
        if not path.endswith("/decode"):
            return self._say(404, b"{}")
        try:
            self._say(200, asyncio.run(self.server.codec.decode_json(body)))
        except errors.MainspringError as error:
            # The command shows the body of a refusal as it is.
            self._say(422, error.message.encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the one who asks sees what went wrong."""

    def _say(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
