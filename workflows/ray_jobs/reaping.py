"""Jobs that outlive their run are stopped: who should have stopped them died, or was taken for dead, while the run was cancelled.

A step that is cancelled stops its job. Whose worker dies meanwhile, or is too busy to be heard of in time, is not tried again, as
nobody wants it any more: its run ends, and the job would have its cores for ever. So every worker looks now and then.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

from temporalio import client as temporal
from temporalio import service

from mainspring.core import errors, settings
from mainspring.workflows.ray_jobs.client import RayJobs

__all__ = ["LOOK_SECONDS", "reap", "stop_orphans"]

_LOG: Final = logging.getLogger(__name__)

#: Between two looks. Ray tells of all jobs that it remembers: of many thousands a look takes long, and the next is then later.
LOOK_SECONDS: Final = 3.0
#: At a load of 31 a look took 1.4 s; one in fifty made of it a pause of 70 s, in which four orphans had their cores.
_MOST_OF_THE_TIME: Final = 0.25


async def reap(client: temporal.Client, s: settings.RaySettings) -> None:
    """Until it is cancelled. Whoever is away is asked again; a worker without Ray has nothing to look for."""
    jobs, pause, is_told = None, LOOK_SECONDS, False
    try:
        while True:
            await asyncio.sleep(pause)
            begun = time.monotonic()
            try:
                jobs = jobs or RayJobs.connect(s.dashboard_url, s.token_file)
                await stop_orphans(client, jobs)
                is_told = False
            except errors.MissingTool:
                pass
            except (errors.MainspringError, service.RPCError) as error:
                if not is_told:
                    _LOG.warning("jobs without a run are not looked for: %s", error)
                is_told = True
            pause = max(LOOK_SECONDS, (time.monotonic() - begun) / _MOST_OF_THE_TIME)
    finally:
        if jobs is not None:
            await jobs.close()


async def stop_orphans(client: temporal.Client, jobs: RayJobs) -> list[str]:
    """Ask every job at work whose run has ended to stop; which they were. Safe to repeat, and for several at once.

    A job that names no run, or one that this Temporal does not know, is somebody else's and stays.
    Errors: those of `RayJobs`; RPCError where Temporal is away.
    """
    stopped = []
    ended: dict[str, bool] = {}
    for job in await jobs.all():
        run_id = (job.metadata or {}).get("run_id")
        if job.is_ended or not run_id:
            continue
        if run_id not in ended:
            ended[run_id] = await _has_ended(client, run_id)
        if ended[run_id]:
            await jobs.stop(job.submission_id)
            _LOG.warning("stopped job `%s`: its run `%s` has ended", job.submission_id, run_id)
            stopped.append(job.submission_id)
    return stopped


async def _has_ended(client: temporal.Client, run_id: str) -> bool:
    try:
        found = await client.get_workflow_handle(run_id).describe()
    except service.RPCError as error:
        if error.status is service.RPCStatusCode.NOT_FOUND:
            return False
        raise
    return found.status is not temporal.WorkflowExecutionStatus.RUNNING
