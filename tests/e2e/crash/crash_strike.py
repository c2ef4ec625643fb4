"""One run under one order: it is hit, the dead are replaced, and what came of it is compared with an undisturbed run."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import time
from collections.abc import Callable, Sequence

import crash_effects
from crash_boundaries import WORKER, Order, Passed
from crash_world import World
from temporalio import client as temporal
from temporalio import service

from mainspring.core import errors
from mainspring.core.client import connection
from mainspring.core.client.workflows import ENDED
from mainspring.platform.stack import processes

#: One is killed and the other takes over, as where a worker is deployed twice.
WORKERS = 2


@dataclasses.dataclass(frozen=True)
class Hit:
    """One kill. `down_seconds`: until the victim answered again (a worker has another beside it: 0). `recovery_seconds`:
    from then until the run went on: a step was begun anew by another worker, or was finished after a server was back."""

    point: str
    side: str
    victim: str
    down_seconds: float
    recovery_seconds: float


@dataclasses.dataclass(frozen=True)
class Story:
    """A run from its start to its end, with every kill in it."""

    run_id: str
    seconds: float
    hits: tuple[Hit, ...]
    trace: tuple[Passed, ...]


@dataclasses.dataclass(frozen=True)
class Sudden:
    """A kill that asks nobody where the run is: `at_seconds` after its start."""

    at_seconds: float
    victim: str


@dataclasses.dataclass(frozen=True)
class _Blow:
    """What was done, and when its victim answered again. `pid` of the worker that was killed."""

    point: str
    side: str
    victim: str
    killed_at: float
    answered_at: float
    pid: int = 0


def tell(
    world: World,
    order: Order | None,
    start: Callable[[World], str],
    *,
    sudden: Sequence[Sudden] = (),
    timeout_seconds: float = 1000.0,
) -> Story:
    """Start a run and see it through. Errors: AssertionError where it has not ended in time."""
    world.keep_workers(WORKERS)
    world.boundaries.order(order)
    world.boundaries.say("may-0")
    began = time.time()
    run_id = start(world)
    waiting, blows, ordered = list(sudden), list[_Blow](), 0
    while not _is_over(world, run_id):
        assert time.time() - began < timeout_seconds, f"run `{run_id}` has not ended in {timeout_seconds} s"
        if order is not None and world.boundaries.heard(f"now-{ordered}"):
            blows.append(_let_it_happen(world, order, ordered))
            ordered += 1
            world.boundaries.say(f"may-{ordered}")
        if waiting and time.time() - began >= waiting[0].at_seconds:
            blows.append(_suddenly(world, waiting.pop(0), time.time() - began))
        time.sleep(0.05)
    ended = time.time()
    trace = world.boundaries.trace()
    return Story(run_id, ended - began, tuple(_hit(b, trace, ended) for b in blows), tuple(trace))


def _let_it_happen(world: World, order: Order, number: int) -> _Blow:
    hit = next(p for p in world.boundaries.trace() if p.hit == number)
    if order.victim == WORKER:
        killed = world.boundaries.said_at(f"now-{number}")
        until = time.time() + 30
        while not world.keep_workers(WORKERS):
            assert time.time() < until, "a worker that was to kill itself lives"
            time.sleep(0.01)
        return _Blow(hit.point, hit.side, WORKER, killed, killed, hit.pid)
    killed = world.servers[order.victim].kill()
    world.boundaries.say(f"go-{number}")
    world.servers[order.victim].start()
    return _Blow(hit.point, hit.side, order.victim, killed, time.time())


def _suddenly(world: World, sudden: Sudden, at_seconds: float) -> _Blow:
    """Of the workers the one that was last seen at work."""
    point = f"at {at_seconds:.2f} s"
    if sudden.victim != WORKER:
        killed = world.servers[sudden.victim].kill()
        world.servers[sudden.victim].start()
        return _Blow(point, "any", sudden.victim, killed, time.time())
    last = next(
        (p.pid for p in reversed(world.boundaries.trace()) if p.pid in world.workers), world.workers[0]
    )
    killed = time.time()
    os.kill(last, signal.SIGKILL)
    while processes.is_alive(last):
        time.sleep(0.005)
    world.keep_workers(WORKERS)
    return _Blow(point, "any", WORKER, killed, killed, last)


def _hit(blow: _Blow, trace: list[Passed], ended: float) -> Hit:
    wanted = "before" if blow.victim == WORKER else "after"
    on = next(
        (p.at for p in trace if p.side == wanted and p.at > blow.killed_at and p.pid != blow.pid), ended
    )
    return Hit(
        blow.point,
        blow.side,
        blow.victim,
        round(blow.answered_at - blow.killed_at, 2),
        round(max(0.0, on - blow.answered_at), 2),
    )


def _is_over(world: World, run_id: str) -> bool:
    """The end is on record, and Temporal has closed the run: what comes after the record may be hit, too."""
    if crash_effects.stored_stage(world, run_id) not in ENDED:
        return False
    return asyncio.run(_is_closed(world, run_id))


async def _is_closed(world: World, run_id: str) -> bool:
    try:
        client = await connection.connect_by(world.s.workflow)
        found = await client.get_workflow_handle(run_id).describe()
    except (errors.DependencyDown, service.RPCError):
        return False
    return found.status is not temporal.WorkflowExecutionStatus.RUNNING


def points(story: Story) -> list[str]:
    """Where a run like this one can be hit, each once: of a canary's many looks the first."""
    found = dict.fromkeys(p.point for p in story.trace if p.side == "before")
    repeated = ("endpoint.probe", "endpoint.read_stats")
    return [p for p in found if not any(name in p for name in repeated) or p.endswith(".1")]
