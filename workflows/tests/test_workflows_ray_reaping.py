"""A job whose run has ended is stopped, and no other: not a living run's, nor one that somebody else submitted."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray_double import TOKEN, RayDouble, serve
from temporalio import workflow
from temporalio.client import Client, WorkflowFailureError
from temporalio.testing import WorkflowEnvironment
from workflows_doubles import QUEUE, run

from mainspring.core import errors, settings
from mainspring.workflows.ray_jobs import reaping
from mainspring.workflows.ray_jobs.client import RayJobs

pytestmark = pytest.mark.timeout(90)


@workflow.defn(name="tests.Waits", sandboxed=False)
class Waits:
    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)


@pytest.fixture
def ray() -> Iterator[RayDouble]:
    with serve(RayDouble()) as double:
        yield double


async def submit(jobs: RayJobs, ray: RayDouble, name: str, state: str = "RUNNING", **metadata: str) -> None:
    ray.script[name] = [state]
    await jobs.submit(name, "x", metadata=metadata)


async def cancelled(client: Client, run_id: str) -> None:
    handle = await client.start_workflow(Waits.run, id=run_id, task_queue=QUEUE)
    await handle.cancel()
    with contextlib.suppress(WorkflowFailureError):
        await handle.result()


def test_a_job_without_its_run_is_stopped_and_no_other(ray: RayDouble) -> None:
    async def story(client: Client, _: WorkflowEnvironment) -> None:
        await cancelled(client, "run_ended")
        await client.start_workflow(Waits.run, id="run_living", task_queue=QUEUE)
        async with RayJobs(ray.url, TOKEN) as jobs:
            await submit(jobs, ray, "ended-0", run_id="run_ended")
            await submit(jobs, ray, "ended-1", "PENDING", run_id="run_ended")
            await submit(jobs, ray, "ended-2", "SUCCEEDED", run_id="run_ended")
            await submit(jobs, ray, "living-0", run_id="run_living")
            await submit(jobs, ray, "unknown-0", run_id="run_of_another_temporal")
            await submit(jobs, ray, "nobodys-0")
            assert await reaping.stop_orphans(client, jobs) == ["ended-0", "ended-1"]
            assert ray.stopped == ["ended-0", "ended-1"]
            assert await reaping.stop_orphans(client, jobs) == [], "again finds nothing"

    run(story, [Waits], [])


def test_a_worker_looks_again_and_again_also_where_ray_comes_late(
    ray: RayDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(reaping, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(reaping, "_MOST_OF_THE_TIME", 1.0)
    token = tmp_path / "ray.token"
    s = settings.load(
        {"MAINSPRING_RAY_DASHBOARD_URL": "http://127.0.0.1:1", "MAINSPRING_RAY_TOKEN_FILE": str(token)},
        directory=tmp_path,
    ).ray

    async def story(client: Client, _: WorkflowEnvironment) -> None:
        await cancelled(client, "run_ended")
        looking = asyncio.create_task(reaping.reap(client, s))
        await asyncio.sleep(0.1)
        assert caplog.messages == [], "a worker without Ray says nothing"
        token.write_text(TOKEN)
        async with asyncio.timeout(30):
            while not caplog.messages:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        (told,) = caplog.messages
        assert told.startswith("jobs without a run are not looked for") and not looking.done()
        looking.cancel()
        found = s.model_copy(update={"dashboard_url": ray.url})
        looking = asyncio.create_task(reaping.reap(client, found))
        async with RayJobs(ray.url, TOKEN) as jobs, asyncio.timeout(30):
            await submit(jobs, ray, "ended-0", run_id="run_ended")
            while not ray.stopped:
                await asyncio.sleep(0.01)
        looking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await looking

    with caplog.at_level("WARNING", "mainspring.workflows.ray_jobs.reaping"):
        run(story, [Waits], [])


def test_a_list_that_is_none_is_said(ray: RayDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "answer", lambda *_: (200, {"jobs": "?"}))

    async def ask() -> None:
        async with RayJobs(ray.url, TOKEN) as jobs:
            with pytest.raises(errors.DependencyDown, match="in a form we do not know"):
                await jobs.all()

    asyncio.run(ask())
