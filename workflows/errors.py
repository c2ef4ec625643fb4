"""Our errors as Temporal failures: the one place where an error kind becomes a retry flag."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import timedelta

from temporalio.exceptions import ApplicationError

from mainspring.core import errors
from mainspring.core.client import failures

from_failure = failures.from_failure


def to_failure(error: errors.MainspringError) -> ApplicationError:
    """`error` as what an activity, workflow or update raises: type is the code, details are the wire form.

    Retryable errors stay retryable; an Overloaded one is tried again after its own `retry_after_seconds`.
    """
    delay = timedelta(seconds=error.retry_after_seconds) if isinstance(error, errors.Overloaded) else None
    return ApplicationError(
        error.message,
        errors.to_wire(error),
        type=error.code,
        non_retryable=not error.retryable,
        next_retry_delay=delay,
    )


@contextlib.contextmanager
def typed() -> Iterator[None]:
    """The edge of an activity: our errors leave the block as Temporal failures."""
    try:
        yield
    except errors.MainspringError as error:
        raise to_failure(error) from error
