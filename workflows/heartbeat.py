"""Heartbeats beside an activity's work, so that a dead worker is noticed in seconds, also in long steps."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

from temporalio import activity

#: In each timeout: a busy worker has four fifths of it to get one through. A longer timeout with fewer of them would be
#: as patient, and would notice a dead one later.
BEATS: Final = 5


@contextlib.asynccontextmanager
async def beating() -> AsyncIterator[None]:
    """Five heartbeats in each timeout while the block runs; blocking work in it goes through `asyncio.to_thread`.

    Outside an activity, or without a heartbeat timeout, nothing beats.
    """
    timeout = activity.info().heartbeat_timeout if activity.in_activity() else None
    if timeout is None:
        yield
        return
    task = asyncio.create_task(_beat(timeout.total_seconds() / BEATS))
    try:
        yield
    finally:
        task.cancel()


async def _beat(pause_seconds: float) -> None:
    while True:
        activity.heartbeat()
        await asyncio.sleep(pause_seconds)
