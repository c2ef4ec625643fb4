"""Megabytes go through a workflow, and its history stays small; a store that is away costs time and no run."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from pipelines_doubles import Jobs, graph, parts, pipeline_request, step
from temporalio import activity, service, workflow
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowExecution, WorkflowHandle
from temporalio.testing import WorkflowEnvironment
from workflows_doubles import QUEUE, Endpoint, run

from mainspring.core.client import claims, payloads
from mainspring.core.contracts.pipelines import Value
from mainspring.workflows import claim_sweeps
from mainspring.workflows.pipelines.workflow import RunPipeline

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]

#: More than Temporal takes in one payload.
TEXT = "0123456789abcdef" * (3 << 16)


@activity.defn
async def doubled(text: str) -> str:
    return text + text


@workflow.defn(sandboxed=False)
class Doubling:
    def __init__(self) -> None:
        self._more = ""

    @workflow.run
    async def run(self, text: str, times: int) -> str:
        made = await workflow.execute_activity(
            doubled, text * times, start_to_close_timeout=timedelta(seconds=20), result_type=str
        )
        await workflow.wait_condition(lambda: bool(self._more))
        return made + self._more

    @workflow.signal
    def add(self, more: str) -> None:
        self._more = more

    @workflow.query
    def digest(self, text: str) -> list[str]:
        return [hashlib.sha256(text.encode()).hexdigest(), text]


def within(
    tmp_path: Path,
    story: Callable[[Client, Path], Awaitable[None]],
    *,
    database: Path | None = None,
    workflows: Sequence[type] = (Doubling,),
    activities: Sequence[Callable[..., Any]] = (doubled,),
) -> None:
    folder = tmp_path / "claims"
    payloads.ensure_keys(tmp_path / "keys")
    codec = payloads.SealedPayloads(tmp_path / "keys", store=claims.ClaimStore(str(folder)))

    async def told(client: Client, _: WorkflowEnvironment) -> None:
        await story(client, folder)

    converter = payloads.converter_of(codec)
    run(told, workflows, activities, real=True, database=database, converter=converter)


async def until_a_task_fails(client: Client, handle: WorkflowHandle[Any, Any], why: str) -> None:
    while True:
        async for event in handle.fetch_history_events():
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED:
                failure = event.workflow_task_failed_event_attributes.failure
                assert why in str(await client.data_converter.decode_failure(failure))
                return
        await asyncio.sleep(0.1)


def test_megabytes_of_every_kind_come_through_and_are_not_in_temporal(tmp_path: Path) -> None:
    database = tmp_path / "temporal.db"

    async def story(client: Client, folder: Path) -> None:
        handle = await client.start_workflow(Doubling.run, args=[TEXT, 1], id="run_large", task_queue=QUEUE)
        assert await handle.query(Doubling.digest, TEXT) == [hashlib.sha256(TEXT.encode()).hexdigest(), TEXT]
        await handle.signal(Doubling.add, TEXT)
        assert await handle.result() == TEXT * 3
        history = await handle.fetch_history()
        assert sum(event.ByteSize() for event in history.events) < 20_000
        assert len(list(folder.glob("*/*"))) >= 6
        assert sum(path.stat().st_size for path in tmp_path.glob("temporal.db*")) < len(TEXT)

    within(tmp_path, story, database=database)


def test_a_pipeline_maps_over_more_than_temporal_takes(tmp_path: Path) -> None:
    """A hundred items of two hundred parts each: their digests alone are more than two megabytes."""
    nodes = (step("split", is_spread=True), step("score", "split", each="a0"), step("sum", "split", "score"))
    wide = Value.of_items([parts(*(f"{i}-{k}" for k in range(200))) for i in range(100)])
    assert len(wide.model_dump_json()) > 2 << 20
    jobs = Jobs(graph(*nodes), answers={"split": wide})

    async def story(client: Client, folder: Path) -> None:
        handle = await client.start_workflow(
            RunPipeline.run, pipeline_request(max_parallel=20), id="run_wide", task_queue=QUEUE
        )
        result = await handle.result()
        assert result.nodes[1].items == 100 and jobs.asked[-1].inputs["a0"] == wide
        history = await handle.fetch_history()
        assert max(event.ByteSize() for event in history.events) <= claims.CLAIM_BYTES + 1000
        assert len(list(folder.glob("*/*"))) >= 3, "split's answer, and what score and sum are told"

    within(
        tmp_path, story, workflows=[RunPipeline], activities=[*Endpoint().activities(), *jobs.activities()]
    )


def test_a_store_that_is_away_fails_tasks_and_no_run(tmp_path: Path) -> None:
    """One cannot read its claim, another cannot write one: both go on when the store is back."""

    async def story(client: Client, folder: Path) -> None:
        # Of a task that failed before, the next is tried when its time is over.
        start = functools.partial(
            client.start_workflow, Doubling.run, task_queue=QUEUE, task_timeout=timedelta(seconds=2)
        )
        reads = await start(args=[TEXT, 1], id="run_reads", start_delay=timedelta(seconds=1))
        away = folder.rename(folder.with_name("away"))
        folder.write_text("no folder")
        writes = await start(args=["a", len(TEXT)], id="run_writes")
        await until_a_task_fails(client, writes, "cannot be written")
        await until_a_task_fails(client, reads, "cannot be read")
        folder.unlink()
        away.rename(folder)
        for handle in (reads, writes):
            await handle.signal(Doubling.add, "b")
        assert await reads.result() == TEXT * 2 + "b"
        assert await writes.result() == "a" * len(TEXT) * 2 + "b"

    within(tmp_path, story)


def test_a_sweep_leaves_what_a_run_that_temporal_has_may_need(tmp_path: Path) -> None:
    async def story(client: Client, folder: Path) -> None:
        store = claims.ClaimStore(str(folder))

        async def sweep(days: float) -> int:
            at = datetime.now(UTC) + timedelta(days=days)
            return await claim_sweeps.sweep_once(client, store, timedelta(days=30), at)

        handle = await client.start_workflow(Doubling.run, args=[TEXT, 1], id="run_long", task_queue=QUEUE)
        while not [run async for run in client.list_workflows("")]:
            await asyncio.sleep(0.05)  # runs are listed a moment after they start
        (folder / "ab").mkdir(exist_ok=True)
        older = folder / "ab" / ("ab" * 32)
        older.write_bytes(b"of a run that is gone")
        two_days_ago = time.time() - 2 * 86400
        os.utime(older, (two_days_ago, two_days_ago))
        assert await sweep(20) == 0 and older.exists(), "it was used within the thirty days"
        assert await sweep(400) == 1 and not older.exists(), "it is older than every run"
        await handle.signal(Doubling.add, "b")
        assert await handle.result() == TEXT * 2 + "b", "the run's own, after more than a year"
        assert await sweep(400) == 0, "Temporal still has it, though it has ended"

    within(tmp_path, story)


def test_while_temporal_is_away_nothing_is_swept(tmp_path: Path) -> None:
    store = claims.ClaimStore(str(tmp_path))
    (tmp_path / "ab").mkdir()
    (tmp_path / "ab" / ("ab" * 32)).write_bytes(b"old")
    os.utime(tmp_path / "ab" / ("ab" * 32), (0, 0))

    class Away:
        async def list_workflows(self, _: str) -> AsyncIterator[WorkflowExecution]:
            raise service.RPCError("away", service.RPCStatusCode.UNAVAILABLE, b"")
            yield

    client = cast("Client", Away())
    with pytest.raises(service.RPCError):
        asyncio.run(claim_sweeps.sweep_once(client, store, timedelta(days=1), datetime.now(UTC)))
    assert (tmp_path / "ab" / ("ab" * 32)).exists()
