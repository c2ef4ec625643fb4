"""What jobs of runs that have ended used, and no record has, goes on record: of those that were cancelled, above all.

Every worker looks, as it does for jobs that outlive their run (`reaping.py`): the one that followed the job may be gone.
"""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import Final

from temporalio import client as temporal
from temporalio import service

from mainspring.core import errors, settings
from mainspring.core.contracts import training
from mainspring.workflows import budgets
from mainspring.workflows.ray_jobs import client as ray_client
from mainspring.workflows.ray_jobs import paying, unbilled

__all__ = ["LOOK_SECONDS", "bill", "bill_ended"]

_LOG: Final = logging.getLogger(__name__)

#: Between two looks: a run that was cancelled is on record so much later, and what is at work is asked of Temporal so often.
LOOK_SECONDS: Final = 5.0
#: Of a worker's time that looking takes at most.
_MOST_OF_THE_TIME: Final = 0.1


async def bill(
    client: temporal.Client, s: settings.RaySettings, claims: unbilled.Unbilled, ours: budgets.Budgets
) -> None:
    """Until it is cancelled. Whoever is away is asked again."""
    pause, is_told = LOOK_SECONDS, False
    while True:
        await asyncio.sleep(pause)
        begun = time.monotonic()
        try:
            if await asyncio.to_thread(claims.runs):
                async with ray_client.RayJobs.connect(s.dashboard_url, s.token_file) as jobs:
                    await bill_ended(client, jobs, claims, ours)
            is_told = False
        except errors.MissingTool:
            pass
        except (errors.MainspringError, service.RPCError) as error:
            if not is_told:
                _LOG.warning("what ended runs used is not on record yet: %s", error)
            is_told = True
        pause = max(LOOK_SECONDS, (time.monotonic() - begun) / _MOST_OF_THE_TIME)


async def bill_ended(
    client: temporal.Client,
    jobs: ray_client.RayJobs,
    claims: unbilled.Unbilled,
    ours: budgets.Budgets,
) -> list[str]:
    """Send what is owed for runs that have ended; keys of the records. Safe to repeat, and for several at once.

    A job that is still at work is waited for: `reaping.py` stops it.
    Errors: those of `RayJobs`; RPCError where Temporal is away; DependencyDown where the control API is.
    """
    sent: list[str] = []
    for run in await asyncio.to_thread(claims.runs):
        with claims.taken(run) as found:
            if not found or not await _has_ended(client, next(iter(found.values())).run_id):
                continue
            for path, claim in found.items():
                records = await _counted(jobs, claims, path, claim, ours)
                if records is None:
                    continue
                await ours.record(records)
                sent += [one.usage_key for one in records]
                await asyncio.to_thread(claims.close, path)
    return sent


async def _counted(
    jobs: ray_client.RayJobs,
    claims: unbilled.Unbilled,
    path: Path,
    claim: unbilled.Claim,
    ours: budgets.Budgets,
) -> tuple[training.UsageRecord, ...] | None:
    """None while a job of it is at work."""
    if claim.records is not None:
        return claim.records
    last = ray_client.Job(submission_id=claim.base_id, status=ray_client.STOPPED)
    attempt = 0
    while (job := await jobs.find(f"{claim.base_id}-{attempt}")) is not None:
        if not job.is_ended:
            return None
        last, attempt = job, attempt + 1

    def count() -> tuple[training.UsageRecord, ...]:
        pays = paying.Paying(
            ours, claim, claim.book, claim.base_id, claim.service, "", claim.gpus, claim.capacity
        )
        owed = pays.records(last, f"{claim.base_id}/ended")
        # Without CPU time of its own it ran and was paid, or never ran.
        records = tuple(owed) if owed[0].consumed_quantity else ()
        claims.write(path, claim.model_copy(update={"records": records}))
        return records

    return await asyncio.to_thread(count)


async def _has_ended(client: temporal.Client, run_id: str) -> bool:
    """One that Temporal has forgotten ended long ago: a step of it wrote the claim."""
    try:
        found = await client.get_workflow_handle(run_id).describe()
    except service.RPCError as error:
        if error.status is service.RPCStatusCode.NOT_FOUND:
            return True
        raise
    return found.status is not temporal.WorkflowExecutionStatus.RUNNING
