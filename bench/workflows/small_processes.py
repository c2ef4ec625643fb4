"""Hundreds of small processes at once on one worker: all end well, and its memory does not grow with how many there were.

The worker is the shipped one; each process is an `EnforceRetention` of a project of its own, whose one step asks the control API for
the project's legal holds and writes a report.
"""

from __future__ import annotations

import asyncio
import signal
import statistics
import threading
import time
from pathlib import Path
from typing import Any, Final

from temporalio import client as temporal

from mainspring.bench.serving import machine
from mainspring.bench.workflows import servers
from mainspring.core import identity, settings
from mainspring.core.client import control as control_client
from mainspring.core.contracts import control, retention

__all__ = ["row"]

_SAMPLE_SECONDS: Final = 0.25

#: Starts on their way: a development server takes some dozens a second, and a start that waits too long is refused.
_STARTING: Final = 8


def row(*, count: int, waves: int) -> dict[str, Any]:
    """`waves` times `count` at once. Memory is flat if the last wave leaves no more than the one in the middle, but for 5 %."""
    with servers.running("temporal", "control", "worker") as s:
        _make_projects(s, [name for wave in range(waves) for name in _names(wave, count)])
        pid = int((s.stack.state_dir / "worker.ready").read_text())
        idle_mb = machine.resident_mb(pid)
        seen = asyncio.run(_waves(s, pid, count, waves))
    after = [wave["resident_mb"] for wave in seen]
    return {
        "name": "small processes at once",
        "correct": all(wave["right"] == count for wave in seen),
        "count": count,
        "waves": waves,
        "finished": sum(wave["right"] for wave in seen),
        "failures": [why for wave in seen for why in wave["failures"]][:5],
        "idle_mb": idle_mb,
        "after_each_wave_mb": after,
        "peak_mb": max(wave["peak_mb"] for wave in seen),
        "growth": after[-1] / after[waves // 2],
        "per_second": statistics.median(count / wave["seconds"] for wave in seen),
    }


def _names(wave: int, count: int) -> list[str]:
    return [f"small-{wave}-{i}" for i in range(count)]


def _make_projects(s: settings.Settings, names: list[str]) -> None:
    token = identity.TokenIssuer.load(s.control.tokens_file).token_of("developer@local")
    with control_client.ControlClient(s.control_url, token) as client:
        for name in names:
            client.create_project(control.ProjectCreate(name=name, owner="bench"))


async def _waves(s: settings.Settings, pid: int, count: int, waves: int) -> list[dict[str, Any]]:
    client = await servers.connected(s)
    seen = []
    for wave in range(waves):
        with _Peak(pid) as peak:
            machine.hold(pid)  # what it would take meanwhile would not be there at once with the rest
            projects = _names(wave, count)
            starting = asyncio.Semaphore(_STARTING)
            handles = await asyncio.gather(
                *(_start(client, s.workflow.task_queue, project, starting) for project in projects)
            )
            began = time.perf_counter()
            machine.tell(pid, signal.SIGCONT)
            ended = await asyncio.gather(
                *(_is_right(handle, project) for handle, project in zip(handles, projects, strict=True)),
                return_exceptions=True,
            )
            seconds = time.perf_counter() - began
        seen.append(
            {
                "right": sum(one is True for one in ended),
                "failures": [repr(one) for one in ended if one is not True],
                "seconds": seconds,
                "resident_mb": machine.resident_mb(pid),
                "peak_mb": peak.megabytes,
            }
        )
    return seen


async def _start(
    client: temporal.Client, queue: str, project: str, starting: asyncio.Semaphore
) -> temporal.WorkflowHandle[Any, retention.RetentionOutcome]:
    request = retention.RetentionRequest(project=project, skew_reports_days=30)
    async with starting:
        return await client.start_workflow(
            retention.RETENTION_WORKFLOW,
            request,
            id=f"retention-{project}",
            task_queue=queue,
            result_type=retention.RetentionOutcome,
        )


async def _is_right(handle: temporal.WorkflowHandle[Any, retention.RetentionOutcome], project: str) -> bool:
    """Whether it answered for its own project, and left its report."""
    found = await handle.result()
    return found.project == project and Path(found.report_path).exists()


class _Peak:
    """The most memory that a process had while the block ran."""

    def __init__(self, pid: int) -> None:
        self._pid, self._ends = pid, threading.Event()
        self.megabytes = 0.0

    def __enter__(self) -> _Peak:
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ends.wait(_SAMPLE_SECONDS):
            self.megabytes = max(self.megabytes, machine.resident_mb(self._pid))
