"""`POST /v2/models/M[/versions/V]/infer`: one answer, given by FastAPI's route or by the fast path before it."""

from __future__ import annotations

import gzip
import math
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from starlette.types import Message, Receive

from mainspring.core import errors, traces
from mainspring.native import infer
from mainspring.serving.access import guard
from mainspring.serving.http import payload
from mainspring.serving.protocols.v2 import inference, request, response

_PREFIX: Final = "/v2/models/"
_SUFFIX: Final = "/infer"
_JSON: Final = (b"content-type", b"application/json")
_BINARY: Final = (b"content-type", b"application/octet-stream")

#: Longest deadline that a caller may set, a day: beyond it a number is a mistake of units.
MAX_DEADLINE_MS: Final = 86_400_000.0

#: Answers below this gain nothing from compression.
COMPRESS_BYTES: Final = 1024

HeaderList = list[tuple[bytes, bytes]]
#: Fields and body of an answer.
Answer = tuple[HeaderList, bytes]


@dataclass(frozen=True)
class Infer:
    """What answers infer requests over HTTP."""

    inference: inference.Inference
    limits: payload.Limits

    async def answer(
        self,
        name: str,
        version: str,
        headers: dict[str, str],
        receive: Receive,
        *,
        native: infer.InferModel | None = None,
    ) -> Answer:
        """Headers and body of the answer; `native` is asked first.

        Errors: those of the payload and of the inference; ClientGone.
        """
        deadline = deadline_of(headers)
        length = request.json_length(headers.get("inference-header-content-length"))
        body = await payload.receive_body(receive, headers, self.limits)
        with self.limits.holding(body):
            encoded = None if native is None else self._natively(native, body, length, deadline)
            if encoded is None:
                encoded = await self.inference.answer(
                    name,
                    version,
                    body,
                    length,
                    deadline=deadline,
                    gone=lambda: payload.wait_until_gone(receive),
                )
        return _answer(encoded.body, encoded.json_length, headers.get("accept-encoding"))

    def at_once(self, native: infer.InferModel, head: Mapping[bytes, bytes], first: Message) -> Answer | None:
        """The answer to a small body that is all in the first message, if `native` gives it; None: :meth:`answer` must.

        `head` sets no deadline, codes nothing and shows no credentials: who asks is let in, and nobody is limited.
        """
        body: bytes = first.get("body", b"")
        size = len(body)
        if size >= payload.LARGE_BYTES or size > self.limits.max_body_bytes or first.get("more_body"):
            return None
        sent = head.get(b"inference-header-content-length")
        length = None
        if sent is not None:
            if not (sent.isdigit() and len(sent) < 19):
                return None
            length = int(sent)
        doorkeeper = self.inference.gate
        if doorkeeper.counts.waiting or traces.is_sampled():
            return None
        answer = native.answer(body, length)
        if answer is None:
            return None
        doorkeeper.counts.inline += 1
        made, json_length, _ = answer
        accepted = head.get(b"accept-encoding")
        return _answer(made, json_length, None if accepted is None else accepted.decode("latin-1"))

    def _natively(
        self, native: infer.InferModel, body: bytes | bytearray, length: int | None, deadline: float
    ) -> response.Encoded | None:
        doorkeeper = self.inference.gate
        # A sampled request has a span of its model, which the usual way makes.
        if len(body) > inference.PARSE_INLINE_BYTES or traces.is_sampled():
            return None
        if not doorkeeper.takes_small(deadline):
            return None
        answer = native.answer(body, length)
        if answer is None:
            return None
        made, json_length, rows = answer
        guard.charge(rows)
        doorkeeper.counts.inline += 1
        return response.Encoded(made, json_length)


def model_of(path: str) -> tuple[str, str] | None:
    """Model and version ("": none) of an infer path; None for any other path."""
    if not (path.startswith(_PREFIX) and path.endswith(_SUFFIX)):
        return None
    parts = path[len(_PREFIX) : -len(_SUFFIX)].split("/")
    if len(parts) == 1 and parts[0]:
        return parts[0], ""
    if len(parts) == 3 and parts[1] == "versions" and parts[0] and parts[2]:
        return parts[0], parts[2]
    return None


def deadline_of(headers: dict[str, str]) -> float:
    """`x-deadline-ms` from now on `time.monotonic`; infinite without one. Errors: InvalidRequest."""
    text = headers.get("x-deadline-ms")
    if text is None:
        return math.inf
    try:
        millis = float(text)
    except ValueError:
        millis = math.nan
    if not 0 < millis <= MAX_DEADLINE_MS:
        raise errors.InvalidRequest(
            f"`x-deadline-ms` is `{text[:40]}`, expected milliseconds above 0 and up to {MAX_DEADLINE_MS:.0f}; send the"
            " time that is left",
            field="x-deadline-ms",
        )
    return time.monotonic() + millis / 1000


def _answer(body: bytes, json_length: int | None, accepted: str | None) -> Answer:
    fields: HeaderList = [_JSON if json_length is None else _BINARY]
    if json_length is not None:
        fields.append((b"inference-header-content-length", b"%d" % json_length))
    if accepted is not None and len(body) >= COMPRESS_BYTES:
        codings = {part.partition(";")[0].strip() for part in accepted.lower().split(",")}
        if "gzip" in codings:
            body = gzip.compress(body, 1)
            fields.append((b"content-encoding", b"gzip"))
        elif "deflate" in codings:
            body = zlib.compress(body, 1)
            fields.append((b"content-encoding", b"deflate"))
    fields.append((b"content-length", b"%d" % len(body)))
    return fields, body
