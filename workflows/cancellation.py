"""Cancellation inside workflows: seen where an activity would swallow it, and kept from half an undo."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def notice() -> None:
    """An activity that ends well while we wait for its cancellation swallows the cancellation: raise it here."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def through(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end, whatever cancellation arrives meanwhile: a half-undone change helps nobody."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        # Temporal cancels a run once; a loop here would also swallow the eviction of a cached run, and hang.
        return await task
