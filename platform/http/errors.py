"""The one table from error codes and kinds to HTTP, and their form: RFC 9457 problem details."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException

from mainspring.core import errors

_LOG: Final = logging.getLogger(__name__)

#: By code; what is not here goes by kind.
STATUS_BY_CODE: Final[Mapping[str, int]] = {
    "invalid_request": 400,
    "not_found": 404,
    "conflict": 409,
    "precondition_failed": 412,
    "precondition_required": 428,
    "unauthenticated": 401,
    "deadline_exceeded": 504,
}
STATUS_BY_KIND: Final[Mapping[errors.Kind, int]] = {
    errors.Kind.REJECTED: 422,
    errors.Kind.DENIED: 403,
    errors.Kind.BUSY: 429,
    errors.Kind.UNAVAILABLE: 503,
    errors.Kind.MISCONFIGURED: 500,
    errors.Kind.BROKEN: 500,
}


def status_of(error: errors.MainspringError) -> int:
    return STATUS_BY_CODE.get(error.code, STATUS_BY_KIND[error.kind])


def problem(error: errors.MainspringError, status: int | None = None) -> Response[dict[str, Any]]:
    """The error on the wire: the members of problem details, and all of `errors.to_wire` beside them."""
    chosen = status or status_of(error)
    headers = {}
    if chosen == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, errors.Overloaded):
        headers["Retry-After"] = str(max(1, round(error.retry_after_seconds)))
    body = {
        "type": f"urn:mainspring:error:{error.code}",
        "title": error.code.replace("_", " "),
        "status": chosen,
        "detail": error.message,
        **errors.to_wire(error),
    }
    return Response(body, status_code=chosen, headers=headers, media_type="application/problem+json")


def on_mainspring_error(
    request: Request[Any, Any, Any], error: errors.MainspringError
) -> Response[dict[str, Any]]:
    if status_of(error) >= 500:
        _LOG.error("%s %s: %s", request.method, request.url.path, error.message, exc_info=error)
    return problem(error)


def on_http_exception(_request: Request[Any, Any, Any], error: HTTPException) -> Response[dict[str, Any]]:
    """The framework's own refusals: no such route, wrong method, malformed body or query."""
    if isinstance(error, ValidationException):
        return problem(_invalid(error))
    if error.status_code == 404:
        return problem(errors.NotFound("no such path; see /schema", resource="path"))
    return problem(errors.InvalidRequest(f"{error.detail.lower()}; see /schema"), error.status_code)


def on_unknown_exception(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, Any]]:
    """Our own mistake: the cause goes to the log, not to the caller."""
    _LOG.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return problem(
        errors.InvariantViolated("the control API failed; its log has the cause", where="platform.http")
    )


def _invalid(error: ValidationException) -> errors.InvalidRequest:
    found = error.extra if isinstance(error.extra, list) else []
    parts = [f"`{e.get('key', '')}`: {e.get('message', '')}" for e in found if isinstance(e, dict)]
    first = found[0].get("key", "") if found and isinstance(found[0], dict) else ""
    text = "; ".join(parts) or error.detail
    return errors.InvalidRequest(f"request is not valid: {text}; see /schema", field=str(first))


HANDLERS: Final[dict[int | type[Exception], Any]] = {
    errors.MainspringError: on_mainspring_error,
    HTTPException: on_http_exception,
    Exception: on_unknown_exception,
}
