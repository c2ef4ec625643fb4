"""The table from errors to HTTP."""

from __future__ import annotations

import json

import pytest

from mainspring.core import errors
from mainspring.serving.http import errors as http_errors


@pytest.mark.parametrize("code", sorted(errors.BY_CODE))
def test_every_error_has_a_status_of_its_kind_and_comes_back(code: str) -> None:
    error = errors.BY_CODE[code]("something is wrong; mend it")
    response = http_errors.problem(error, "req-1")
    wire = json.loads(bytes(response.body))
    caller = error.kind in (errors.Kind.REJECTED, errors.Kind.DENIED) or code == "rate_limited"
    assert (400 <= response.status_code < 500) is caller
    assert type(errors.from_wire(wire)) is type(error)
    assert (wire["request_id"], wire["type"]) == ("req-1", f"urn:mainspring:error:{code}")


@pytest.mark.parametrize(
    ("error", "status", "header", "value"),
    [
        (errors.Overloaded("full", retry_after_seconds=2.1), 503, "retry-after", "3"),
        (errors.Overloaded("full", retry_after_seconds=0.0), 503, "retry-after", "1"),
        (errors.RateLimited("enough", retry_after_seconds=0.2), 429, "retry-after", "1"),
        (errors.DependencyDown("down"), 503, "retry-after", "1"),
        (errors.DeadlineExceeded("late"), 504, "retry-after", "1"),
        (errors.Unauthenticated("who"), 401, "www-authenticate", "Bearer"),
    ],
)
def test_headers_tell_when_to_come_back_or_how_to_prove_who_asks(
    error: errors.MainspringError, status: int, header: str, value: str
) -> None:
    response = http_errors.problem(error, "req-1")
    assert (response.status_code, response.headers[header]) == (status, value)


def test_a_special_status_travels_under_the_code_of_its_kind() -> None:
    response = http_errors.problem(http_errors.BodyTooLarge("too large", field="body"), "req-1")
    back = errors.from_wire(json.loads(bytes(response.body)))
    assert (response.status_code, type(back)) == (413, errors.InvalidRequest)
