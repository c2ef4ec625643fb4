"""`Idempotency-Key`: the same request again changes nothing again, and gets the answer of the first.

One place for every route that changes something, as a middleware: a route cannot forget it. A key is its actor's own, and of tokens
that are narrowed alike: what one was answered is not for another that may do less, and doing it once more for that is no answer either.
Only answers of success are kept, for a week: a refusal has changed nothing, and may be none the next time. A process
that dies between the change and its answer leaves the key reserved; after a minute the request is carried out again,
and what that means is said by the route's own rules (names, usage keys and event keys are taken once). An answer that says
`cache-control: no-store` is not kept: a key would make this database a copy of what was sealed.
"""

from __future__ import annotations

from typing import Any, Final

from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from mainspring.core import canonical, errors, identity
from mainspring.core.contracts import base
from mainspring.platform import mutation
from mainspring.platform import plane as control_plane
from mainspring.platform.http import request_keys

HEADER: Final = "idempotency-key"
#: Of an answer that was given before.
REPLAYED: Final = "idempotent-replayed"
CHANGING: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
MAX_KEY_CHARACTERS: Final = 200
#: As much of a body as the API takes; what is longer is refused by it.
_MAX_BODY_BYTES: Final = 1 << 20


class Idempotency(ASGIMiddleware):
    """Remembers requests that bring a key. Whoever is unknown gets the route's own refusal."""

    def __init__(self, plane: control_plane.ControlPlane) -> None:
        self._plane = plane

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Errors: InvalidRequest for a key that is none; Conflict, as `request_keys.reserve` has it."""
        if scope["type"] != ScopeType.HTTP or scope["method"] not in CHANGING:
            await next_app(scope, receive, send)
            return
        key = _header(scope, HEADER)
        actor = await self._actor(scope) if key is not None else None
        if key is None or actor is None:
            await next_app(scope, receive, send)
            return
        if not key.isprintable() or not 1 <= len(key) <= MAX_KEY_CHARACTERS:
            raise errors.InvalidRequest(
                f"`Idempotency-Key` has {len(key)} characters; send 1 to {MAX_KEY_CHARACTERS} printable ones",
                field="Idempotency-Key",
            )
        body = _Body(receive)
        asked = (scope["method"], scope["path"], scope["query_string"].decode("latin-1"))
        parts = [*asked, _header(scope, "if-match") or "", await body.digest(), *_narrowed(actor)]
        fingerprint = canonical.digest(parts)
        known = await mutation.note(
            self._plane,
            lambda connection: request_keys.reserve(connection, actor.name, key, fingerprint, base.utc_now()),
        )
        if known is not None:
            await _replay(known, send)
            return
        answer = _Answer(send)
        try:
            await next_app(scope, body.receive, answer.send)
        finally:
            found = answer.found()
            await mutation.note(
                self._plane, lambda connection: request_keys.settle(connection, actor.name, key, found)
            )

    async def _actor(self, scope: Scope) -> identity.Actor | None:
        credential = _header(scope, "authorization") or ""
        try:
            await self._plane.issuer.prepare(credential)
            return self._plane.issuer.authenticate(credential)
        except (errors.Denied, errors.Unavailable):
            return None  # the route says so, in its own order


class _Body:
    """A request's body, read for its digest and then given on."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._read: list[Any] = []

    async def digest(self) -> str:
        """Of all that is taken: a longer body is refused further on, and changes nothing."""
        found = b""
        while len(found) <= _MAX_BODY_BYTES:
            message = await self._receive()
            self._read.append(message)
            if message["type"] != "http.request":
                break
            found += message.get("body", b"")
            if not message.get("more_body", False):
                break
        return canonical.digest_bytes(found)

    async def receive(self) -> Any:
        return self._read.pop(0) if self._read else await self._receive()


class _Answer:
    """What is answered, noted on its way."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._status = 0
        self._media_type = ""
        self._body = b""
        self._is_whole = False
        self._is_kept = True

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = {bytes(k).lower(): bytes(v) for k, v in message["headers"]}
            self._is_kept = b"no-store" not in headers.get(b"cache-control", b"")
            self._media_type = headers.get(b"content-type", b"").decode("latin-1")
        elif message["type"] == "http.response.body":
            self._body += message["body"]
            self._is_whole = not message["more_body"]
        await self._send(message)

    def found(self) -> request_keys.Answer | None:
        """None unless a whole answer of success was given, which may be kept."""
        if not (self._is_whole and self._is_kept and 200 <= self._status < 300):
            return None
        return request_keys.Answer(self._status, self._media_type, self._body.decode())


def _narrowed(actor: identity.Actor) -> list[str]:
    """What a token has of its actor's roles; nothing for a whole one, whose requests are known by what they always were."""
    if actor.scope == identity.Scope():
        return []
    return [*sorted(actor.scope.roles), f"environment:{actor.scope.environment}"]


def _header(scope: Scope, name: str) -> str | None:
    found = [value for key, value in scope["headers"] if key.lower() == name.encode()]
    return found[0].decode("latin-1").strip() if found else None


async def _replay(answer: request_keys.Answer, send: Send) -> None:
    headers = [(REPLAYED.encode(), b"true")]
    if answer.media_type:
        headers.append((b"content-type", answer.media_type.encode("latin-1")))
    body = answer.body.encode()
    if answer.status != 204:
        headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
