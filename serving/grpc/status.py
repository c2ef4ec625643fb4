"""The one table from errors to gRPC status codes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, NoReturn

import grpc
from mainspring.core import errors

#: The first class of an error's MRO that is here decides.
CODES: Final[Mapping[type, grpc.StatusCode]] = {
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.Conflict: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Rejected: grpc.StatusCode.INVALID_ARGUMENT,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.Denied: grpc.StatusCode.PERMISSION_DENIED,
    errors.Busy: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.MainspringError: grpc.StatusCode.INTERNAL,
}


def code_of(error: errors.MainspringError) -> grpc.StatusCode:
    return next(CODES[cls] for cls in type(error).__mro__ if cls in CODES)


async def abort(context: Any, error: errors.MainspringError) -> NoReturn:
    """End the call with the error; its code, and when to come back, are trailing metadata."""
    trailing: list[tuple[str, str | bytes]] = [("x-error-code", error.code)]
    if isinstance(error, errors.Overloaded):
        trailing.append(("retry-after", str(max(1, math.ceil(error.retry_after_seconds)))))
    await context.abort(code_of(error), error.message, tuple(trailing))
    raise AssertionError("abort returns never")
