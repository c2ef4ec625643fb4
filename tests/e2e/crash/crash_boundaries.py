"""Where a run can be hit: before an activity's work and after it. Workers write down what they pass, and obey an order.

A folder holds `trace.jsonl` (a line for each boundary that any worker passed), `order.json` (who is to be hit where; absent:
nobody) and words: the harness says `may-<n>` to let hit number n happen, the worker `now-<n>` that it does, and the harness
`go-<n>` that the victim is dead. Everything is under one lock, so two workers agree on who hits and how often an activity was seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import fcntl
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from temporalio import activity, worker

WORKER = "worker"
TRAFFIC = "endpoint.set_traffic"


@dataclasses.dataclass(frozen=True)
class Order:
    """Kill `victim` at each of `points`, once each; no points: at every boundary of `side`."""

    victim: str
    side: str
    points: tuple[str, ...] = ()

    def wants(self, side: str, point: str) -> bool:
        return side == self.side and (not self.points or point in self.points)


@dataclasses.dataclass(frozen=True)
class Passed:
    """One boundary as a worker passed it; `side` is `before`, `after` or `failed`, `hit` the number of the kill there."""

    at: float
    pid: int
    workflow_id: str
    activity_id: str
    name: str
    attempt: int
    side: str
    point: str
    hit: int | None = None


class Boundaries:
    """The folder, for workers and for the harness."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def order(self, order: Order | None) -> None:
        """Begin anew: an empty trace, and this order for the next run."""
        with self._locked():
            for old in self.folder.iterdir():
                if old.name != "lock":
                    old.unlink()
            if order is not None:
                (self.folder / "order.json").write_text(json.dumps(dataclasses.asdict(order)))

    def trace(self) -> list[Passed]:
        with self._locked():
            return self._read()

    def say(self, word: str) -> None:
        (self.folder / word).touch()

    def heard(self, word: str) -> bool:
        return (self.folder / word).exists()

    def said_at(self, word: str) -> float:
        """Unix seconds."""
        return (self.folder / word).stat().st_mtime

    def passed(self, info: activity.Info, side: str) -> Passed:
        """Write the boundary down; `hit` is set where the order wants it and nobody was hit there before."""
        name = (info.activity_type).removeprefix("mainspring.").removesuffix(".v1")
        with self._locked():
            before = self._read()
            point = _point(before, info, name)
            found = Passed(
                time.time(),
                os.getpid(),
                info.workflow_id or "",
                info.activity_id,
                name,
                info.attempt,
                side,
                point,
            )
            hits = [p for p in before if p.hit is not None]
            if self._ordered(side, point) and point not in {p.point for p in hits}:
                found = dataclasses.replace(found, hit=len(hits))
            with (self.folder / "trace.jsonl").open("a") as file:
                file.write(json.dumps(dataclasses.asdict(found)) + "\n")
        return found

    def _ordered(self, side: str, point: str) -> bool:
        with contextlib.suppress(FileNotFoundError):
            value = json.loads((self.folder / "order.json").read_text())
            return Order(value["victim"], value["side"], tuple(value["points"])).wants(side, point)
        return False

    def victim(self) -> str:
        return str(json.loads((self.folder / "order.json").read_text())["victim"])

    def _read(self) -> list[Passed]:
        with contextlib.suppress(FileNotFoundError):
            lines = (self.folder / "trace.jsonl").read_text().splitlines()
            return [Passed(**json.loads(line)) for line in lines]
        return []

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.folder / "lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _point(before: list[Passed], info: activity.Info, name: str) -> str:
    """The same activity of every run of one kind has the same name here: `-deploy endpoint.probe 2.1` is the first probe
    after the second change of traffic of the child `-deploy`. How often a canary is looked at varies; this does not."""
    own = [p for p in before if p.workflow_id == info.workflow_id]
    for known in own:
        if known.activity_id == info.activity_id:
            return known.point
    changes = {p.activity_id for p in own if p.name == TRAFFIC}
    phase = len(changes) + (name == TRAFFIC)
    child = re.sub(r"^run_[^-]+", "", info.workflow_id or "")
    head = f"{child} {name} {phase}.".lstrip()
    seen = {p.activity_id for p in own if p.point.startswith(head)}
    return f"{head}{len(seen) + 1}"


class Watched(worker.Interceptor):
    """Around every activity of a worker: writes down its boundaries, and dies or waits where the order says so."""

    def __init__(self, boundaries: Boundaries) -> None:
        self._boundaries = boundaries

    def intercept_activity(
        self, next: worker.ActivityInboundInterceptor
    ) -> worker.ActivityInboundInterceptor:
        return _Activity(next, self._boundaries)


class _Activity(worker.ActivityInboundInterceptor):
    def __init__(self, next: worker.ActivityInboundInterceptor, boundaries: Boundaries) -> None:
        super().__init__(next)
        self._boundaries = boundaries

    async def execute_activity(self, input: worker.ExecuteActivityInput) -> Any:
        await self._pass("before")
        try:
            result = await super().execute_activity(input)
        except BaseException:
            self._boundaries.passed(activity.info(), "failed")
            raise
        await self._pass("after")
        return result

    async def _pass(self, side: str) -> None:
        found = self._boundaries.passed(activity.info(), side)
        if found.hit is None:
            return
        await self._wait(f"may-{found.hit}")
        self._boundaries.say(f"now-{found.hit}")
        if self._boundaries.victim() == WORKER:
            os.kill(os.getpid(), signal.SIGKILL)
        await self._wait(f"go-{found.hit}")

    async def _wait(self, word: str) -> None:
        while not self._boundaries.heard(word):
            activity.heartbeat()
            await asyncio.sleep(0.02)
