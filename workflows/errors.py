"""Our errors as Temporal failures: the one place where an error kind becomes a retry flag."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from temporalio.exceptions import ApplicationError

from mainspring.core import errors
from mainspring.core.client import failures

from_failure = failures.from_failure

#: Some libraries give their own error with these words and no number.
_FULL: Final = ("No space left on device", "Disk quota exceeded")
#: Somebody has to make room: four attempts at seconds' distance would be over before.
_FULL_DELAY: Final = timedelta(seconds=20)


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
    """The edge of an activity: our errors leave the block as Temporal failures, and so does a disk that is full."""
    try:
        yield
    except errors.MainspringError as error:
        raise to_failure(error) from error
    except Exception as error:
        if not _is_full(error):
            raise
        down = errors.DependencyDown(
            f"no space left on the worker's disk: {error}; free some, and the step is tried again",
            name="disk",
        )
        raise ApplicationError(
            down.message, errors.to_wire(down), type=down.code, next_retry_delay=_FULL_DELAY
        ) from error


def _is_full(error: Exception) -> bool:
    number = error.errno if isinstance(error, OSError) else None
    return number in (errno.ENOSPC, errno.EDQUOT) or any(words in str(error) for words in _FULL)
