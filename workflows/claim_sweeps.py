"""Large payloads that no run needs any more go from the folder of claims: every worker looks now and then.

A run needs claims that were made since it was started, or by whoever started it, just before. So what is older than the oldest
run that Temporal still has, open or within its retention, is of runs that are gone. Schedules have claims, too, and are
no runs: each of their times reads them, which counts as a use.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Final

from temporalio import client as temporal
from temporalio import service

from mainspring.core import errors, settings
from mainspring.core.client import claims, payloads

__all__ = ["MARGIN", "sweep", "sweep_once"]

_LOG: Final = logging.getLogger(__name__)
_PAUSE: Final = timedelta(hours=6)
#: Between a claim and the start of the run that it is for, and between the clocks of Temporal, workers and the folder.
MARGIN: Final = timedelta(days=1)


async def sweep(client: temporal.Client, where: settings.WorkflowSettings) -> None:
    """At once, and every six hours until it is cancelled. Whoever is away is asked the next time."""
    store = payloads.store_of(where)
    if store is None or not where.claim_days:
        return
    while True:
        try:
            removed = await sweep_once(client, store, timedelta(days=where.claim_days), datetime.now(UTC))
            if removed:
                _LOG.info("removed %d claims of payloads that no run needs", removed)
        except (errors.MainspringError, service.RPCError) as error:
            _LOG.warning("claims of payloads are not swept: %s", error)
        await asyncio.sleep(_PAUSE.total_seconds())


async def sweep_once(
    client: temporal.Client, store: claims.ClaimStore, unused: timedelta, now: datetime
) -> int:
    """Remove what was not used for so long, at least `MARGIN`, and is older than every run; how many. Safe to repeat, and for
    several at once. Errors: DependencyDown for the folder; RPCError where Temporal is away, and then nothing goes."""
    before = now - max(unused, MARGIN)
    async for run in client.list_workflows(f'StartTime < "{(before + MARGIN).isoformat()}"'):
        before = min(before, run.start_time - MARGIN)
    return await asyncio.to_thread(store.sweep, before.timestamp())
