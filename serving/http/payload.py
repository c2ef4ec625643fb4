"""Bytes in: limits on size and time before anything is parsed, compressed or not."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import CoroutineType
from typing import Any, Final

from starlette.types import Message, Receive

from mainspring.core import errors
from mainspring.serving import gate
from mainspring.serving.http import errors as http_errors

#: Bodies below this are not counted once they are received.
LARGE_BYTES: Final = 16 << 10

#: wbits of zlib by content-encoding; "deflate" means a zlib stream (RFC 9110).
_WBITS: Final[Mapping[str, int]] = {"gzip": 31, "deflate": 15}


@dataclass
class Limits:
    """What bodies may take. One for all requests of a process: `held` counts over all of them."""

    max_body_bytes: int
    max_held_bytes: int
    """Bytes of large bodies in the process at once: being received, waiting in line, at work."""
    timeout_seconds: float
    held: int = field(default=0, init=False)

    def check(self, more: int) -> None:
        """Errors: Overloaded if `more` bytes do not fit beside those that are held."""
        if self.held + more > self.max_held_bytes:
            raise errors.Overloaded(
                "bodies of other requests fill the memory for them; try again in 1 s", retry_after_seconds=1.0
            )

    @contextmanager
    def holding(self, body: bytes | bytearray) -> Iterator[None]:
        """Counts a received body until its request is answered; a full line of small ones is no matter.

        Errors: Overloaded if it is large and does not fit beside those that are held.
        """
        counted = len(body) if len(body) >= LARGE_BYTES else 0
        if counted:
            self.check(counted)
        self.held += counted
        try:
            yield
        finally:
            self.held -= counted


async def receive_body(receive: Receive, headers: Mapping[str, str], limits: Limits) -> bytes | bytearray:
    """The whole body, decompressed.

    Errors: BodyTooLarge as soon as a limit is passed, whatever the header says; BodyTooSlow; Overloaded if bodies of
    others fill the memory for them; InvalidRequest for an encoding that is not known or not whole; ClientGone.
    """
    declared = headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limits.max_body_bytes:
        raise _too_large(limits)
    message = await _next(receive, limits)
    body: bytes | bytearray = message.get("body", b"")
    if message.get("more_body"):
        body = await _rest(receive, bytearray(body), limits)
    if len(body) > limits.max_body_bytes:
        raise _too_large(limits)
    encoding = headers.get("content-encoding", "identity").lower()
    return body if encoding == "identity" else _decompressed(body, encoding, limits)


def at_hand(receive: Receive) -> Message | Receive:
    """The first message of a request if it is there already; else what gives it and all after it.

    Nothing is counted or refused: that is for :func:`receive_body`, which takes :func:`again` of a message.
    """
    awaited: Any = receive()
    if type(awaited) is not CoroutineType:
        return _Replay(awaited, receive)
    try:
        first = awaited.send(None)
    except StopIteration as done:
        message: Message = done.value
        return message
    return _Replay(_Resumed(awaited, first), receive)


def again(first: Message, receive: Receive) -> Receive:
    """What gives a first message that was taken already, and then what comes after it."""
    return _Replay(first, receive)


async def wait_until_gone(receive: Receive) -> None:
    """Returns when the client has left. Only after the body was received."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _rest(receive: Receive, body: bytearray, limits: Limits) -> bytearray:
    held = 0
    try:
        while True:
            limits.held += len(body) - held
            held = len(body)
            if held > limits.max_body_bytes:
                raise _too_large(limits)
            limits.check(0)
            message = await _next(receive, limits)
            body += message.get("body", b"")
            if not message.get("more_body"):
                return body
    finally:
        limits.held -= held


async def _next(receive: Receive, limits: Limits) -> Message:
    awaited: Any = receive()
    if type(awaited) is CoroutineType:
        # Most bodies are there already: one step tells, and a timer, 8 us, is made for the others only.
        try:
            first = awaited.send(None)
        except StopIteration as done:
            return _checked(done.value)
        awaited = _Resumed(awaited, first)
    try:
        async with asyncio.timeout(limits.timeout_seconds):
            message = await awaited
    except TimeoutError:
        raise http_errors.BodyTooSlow(
            f"no more of the body came for {limits.timeout_seconds:.0f} s; send it without a pause",
            field="body",
        ) from None
    return _checked(message)


def _checked(message: Message) -> Message:
    if message["type"] == "http.disconnect":
        raise gate.ClientGone
    return message


class _Resumed:
    """The rest of a coroutine that was stepped once and then waited for `first`."""

    def __init__(self, coroutine: CoroutineType[Any, Any, Message], first: Any) -> None:
        self._coroutine = coroutine
        self._first = first

    def __await__(self) -> Generator[Any, Any, Message]:
        waited = self._first
        try:
            while True:
                try:
                    given = yield waited
                except BaseException as error:  # noqa: BLE001 - a cancellation: it belongs to the coroutine
                    waited = self._coroutine.throw(error)
                else:
                    waited = self._coroutine.send(given)
        except StopIteration as done:
            message: Message = done.value
            return message


class _Replay:
    """A `receive` whose first message is known, or awaited already."""

    def __init__(self, first: Message | Awaitable[Message], receive: Receive) -> None:
        self._first: Message | Awaitable[Message] | None = first
        self._receive = receive

    async def __call__(self) -> Message:
        first, self._first = self._first, None
        if first is None:
            return await self._receive()
        return await first if isinstance(first, Awaitable) else first


def _decompressed(body: bytes | bytearray, encoding: str, limits: Limits) -> bytes:
    if encoding not in _WBITS:
        raise errors.InvalidRequest(
            f"content-encoding `{encoding[:40]}` is not known; send gzip, deflate or none",
            field="content-encoding",
        )
    stream = zlib.decompressobj(_WBITS[encoding])
    try:
        # One byte above the limit tells that there is more, without making it.
        whole = stream.decompress(body, limits.max_body_bytes + 1)
    except zlib.error as error:
        raise errors.InvalidRequest(
            f"body is not {encoding}: {error}; correct it", field="content-encoding"
        ) from error
    if len(whole) > limits.max_body_bytes:
        raise _too_large(limits)
    if not stream.eof or stream.unused_data:
        raise errors.InvalidRequest(
            f"body is no single whole {encoding} stream; send all of it", field="content-encoding"
        )
    return whole


def _too_large(limits: Limits) -> http_errors.BodyTooLarge:
    return http_errors.BodyTooLarge(
        f"body is larger than {limits.max_body_bytes} bytes; split it, or raise `serving.max_body_bytes`",
        field="body",
    )
