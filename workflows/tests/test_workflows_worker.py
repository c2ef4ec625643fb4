"""The shipped worker: what it registers, and how soon what it runs hears of a cancellation."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from temporalio import activity, workflow
from temporalio.client import Client, WorkflowFailureError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker
from workflows_doubles import run

from mainspring.core import settings
from mainspring.workflows import heartbeat, options, worker

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]


@activity.defn(name="works_on")
async def works_on() -> float:
    """Until it is cancelled: when that was heard."""
    try:
        async with heartbeat.beating():
            await asyncio.sleep(60)
    except asyncio.CancelledError:
        HEARD.append(time.monotonic())
        raise
    return 0.0


HEARD: list[float] = []


@workflow.defn(name="Works", sandboxed=False)
class Works:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(works_on, **options.LONG)


def test_a_cancellation_is_heard_with_the_next_heartbeat() -> None:
    """By Temporal's own throttle one is sent after four fifths of the timeout, and the next one as late again."""

    async def story(client: Client, _: WorkflowEnvironment) -> float:
        async with Worker(
            client,
            task_queue="hears",
            workflows=[Works],
            activities=[works_on],
            max_heartbeat_throttle_interval=options.BEAT_PAUSE,
        ):
            handle = await client.start_workflow(Works.run, id="works", task_queue="hears")
            await asyncio.sleep(options.HEARTBEAT.total_seconds() * 0.85)
            began = time.monotonic()
            await handle.cancel()
            with pytest.raises(WorkflowFailureError):
                await handle.result()
            return HEARD[-1] - began

    assert run(story, [], [works_on], real=True) < options.HEARTBEAT.total_seconds() * 0.6


def test_the_shipped_worker_hands_on_every_beat(tmp_path: Path) -> None:
    in_force = settings.load({}, directory=tmp_path)

    async def story(client: Client, _: WorkflowEnvironment) -> timedelta:
        async with httpx.AsyncClient() as nobody:
            built = worker.build(client, in_force, nobody, nobody)
            return built.config()["max_heartbeat_throttle_interval"]

    assert run(story, [], [works_on], real=True) == options.BEAT_PAUSE < options.HEARTBEAT / heartbeat.BEATS
