"""The one table from errors to HTTP, the problem documents (RFC 9457) that carry them, and what v2 clients read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import orjson
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from mainspring.core import errors
from mainspring.serving.protocols.v2 import response as v2_response

CODE_HEADER: Final = "x-error-code"


class BodyTooLarge(errors.InvalidRequest):
    """Travels as `invalid_request`; HTTP alone has a status of its own for it."""


class MethodNotAllowed(errors.InvalidRequest):
    """Travels as `invalid_request`, as above."""


class BodyTooSlow(errors.InvalidRequest):
    """Travels as `invalid_request`, as above."""


#: The first class of an error's MRO that is here decides.
STATUS: Final[Mapping[type, int]] = {
    BodyTooLarge: 413,
    MethodNotAllowed: 405,
    BodyTooSlow: 408,
    errors.InvalidRequest: 400,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Rejected: 422,
    errors.Unauthenticated: 401,
    errors.Denied: 403,
    errors.RateLimited: 429,
    errors.Busy: 503,
    errors.DeadlineExceeded: 504,
    errors.Unavailable: 503,
    errors.MainspringError: 500,
}


def status_of(error: errors.MainspringError) -> int:
    return next(STATUS[cls] for cls in type(error).__mro__ if cls in STATUS)


def answer(error: errors.MainspringError, path: str, request_id: str) -> Response:
    """The error as the protocol of `path` writes it."""
    if is_v2(path):
        return Response(v2_response.error(error), v2_status(error), headers_of(error), "application/json")
    return problem(error, request_id)


def is_v2(path: str) -> bool:
    return path == "/v2" or path.startswith("/v2/")


def v2_status(error: errors.MainspringError) -> int:
    """As :func:`status_of`, but 400 for whatever the protocol calls a failed request of the caller's."""
    status = status_of(error)
    return 400 if status == 422 else status


def problem(error: errors.MainspringError, request_id: str) -> Response:
    """The error as `application/problem+json`: the wire form of core.errors, and what RFC 9457 asks for."""
    wire = errors.to_wire(error)
    status = status_of(error)
    document = {
        "type": f"urn:mainspring:error:{error.code}",
        "title": error.code.replace("_", " "),
        "status": status,
        "detail": error.message,
        **wire,
        "request_id": request_id,
    }
    return Response(orjson.dumps(document), status, headers_of(error), "application/problem+json")


def headers_of(error: errors.MainspringError) -> dict[str, str]:
    """What the caller's next step needs beside the body; `x-error-code` is the code where the body has none."""
    headers = {CODE_HEADER: error.code}
    if isinstance(error, errors.Overloaded):
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_seconds)))
    elif isinstance(error, errors.Busy | errors.Unavailable):
        headers["retry-after"] = "1"
    elif isinstance(error, errors.Unauthenticated):
        headers["www-authenticate"] = "Bearer"
    return headers


def from_validation(error: ValidationError) -> errors.InvalidRequest:
    """Every problem of a body in one line; `field` is the first one's dotted path."""
    lines = []
    for e in error.errors(include_url=False, include_context=False)[:5]:
        lines.append(f"`{_dotted(e['loc'])}`: {e['msg'][0].lower()}{e['msg'][1:]}")
    more = error.error_count() - len(lines)
    return errors.InvalidRequest(
        "body is not usable: " + "; ".join(lines) + (f"; and {more} more" if more else ""),
        field=_dotted(error.errors()[0]["loc"]),
    )


def install(app: Starlette) -> None:
    """Answer our errors, and Starlette's own 404 and 405, as problem documents."""
    app.add_exception_handler(errors.MainspringError, _on_error)
    app.add_exception_handler(HTTPException, _on_http)


def _dotted(loc: tuple[int | str, ...]) -> str:
    return ".".join(map(str, loc)) or "body"


async def _on_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.MainspringError)
    return answer(error, request.url.path, request.state.request_id)


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        ours: errors.MainspringError = MethodNotAllowed(
            f"`{path}` does not take {request.method}; use {allowed}", field="method"
        )
        refusal = answer(ours, path, request.state.request_id)
        refusal.headers["allow"] = allowed
        return refusal
    if error.status_code == 404:
        ours = errors.NotFound(
            f"no route `{path}`; GET /openapi.json lists them", resource="route", name=path
        )
    else:
        ours = errors.InvalidRequest(f"request is not usable: {error.detail}; correct it")
    return answer(ours, path, request.state.request_id)
