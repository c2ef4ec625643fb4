"""The second witness has Temporal's own ways with time. That it finds every stored command: `tests/replay`."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHistory

from mainspring.bench.workflows import commands, replay_guard


@workflow.defn(sandboxed=False)
class AsksTheCancelled:
    """A callback that asks a cancelled task what it failed with, which raises what `except Exception` does not take."""

    @workflow.run
    async def run(self, _: dict[str, object]) -> None:
        task = asyncio.create_task(workflow.sleep(9))
        task.add_done_callback(lambda ended: ended.exception())
        await asyncio.sleep(0)
        task.cancel()
        await workflow.wait_condition(lambda: False)


def test_a_cancellation_out_of_a_callback_is_the_changed_codes_own_and_ends_nothing_else() -> None:
    (history, *_) = next(source.histories for source in replay_guard.sources())
    answer = commands.compare(AsksTheCancelled, history)
    assert (answer.outcome, answer.why) == (commands.Outcome.STILLBORN, "CancelledError()")


def test_a_sleep_of_no_time_is_a_timer_and_a_wait_of_no_time_is_none() -> None:
    world = commands._World(WorkflowHistory("run_x", []))

    async def story() -> None:
        with pytest.raises(TimeoutError):
            await world.wait_condition(lambda: False, timeout=timedelta(0))
        assert world._asked == []
        task = asyncio.create_task(world.sleep(0))
        await asyncio.sleep(0)
        assert [asked.command for asked in world._asked] == [("timer", "1")]
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(story())
