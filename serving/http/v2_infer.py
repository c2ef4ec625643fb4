"""`POST /v2/models/M[/versions/V]/infer`: one answer, given by FastAPI's route or by the fast path before it.

The fast path is plain ASGI: no routing table, no request objects, no dependency graph. Both call :meth:`Infer.answer`,
so limits, deadlines, errors and metrics are the same.
"""

from __future__ import annotations

import gzip
import logging
import math
import time
import zlib
from dataclasses import dataclass
from typing import Final

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from mainspring.core import errors
from mainspring.serving import gate, logs
from mainspring.serving.http import edge, payload
from mainspring.serving.http import errors as http_errors
from mainspring.serving.protocols.v2 import inference, request, response

_LOG: Final = logging.getLogger("mainspring.serving")
_PREFIX: Final = "/v2/models/"
_SUFFIX: Final = "/infer"
_JSON: Final = (b"content-type", b"application/json")
_BINARY: Final = (b"content-type", b"application/octet-stream")

#: Longest deadline that a caller may set, a day: beyond it a number is a mistake of units.
MAX_DEADLINE_MS: Final = 86_400_000.0

#: Answers below this gain nothing from compression.
COMPRESS_BYTES: Final = 1024

HeaderList = list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Infer:
    """What answers infer requests over HTTP."""

    inference: inference.Inference
    limits: payload.Limits

    async def answer(
        self, name: str, version: str, headers: dict[str, str], receive: Receive
    ) -> tuple[HeaderList, bytes]:
        """Headers and body of the answer. Errors: those of the payload and of the inference; ClientGone."""
        deadline = deadline_of(headers)
        length = request.json_length(headers.get("inference-header-content-length"))
        body = await payload.receive_body(receive, headers, self.limits)
        with self.limits.holding(body):
            encoded = await self.inference.answer(
                name, version, body, length, deadline=deadline, gone=lambda: payload.wait_until_gone(receive)
            )
        return _answer(encoded, headers.get("accept-encoding"))


class ServingApp(FastAPI):
    """FastAPI that answers infer requests before its own machinery sees them, if it was given what answers them.

    As a middleware it would come after FastAPI's telemetry, which costs every request 8 us.
    """

    fast_path: FastPath | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.fast_path is None:
            await super().__call__(scope, receive, send)
        else:
            await self.fast_path(scope, receive, send, super().__call__)


class FastPath:
    """Answers infer requests; passes everything else on."""

    def __init__(self, infer: Infer) -> None:
        self._infer = infer

    async def __call__(self, scope: Scope, receive: Receive, send: Send, app: ASGIApp) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or (asked := model_of(scope["path"])) is None:
            await app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        request_id = edge.request_id_of(headers.get(edge.HEADER, ""))
        logs.REQUEST_ID.set(request_id)
        began, status = time.perf_counter(), 200
        try:
            fields, body = await self._infer.answer(*asked, headers, receive)
        except gate.ClientGone:
            return
        except errors.MainspringError as error:
            status, fields, body = _refusal(error)
        except Exception:  # noqa: BLE001 - the edge of the process: the caller gets an answer, the log the trace
            _LOG.exception("request %s failed", request_id)
            status, fields, body = _refusal(edge.own_mistake(scope["path"], request_id))
        fields.append((b"x-request-id", request_id.encode("latin-1")))
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": body})
        logs.request("POST", scope["path"], status, began)


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


def _answer(encoded: response.Encoded, accepted: str | None) -> tuple[HeaderList, bytes]:
    body = encoded.body
    fields: HeaderList = [_JSON if encoded.json_length is None else _BINARY]
    if encoded.json_length is not None:
        fields.append((b"inference-header-content-length", b"%d" % encoded.json_length))
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


def _refusal(error: errors.MainspringError) -> tuple[int, HeaderList, bytes]:
    body = response.error(error)
    fields: HeaderList = [_JSON, (b"content-length", b"%d" % len(body))]
    fields += [(k.encode(), v.encode()) for k, v in http_errors.headers_of(error).items()]
    return http_errors.v2_status(error), fields, body
