"""From a cancellation to free resources: runs that hold a Ray job are cancelled, and every process and job of them is counted."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
from temporalio import client as temporal
from temporalio.worker import Worker

from mainspring.bench.workflows import held_job, servers
from mainspring.core import settings
from mainspring.core.client.workflows import WorkflowClient
from mainspring.platform.stack import processes
from mainspring.workflows import options

__all__ = ["row"]

_QUEUE: Final = "held"
_LOOK_SECONDS: Final = 0.01
_GIVE_UP_SECONDS: Final = 120.0


def row(*, cancels: int, at_once: int) -> dict[str, Any]:
    """Seconds from `cancel` to the end of the job's process, and to the end of the run, and what was left."""
    with servers.running("temporal", "ray") as s:
        return asyncio.run(_measured(s, cancels, at_once))


async def _measured(s: settings.Settings, cancels: int, at_once: int) -> dict[str, Any]:
    client = await servers.connected(s)
    steps = held_job.Steps(s.ray.dashboard_url, s.ray.token_file)
    seen: list[tuple[float, float]] = []
    async with Worker(
        client,
        task_queue=_QUEUE,
        workflows=[held_job.HeldJob],
        activities=[steps.hold],
        max_heartbeat_throttle_interval=options.BEAT_PAUSE,
    ):
        while len(seen) < cancels:
            count = min(at_once, cancels - len(seen))
            first = len(seen)
            seen += await asyncio.gather(
                *(_one(client, s.stack.state_dir, f"run_held{first + i}") for i in range(count))
            )
    freed, ended = (np.array(column) for column in zip(*seen, strict=True))
    leaked = [job for job in await _jobs(s) if job["status"] in ("PENDING", "RUNNING")]
    return {
        "name": "cancel to resources free",
        "correct": True,
        "cancels": cancels,
        "at_once": at_once,
        "freed_p50_seconds": float(np.percentile(freed, 50)),
        "freed_p99_seconds": float(np.percentile(freed, 99)),
        "freed_max_seconds": float(freed.max()),
        "ended_p99_seconds": float(np.percentile(ended, 99)),
        "leaked": len(leaked),
    }


async def _one(client: temporal.Client, folder: Path, run_id: str) -> tuple[float, float]:
    """Errors: TimeoutError where the job does not start, or a process outlives its cancellation by two minutes."""
    ours, pid_file = WorkflowClient(client, _QUEUE), folder / f"{run_id}.pid"
    handle = await client.start_workflow(
        held_job.HeldJob.run, held_job.Held(run_id=run_id, pid_file=pid_file), id=run_id, task_queue=_QUEUE
    )
    async with asyncio.timeout(_GIVE_UP_SECONDS):
        while not (pid_file.exists() and pid_file.read_text()):
            await asyncio.sleep(_LOOK_SECONDS)
    pid = int(pid_file.read_text())
    began = time.monotonic()
    await ours.cancel(run_id)
    async with asyncio.timeout(_GIVE_UP_SECONDS):
        while processes.is_alive(pid):
            await asyncio.sleep(_LOOK_SECONDS)
        freed = time.monotonic() - began
        try:
            await handle.result()
        except temporal.WorkflowFailureError:
            return freed, time.monotonic() - began
    raise AssertionError(f"run `{run_id}` was cancelled and ended well")


async def _jobs(s: settings.Settings) -> list[dict[str, Any]]:
    token = s.ray.token_file.read_text().strip()
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {token}"}, trust_env=False) as http:
        answer = await http.get(f"{s.ray.dashboard_url}/api/jobs/", timeout=30)
    jobs: list[dict[str, Any]] = answer.json()
    return jobs
