"""Activities called as a worker calls them."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from mainspring.core import errors
from mainspring.workflows import errors as temporal_errors

T = TypeVar("T")


def do(step: Awaitable[T]) -> T:
    async def main() -> T:
        return await step

    return asyncio.run(main())


def refused(step: Callable[[], Any]) -> errors.MainspringError:
    with pytest.raises(ApplicationError) as caught:
        step()
    return temporal_errors.from_failure(caught.value)


def in_execution(name: str, step: Callable[..., Awaitable[T]], asked: Any) -> T:
    """`step` as an activity of that execution of its workflow."""
    environment = ActivityEnvironment()
    environment.info = dataclasses.replace(environment.info, workflow_run_id=name)
    return asyncio.run(environment.run(step, asked))
