"""Work of the control API that nobody awaits: done again and again, whatever it meets."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

__all__ = ["again_forever"]


async def again_forever(
    work: Callable[[], Awaitable[object]], *, every_seconds: float, failed: str, log: logging.Logger
) -> None:
    """At once and after each pause, until it is cancelled. Work that raises is told by `log` as `failed`, and tried again."""
    while True:
        try:
            await work()
        # The edge of a task that nobody awaits: one that ends would be missed by nobody.
        except Exception:
            log.exception("%s; next try in %.0f s", failed, every_seconds)
        await asyncio.sleep(every_seconds)
