"""The one table from errors to HTTP, and the problem documents (RFC 9457) that carry them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import orjson
from fastapi import FastAPI, Request
from fastapi.responses import Response
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from mainspring.core import errors


class BodyTooLarge(errors.InvalidRequest):
    """Travels as `invalid_request`; HTTP alone has a status of its own for it."""


class MethodNotAllowed(errors.InvalidRequest):
    """Travels as `invalid_request`, as above."""


#: The first class of an error's MRO that is here decides.
STATUS: Final[Mapping[type, int]] = {
    BodyTooLarge: 413,
    MethodNotAllowed: 405,
    errors.InvalidRequest: 400,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Rejected: 422,
    errors.Unauthenticated: 401,
    errors.Denied: 403,
    errors.Busy: 429,
    errors.DeadlineExceeded: 504,
    errors.Unavailable: 503,
    errors.MainspringError: 500,
}


def status_of(error: errors.MainspringError) -> int:
    return next(STATUS[cls] for cls in type(error).__mro__ if cls in STATUS)


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
    headers = {}
    if isinstance(error, errors.Overloaded):
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_seconds)))
    elif isinstance(error, errors.Busy | errors.Unavailable):
        headers["retry-after"] = "1"
    elif isinstance(error, errors.Unauthenticated):
        headers["www-authenticate"] = "Bearer"
    return Response(orjson.dumps(document), status, headers, "application/problem+json")


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


def install(app: FastAPI) -> None:
    """Answer our errors, and Starlette's own 404 and 405, as problem documents."""
    app.add_exception_handler(errors.MainspringError, _on_error)
    app.add_exception_handler(HTTPException, _on_http)


def _dotted(loc: tuple[int | str, ...]) -> str:
    return ".".join(map(str, loc)) or "body"


async def _on_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.MainspringError)
    return problem(error, request.state.request_id)


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        ours: errors.MainspringError = MethodNotAllowed(
            f"`{path}` does not take {request.method}; use {allowed}", field="method"
        )
        answer = problem(ours, request.state.request_id)
        answer.headers["allow"] = allowed
        return answer
    if error.status_code == 404:
        ours = errors.NotFound(
            f"no route `{path}`; GET /openapi.json lists them", resource="route", name=path
        )
    else:
        ours = errors.InvalidRequest(f"request is not usable: {error.detail}; correct it")
    return problem(ours, request.state.request_id)
