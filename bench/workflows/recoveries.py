"""From `kill -9` of a worker until another one has its steps, and how many living workers were taken for dead meanwhile.

Workers are set up as the shipped one; there are always two, as where one is deployed twice. Each kill falls on runs of its own, at a
time of its own between two beats, so every step is killed once: the pause before the next attempt grows with each.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from temporalio import client as temporal

from mainspring.bench.workflows import held_step, pieces, servers, thin_client
from mainspring.core import settings
from mainspring.platform.stack import processes
from mainspring.workflows import heartbeat, options

__all__ = ["merged", "piece", "row"]

_ROW: Final = "a killed worker"

#: A step, two workers, and a chance for both to have some.
_HELD: Final = 4
_WORKERS: Final = 2
_LOOK_SECONDS: Final = 0.01
_GIVE_UP_SECONDS: Final = 120.0
_SEED: Final = 20261129


def row(*, kills: int, load: int) -> dict[str, Any]:
    """One sitting."""
    return merged([piece(kills=kills, load=load)])


def piece(*, kills: int, load: int) -> dict[str, Any]:
    """`kills` on the machine as it is, then as many beside `load` busy loops, if there are to be any."""
    loaded: list[dict[str, Any]] = []
    with servers.running("temporal") as s, _workers(s) as crew:
        quiet = asyncio.run(_killed(s, crew, kills, "quiet"))
        if load:
            with thin_client.busy(load):
                loaded = asyncio.run(_killed(s, crew, kills, "loaded"))
    return pieces.stamped({"row": _ROW, "load": load, "quiet": quiet, "loaded": loaded})


def merged(measured: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The row over all kills of all pieces. Errors: ValueError for unequal loads."""
    (load,) = {p["load"] for p in measured}
    phases = ("quiet", "loaded") if load else ("quiet",)
    found = {name: [killed for p in measured for killed in p[name]] for name in phases}
    return {
        "name": _ROW,
        "correct": all(any(killed["seconds"] for killed in found[name]) for name in found),
        "heartbeat_seconds": options.HEARTBEAT.total_seconds(),
        "load": load,
        **{name: _figures(killed) for name, killed in found.items()},
        "pieces": pieces.told(measured, "quiet"),
    }


def _figures(killed: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    seconds = [one for k in killed for one in k["seconds"]]
    return {
        "kills": len(killed),
        "steps": len(seconds),
        "p50_seconds": float(np.percentile(seconds, 50)),
        "p95_seconds": float(np.percentile(seconds, 95)),
        "max_seconds": max(seconds),
        "taken_for_dead": sum(k["taken_for_dead"] for k in killed),
    }


@dataclass
class _Crew:
    """The living workers, by pid, and the process that forks them."""

    folder: Path
    nursery: subprocess.Popen[bytes]
    living: set[int] = field(default_factory=set)
    started: int = 0

    def fill(self) -> None:
        """Until there are enough of them, and all poll. Errors: TimeoutError."""
        assert self.nursery.stdin is not None
        until = time.monotonic() + _GIVE_UP_SECONDS
        while len(self.living) < _WORKERS:
            ready = self.folder / f"held-{self.started}.ready"
            self.started += 1
            self.nursery.stdin.write(f"{ready}\n".encode())
            self.nursery.stdin.flush()
            while not ready.exists():
                if time.monotonic() > until:
                    raise TimeoutError(f"a worker does not poll; see {self.folder / 'held.log'}")
                time.sleep(_LOOK_SECONDS)
            self.living.add(int(ready.read_text()))

    def kill(self, pid: int) -> float:
        """When it was dead, Unix seconds."""
        self.living.remove(pid)
        os.kill(pid, signal.SIGKILL)
        while processes.is_alive(pid):
            time.sleep(0.001)
        return time.time()


@contextlib.contextmanager
def _workers(s: settings.Settings) -> Iterator[_Crew]:
    folder = s.stack.state_dir
    with (folder / "held.log").open("ab") as log:
        nursery = subprocess.Popen(
            [sys.executable, "-m", held_step.__name__],
            env=settings.child_environment(s, {}),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
        )
    with nursery:
        crew = _Crew(folder, nursery)
        try:
            crew.fill()
            yield crew
        finally:
            for pid in tuple(crew.living):
                crew.kill(pid)


@dataclass(frozen=True)
class _Attempt:
    at: float
    pid: int
    workflow_id: str
    number: int


@dataclass(frozen=True)
class _Round:
    """The runs that one kill falls on."""

    asked: held_step.Held

    def attempts(self) -> list[_Attempt]:
        """A line that is not whole yet is not there yet."""
        text = self.asked.log.read_text() if self.asked.log.exists() else ""
        return [_Attempt(*json.loads(line)) for line in text.split("\n")[:-1]]

    async def wait(self, is_so: Any) -> list[_Attempt]:
        """Errors: TimeoutError."""
        async with asyncio.timeout(_GIVE_UP_SECONDS):
            while not is_so(found := self.attempts()):
                await asyncio.sleep(_LOOK_SECONDS)
        return found


async def _killed(s: settings.Settings, crew: _Crew, kills: int, name: str) -> list[dict[str, Any]]:
    """Of each kill the seconds of every step that the worker had, and the attempts that it does not explain."""
    client, chance = await servers.connected(s), random.Random(_SEED)
    killed: list[dict[str, Any]] = []
    for number in range(kills):
        runs = [f"{name}-{number}-{i}" for i in range(_HELD)]
        files = [s.stack.state_dir / f"{name}-{number}.{kind}" for kind in ("log", "over")]
        this = _Round(held_step.Held(log=files[0], over=files[1]))
        handles = [await _start(client, s, run, this.asked) for run in runs]
        began = await this.wait(lambda found: len({a.workflow_id for a in found}) == _HELD)
        await asyncio.sleep(chance.uniform(0, 2 * options.HEARTBEAT.total_seconds() / heartbeat.BEATS))
        victim = Counter(a.pid for a in began if a.pid in crew.living).most_common(1)[0][0]
        had = _held_by(this.attempts(), victim)
        at = crew.kill(victim)
        await asyncio.to_thread(crew.fill)
        after = await this.wait(
            lambda found, had=had, at=at: had <= {a.workflow_id for a in found if a.at > at}
        )
        seconds = [min(a.at for a in after if a.workflow_id == run and a.at > at) - at for run in had]
        this.asked.over.touch()
        await asyncio.gather(*(handle.result() for handle in handles))
        others = len(this.attempts()) - _HELD - len(had)
        killed.append({"seconds": [round(one, 3) for one in seconds], "taken_for_dead": others})
    return killed


def _held_by(attempts: list[_Attempt], pid: int) -> set[str]:
    """The runs whose latest attempt is there."""
    latest = {a.workflow_id: a.pid for a in attempts}
    return {run for run, at in latest.items() if at == pid}


async def _start(
    client: temporal.Client, s: settings.Settings, run_id: str, asked: held_step.Held
) -> temporal.WorkflowHandle[Any, Any]:
    return await client.start_workflow(
        held_step.HeldStep.run, asked, id=run_id, task_queue=s.workflow.task_queue
    )
