"""`ETag` and `If-None-Match` of reads: who has an answer already is told so, and not sent it again.

One place for every route, as a middleware: a route cannot forget it. It comes after the route's own work, so that nobody is
told "as before" of what he may not read any more. The tag is of the bytes that are answered: strong, and of what is spent or
running too. A list is tagged as anything else. Streams and pages of a browser go by untouched.
"""

from __future__ import annotations

from typing import Any, Final

from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from mainspring.core import canonical
from mainspring.platform.http import versions

#: What an answer depends on beside its address: whoever keeps it asks before he shows it again, and to nobody else.
_KEEPING: Final = ((b"cache-control", b"private, no-cache"), (b"vary", b"Authorization"))
_DIGITS: Final = 32


class Conditional(ASGIMiddleware):
    """Tags answers of JSON to GET, and answers 304 for a tag that was sent."""

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        if scope["type"] != ScopeType.HTTP or scope["method"] != "GET":
            await next_app(scope, receive, send)
            return
        asked = b",".join(value for key, value in scope["headers"] if key.lower() == b"if-none-match")
        await next_app(scope, receive, _Tagged(send, asked.decode("latin-1")).send)


class _Tagged:
    """An answer that is held back until it is whole, and its tag known."""

    def __init__(self, send: Send, if_none_match: str) -> None:
        self._send = send
        self._if_none_match = if_none_match
        self._start: Any = None
        self._body = b""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _is_document(message):
            self._start = message
        elif message["type"] == "http.response.body" and self._start is not None:
            self._body += message["body"]
            if not message["more_body"]:
                await self._answer()
        else:
            await self._send(message)

    async def _answer(self) -> None:
        headers = [(bytes(k), bytes(v)) for k, v in self._start["headers"]]
        content = canonical.digest_bytes(self._body).removeprefix("sha256:")[:_DIGITS]
        version = next((v.decode().strip('"') for k, v in headers if k.lower() == b"etag"), "")
        tag = f'"{version}{versions.BETWEEN if version else ""}{content}"'
        rest = [(k, v) for k, v in headers if k.lower() not in (b"etag", *(name for name, _ in _KEEPING))]
        headers = [*rest, (b"etag", tag.encode()), *_KEEPING]
        body = self._body
        if _is_among(tag, self._if_none_match):
            # RFC 9110, 15.4.5: what the answer would have said of itself, and nothing of its content.
            headers = [(k, v) for k, v in headers if k.lower() not in (b"content-length", b"content-type")]
            self._start["status"], body = 304, b""
        self._start["headers"] = headers
        await self._send(self._start)
        await self._send({"type": "http.response.body", "body": body, "more_body": False})


def _is_document(start: Any) -> bool:
    headers = {bytes(k).lower(): bytes(v) for k, v in start["headers"]}
    return bool(start["status"] == 200 and headers.get(b"content-type", b"").startswith(b"application/json"))


def _is_among(tag: str, if_none_match: str) -> bool:
    """Weakly, as RFC 9110 (13.1.2) has it for reads."""
    asked = [one.strip().removeprefix("W/") for one in if_none_match.split(",")]
    return tag in asked or "*" in asked
