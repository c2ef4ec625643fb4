"""Heartbeats beside an activity's work, so that a dead worker is noticed in seconds, also in long steps."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from temporalio import activity


@contextlib.asynccontextmanager
async def beating() -> AsyncIterator[None]:
    """Three heartbeats in each timeout while the block runs; blocking work in it goes through `asyncio.to_thread`.

    Outside an activity, or without a heartbeat timeout, nothing beats.
    """
    timeout = activity.info().heartbeat_timeout if activity.in_activity() else None
    if timeout is None:
        yield
        return
    task = asyncio.create_task(_beat(timeout.total_seconds() / 3))
    try:
        yield
    finally:
        task.cancel()


async def _beat(pause_seconds: float) -> None:
    while True:
        activity.heartbeat()
        await asyncio.sleep(pause_seconds)
