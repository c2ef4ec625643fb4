"""The second witness has Temporal's own ways with time. That it finds every stored command: `tests/replay`."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta

import pytest
from temporalio.client import WorkflowHistory

from mainspring.bench.workflows import commands


def test_a_sleep_of_no_time_is_a_timer_and_a_wait_of_no_time_is_none() -> None:
    world = commands._World(WorkflowHistory("run_x", []))

    async def story() -> None:
        with pytest.raises(TimeoutError):
            await world.wait_condition(lambda: False, timeout=timedelta(0))
        assert world._asked == []
        task = asyncio.create_task(world.sleep(0))
        await asyncio.sleep(0)
        assert [asked.command for asked in world._asked] == [("timer",)]
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(story())
