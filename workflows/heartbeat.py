"""Heartbeats beside an activity's work, so that a dead worker is noticed in seconds, also in long steps."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import AsyncIterator
from typing import Final

from pydantic import ValidationError
from temporalio import activity

from mainspring.core.contracts import progress

_LOG: Final = logging.getLogger(__name__)

#: In each timeout: a busy worker has four fifths of it to get one through. A longer timeout with fewer of them would be
#: as patient, and would notice a dead one later.
BEATS: Final = 5


class Beats:
    """What the heartbeats of an activity say: how far its work is. One event loop."""

    def __init__(self, before: progress.StepProgress | None = None) -> None:
        self.progress = before
        """As it was told last. Until this attempt tells, what the one before it did: a beat without details would forget it."""
        self.blocks = 0
        """Under way: the first begins to beat, and the last ends it, whichever that is."""
        self.task: asyncio.Task[None] | None = None

    def tell(self, found: progress.StepProgress) -> None:
        """From the next beat on. Never waits."""
        self.progress = found


#: Of the activity that this task works for: a block within a block beats no second time, and one after a block goes on with
#: what that said.
_CURRENT: Final[contextvars.ContextVar[Beats | None]] = contextvars.ContextVar("beats", default=None)


@contextlib.asynccontextmanager
async def beating() -> AsyncIterator[Beats]:
    """Five heartbeats in each timeout while the block runs; blocking work in it goes through `asyncio.to_thread`.

    Outside an activity, or without a heartbeat timeout, nothing beats.
    """
    beats = _CURRENT.get() or Beats(_before())
    timeout = activity.info().heartbeat_timeout if activity.in_activity() else None
    if timeout is None:
        yield beats
        return
    _CURRENT.set(beats)
    beats.blocks += 1
    if beats.task is None:
        beats.task = asyncio.create_task(_beat(beats, timeout.total_seconds() / BEATS))
    try:
        yield beats
    finally:
        beats.blocks -= 1
        if not beats.blocks:
            beats.task.cancel()
            beats.task = None


def _before() -> progress.StepProgress | None:
    """What the attempt before this one told last; None where there was none, or a release that told nothing."""
    details = activity.info().heartbeat_details if activity.in_activity() else ()
    if not details:
        return None
    try:
        found = progress.StepProgress.model_validate(details[0])
    except ValidationError:
        return None
    _LOG.info("attempt %d goes on: %s", activity.info().attempt, found.words)
    return found


async def _beat(beats: Beats, pause_seconds: float) -> None:
    while True:
        activity.heartbeat(*(() if beats.progress is None else (beats.progress,)))
        await asyncio.sleep(pause_seconds)
