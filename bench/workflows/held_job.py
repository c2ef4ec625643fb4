"""A workflow whose one step follows a Ray job that would run for ever: what a cancellation has to end."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Final

from temporalio import activity, workflow

with workflow.unsafe.imports_passed_through():
    from mainspring.core import errors
    from mainspring.core.contracts.base import Message
    from mainspring.workflows import errors as temporal_errors
    from mainspring.workflows import options
    from mainspring.workflows.ray_jobs import attach, client

STEP: Final = "bench.hold_a_job"
#: The job says which process it is and then has its resources until it is ended.
_JOB: Final = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(3600)"


class Held(Message):
    """`pid_file` is where the job tells its process id."""

    run_id: str
    pid_file: Path


class Steps:
    """The step as trainings have it: the same follower of Ray's jobs with its usual pause between looks."""

    def __init__(self, url: str, token_file: Path) -> None:
        self._url, self._token_file = url, token_file

    @activity.defn(name=STEP)
    async def hold(self, asked: Held) -> None:
        command = shlex.join([sys.executable, "-c", _JOB, str(asked.pid_file)])
        work: attach.Work[None] = attach.Work(
            base_id=f"{asked.run_id}-{attach.family()}",
            entrypoint=lambda _: command,
            answer=_nothing,
            metadata={"run_id": asked.run_id},
            timeout_seconds=3600.0,
        )
        with temporal_errors.typed():
            async with client.RayJobs.connect(self._url, self._token_file) as jobs:
                await attach.run_to_end(jobs, work)


def _nothing(attempt: int) -> None:
    raise errors.NotFound(f"attempt {attempt} leaves nothing", resource="answer", name=str(attempt))


@workflow.defn(name="bench.HeldJob")
class HeldJob:
    @workflow.run
    async def run(self, asked: Held) -> None:
        await workflow.execute_activity(STEP, asked, **options.LONG)
