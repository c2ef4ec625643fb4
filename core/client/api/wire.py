"""What both ways share: how a request is written, how an answer is read, and when a request is sent once more. No I/O."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from mainspring.core import errors, ids

M = TypeVar("M", bound=BaseModel)

#: Waits before the second try and the third, in seconds, each times 0.5 to 1.5: callers that failed together come apart.
_WAITS: Final = (0.2, 0.8)
#: Longest wait that a server may ask for.
_MAX_WAIT_SECONDS: Final = 30.0
#: How many times in a row a change is tried anew on what others made of it meanwhile.
RACES: Final = 10


@dataclass(frozen=True)
class Asked:
    """One request. `is_keyed`: a change that must not be made twice by being sent twice, and has no key of its own."""

    method: str
    path: str
    body: Any = None
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    is_keyed: bool = False

    def with_key(self) -> Asked:
        """With a fresh `Idempotency-Key`, which every try of it has."""
        if not self.is_keyed:
            return self
        headers = {**self.headers, "Idempotency-Key": ids.new_id("key")}
        return Asked(self.method, self.path, self.body, self.params, headers, self.is_keyed)


def if_match(version: str) -> dict[str, str]:
    """`*` is any version; empty: of none that was looked at."""
    return {"If-Match": version if version == "*" else f'"{version}"'} if version else {}


def body_of(asked: BaseModel | None) -> Any:
    return None if asked is None else asked.model_dump(mode="json")


def read(url: str, answer: type[M], body: Any) -> M:
    """Errors: Broken for what is not the control API's."""
    try:
        return answer.model_validate(body)
    except ValidationError as error:
        raise errors.Broken(
            f"`{url}` answered what is no `{answer.__name__}`; is it a control API of this version?"
        ) from error


def content_of(url: str, answer: httpx.Response) -> Any:
    """The document that was answered. Errors: what was refused, rebuilt from its code."""
    try:
        body = answer.json()
    except ValueError:
        body = {}
    if answer.is_success:
        return body
    if isinstance(body, dict) and "code" in body:
        raise errors.from_wire(body)
    raise errors.Broken(f"`{url}` answered {answer.status_code} without a reason of ours; see its log")


def failure_of(url: str, error: httpx.HTTPError) -> errors.Unavailable:
    """What is said of no answer at all."""
    if isinstance(error, httpx.TimeoutException):
        return errors.DeadlineExceeded(
            f"the control API at `{url}` did not answer in time; see `mainspring status`", stage="control"
        )
    return errors.DependencyDown(
        f"no control API at `{url}`: {error}; start it with `mainspring up`", name="control"
    )


def wait_before(tries: int, retries: int, error: errors.MainspringError) -> float | None:
    """Seconds after which a request is sent once more; None: `error` is its answer.

    A change has a key, so that it is made once however often it is sent. Its first try may still be at work: that is told
    by a conflict about the key, and waited for.
    """
    is_at_work = tries > 1 and isinstance(error, errors.Conflict) and error.resource == "idempotency key"
    if tries > retries or not (error.retryable or is_at_work):
        return None
    wait = _WAITS[min(tries, len(_WAITS)) - 1] * random.uniform(0.5, 1.5)
    asked = error.retry_after_seconds if isinstance(error, errors.Overloaded) else 0.0
    return min(max(wait, asked), _MAX_WAIT_SECONDS)


def period(since: str, until: str) -> dict[str, str]:
    return {name: at for name, at in (("since", since), ("until", until)) if at}
