"""`python -m mainspring.bench.workflows.held_step`: workers whose one step has its worker for as long as it may.

They are set up as the shipped one, and are killed: what is asked is how soon another has the step (`recoveries.py`). One for each
path that is read from stdin, which is its ready file; forked from a process that has imported everything, because what an import
costs is not asked here.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Final

from temporalio import activity, workflow
from temporalio.worker import Worker

with workflow.unsafe.imports_passed_through():
    from mainspring.core import settings
    from mainspring.core.contracts.base import Message
    from mainspring.workflows import heartbeat, options
    from mainspring.workflows import worker as shipped

STEP: Final = "bench.hold_a_step"
_LOOK_SECONDS: Final = 0.2


class Held(Message):
    """Each attempt of the step adds `[unix seconds, pid, workflow id, attempt]` to `log`; it ends when `over` is there."""

    log: Path
    over: Path


@activity.defn(name=STEP)
async def hold(asked: Held) -> None:
    """As ours are: a beat beside the work."""
    async with heartbeat.beating():
        info = activity.info()
        with asked.log.open("a") as file:
            file.write(json.dumps([time.time(), os.getpid(), info.workflow_id, info.attempt]) + "\n")
        while not asked.over.exists():
            await asyncio.sleep(_LOOK_SECONDS)


@workflow.defn(name="bench.HeldStep")
class HeldStep:
    @workflow.run
    async def run(self, asked: Held) -> None:
        await workflow.execute_activity(STEP, asked, **options.LONG)


async def _work(ready: Path) -> None:
    in_force = settings.load()
    client = await shipped.connect(in_force)
    async with Worker(
        client,
        task_queue=in_force.workflow.task_queue,
        workflows=[HeldStep],
        activities=[hold],
        max_heartbeat_throttle_interval=options.BEAT_PAUSE,
        sticky_queue_schedule_to_start_timeout=shipped.STICKY,
    ):
        new = ready.with_suffix(".new")
        new.write_text(str(os.getpid()))
        new.rename(ready)
        await asyncio.Event().wait()


def main() -> None:
    """Until stdin ends; its workers live on."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    for line in iter(sys.stdin.readline, ""):
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.close(0)
            asyncio.run(_work(Path(line.strip())))


if __name__ == "__main__":
    main()
