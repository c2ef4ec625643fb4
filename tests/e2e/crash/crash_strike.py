"""One run under one order: it is hit, the dead are replaced, and what came of it is compared with an undisturbed run."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable
from typing import Any

import crash_effects
from crash_boundaries import WORKER, Order, Passed
from crash_world import World
from temporalio import client as temporal
from temporalio import service

from mainspring.core import errors
from mainspring.core.client import connection
from mainspring.core.client.workflows import ENDED

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
class _Down:
    killed_at: float
    answered_at: float


def tell(
    world: World, order: Order | None, start: Callable[[World], str], *, timeout_seconds: float = 1000.0
) -> Story:
    """Start a run and see it through. Errors: AssertionError where it has not ended in time."""
    world.keep_workers(WORKERS)
    world.boundaries.order(order)
    world.boundaries.say("may-0")
    began = time.time()
    run_id = start(world)
    downs: list[_Down] = []
    while not _is_over(world, run_id):
        assert time.time() - began < timeout_seconds, f"run `{run_id}` has not ended in {timeout_seconds} s"
        if order is not None and world.boundaries.heard(f"now-{len(downs)}"):
            downs.append(_let_it_happen(world, order.victim, len(downs)))
            world.boundaries.say(f"may-{len(downs)}")
        time.sleep(0.05)
    ended = time.time()
    trace = world.boundaries.trace()
    hits = tuple(
        _hit(order.victim, passed, down, trace, ended)
        for passed, down in zip((p for p in trace if p.hit is not None), downs, strict=True)
        if order is not None
    )
    return Story(run_id, ended - began, hits, tuple(trace))


def _let_it_happen(world: World, victim: str, number: int) -> _Down:
    if victim == WORKER:
        killed = world.boundaries.said_at(f"now-{number}")
        until = time.time() + 30
        while not world.keep_workers(WORKERS):
            assert time.time() < until, "a worker that was to kill itself lives"
            time.sleep(0.01)
        return _Down(killed, killed)
    killed = world.servers[victim].kill()
    world.boundaries.say(f"go-{number}")
    world.servers[victim].start()
    return _Down(killed, time.time())


def _hit(victim: str, hit: Passed, down: _Down, trace: list[Passed], ended: float) -> Hit:
    wanted = "before" if victim == WORKER else "after"
    on = next((p.at for p in trace if p.side == wanted and p.at > down.killed_at), ended)
    return Hit(
        hit.point,
        hit.side,
        victim,
        round(down.answered_at - down.killed_at, 2),
        round(max(0.0, on - down.answered_at), 2),
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


def as_json(hit: Hit) -> dict[str, Any]:
    return dataclasses.asdict(hit)
