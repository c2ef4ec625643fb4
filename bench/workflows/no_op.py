"""Two workflows of steps that do nothing: as Temporal's own examples have it, and as ours are."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from temporalio import activity, workflow

with workflow.unsafe.imports_passed_through():
    from mainspring.core.contracts.base import Message
    from mainspring.workflows import errors as temporal_errors
    from mainspring.workflows import heartbeat, options

BARE_STEP: Final = "bench.bare"
OUR_STEP: Final = "bench.ours"


class Nothing(Message):
    """What one of our steps is told and answers, as small as it gets."""

    run_id: str


class Rounds(Message):
    """How many steps, one after the other."""

    run_id: str
    steps: int


@activity.defn(name=BARE_STEP)
async def bare_step() -> None:
    """No argument, no answer, no heartbeat."""


@activity.defn(name=OUR_STEP)
async def our_step(asked: Nothing) -> Nothing:
    """What surrounds the work of each of ours: typed errors, heartbeats, a message each way."""
    with temporal_errors.typed():
        async with heartbeat.beating():
            return asked


@workflow.defn(name="bench.Bare")
class Bare:
    @workflow.run
    async def run(self, steps: int) -> None:
        for _ in range(steps):
            await workflow.execute_activity(BARE_STEP, start_to_close_timeout=timedelta(seconds=30))


@workflow.defn(name="bench.Ours")
class Ours:
    @workflow.run
    async def run(self, request: Rounds) -> None:
        asked = Nothing(run_id=request.run_id)
        for _ in range(request.steps):
            await workflow.execute_activity(OUR_STEP, asked, result_type=Nothing, **options.EXCHANGE)
