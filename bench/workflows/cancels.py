"""From a cancellation to free resources: runs that hold a Ray job are cancelled, and every process and job of them is counted.

A thousand take longer than one sitting, so they are measured in pieces (`pieces.py`), each on a stack of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
from temporalio import client as temporal
from temporalio.worker import Worker

from mainspring.bench.workflows import held_job, pieces, servers
from mainspring.core import settings
from mainspring.core.client.workflows import WorkflowClient
from mainspring.platform.stack import processes
from mainspring.workflows import options
from mainspring.workflows.ray_jobs import reaping

__all__ = ["merged", "piece", "row"]

_ROW: Final = "cancel to resources free"
_QUEUE: Final = "held"
_LOOK_SECONDS: Final = 0.01
_GIVE_UP_SECONDS: Final = 120.0


def row(*, cancels: int, at_once: int) -> dict[str, Any]:
    """One sitting."""
    return merged([piece(cancels=cancels, at_once=at_once)])


def piece(*, cancels: int, at_once: int, seconds: float = math.inf) -> dict[str, Any]:
    """For each cancel the seconds until its job's process had ended, and until its run had; and what was left at the end.

    None begins after so many `seconds`: on a busy machine a piece then has fewer.
    """
    with servers.running("temporal", "ray") as s:
        return pieces.stamped(asyncio.run(_measured(s, cancels, at_once, seconds)))


def merged(measured: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The row over all cancels of all pieces."""
    freed = np.array([seconds for p in measured for seconds, _ in p["cancels"]])
    ended = np.array([seconds for p in measured for _, seconds in p["cancels"]])
    return {
        "name": _ROW,
        "correct": True,
        "cancels": len(freed),
        "at_once": sorted({p["at_once"] for p in measured}),
        "freed_p50_seconds": float(np.percentile(freed, 50)),
        "freed_p99_seconds": float(np.percentile(freed, 99)),
        "freed_max_seconds": float(freed.max()),
        "ended_p99_seconds": float(np.percentile(ended, 99)),
        "leaked": sum(p["leaked"] for p in measured),
        "pieces": pieces.told(measured, "cancels"),
    }


async def _measured(s: settings.Settings, cancels: int, at_once: int, seconds: float) -> dict[str, Any]:
    client = await servers.connected(s)
    steps = held_job.Steps(s.ray.dashboard_url, s.ray.token_file)
    seen: list[tuple[float, float]] = []
    until = time.monotonic() + seconds
    async with Worker(
        client,
        task_queue=_QUEUE,
        workflows=[held_job.HeldJob],
        activities=[steps.hold],
        max_heartbeat_throttle_interval=options.BEAT_PAUSE,
    ):
        reaper = asyncio.create_task(reaping.reap(client, s.ray))  # as a shipped worker has it
        while len(seen) < cancels and (not seen or time.monotonic() < until):
            count = min(at_once, cancels - len(seen))
            first = len(seen)
            runs = (f"run_held{first + i}" for i in range(count))
            seen += await asyncio.gather(*(_one(client, s.stack.state_dir, run_id) for run_id in runs))
        reaper.cancel()
    held = [job for job in await _jobs(s) if job["status"] in ("PENDING", "RUNNING")]
    alive = [f for f in s.stack.state_dir.glob("run_held*.pid") if processes.is_alive(int(f.read_text()))]
    return {
        "row": _ROW,
        "at_once": at_once,
        "cancels": [[round(seconds, 4) for seconds in pair] for pair in seen],
        "leaked": max(len(held), len(alive)),  # in Ray's books, and as processes
    }


async def _one(client: temporal.Client, folder: Path, run_id: str) -> tuple[float, float]:
    """What outlives its cancellation by two minutes has these, and is counted at the end.

    Errors: TimeoutError where the job does not start; AssertionError where the run ends well.
    """
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
    while processes.is_alive(pid) and time.monotonic() - began < _GIVE_UP_SECONDS:
        await asyncio.sleep(_LOOK_SECONDS)
    freed = time.monotonic() - began
    with contextlib.suppress(TimeoutError, temporal.WorkflowFailureError):
        async with asyncio.timeout(_GIVE_UP_SECONDS):
            await handle.result()
        raise AssertionError(f"run `{run_id}` was cancelled and ended well")
    return freed, time.monotonic() - began


async def _jobs(s: settings.Settings) -> list[dict[str, Any]]:
    token = s.ray.token_file.read_text().strip()
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {token}"}, trust_env=False) as http:
        answer = await http.get(f"{s.ray.dashboard_url}/api/jobs/", timeout=30)
    jobs: list[dict[str, Any]] = answer.json()
    return jobs
