"""The shipped worker: what it registers, and how soon what it runs hears of a cancellation."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from temporalio import activity, workflow
from temporalio.api.workflowservice import v1 as workflowservice
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker
from training_doubles import train_request
from workflows_doubles import run

from mainspring.core import errors, settings
from mainspring.core.contracts import training
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


def test_a_worker_of_a_build_gets_tasks_once_that_build_is_current(tmp_path: Path) -> None:
    """Started before, by a run that no version had: it is taken, and moves on with the next one."""

    async def story(client: Client, _: WorkflowEnvironment) -> list[str]:
        taken: list[str] = []
        async with httpx.AsyncClient() as nobody:
            for build in ("1.2.3+abc", "1.3.0"):
                environ = {
                    "MAINSPRING_WORKFLOW_TASK_QUEUE": "versions",
                    "MAINSPRING_WORKFLOW_BUILD_ID": build,
                }
                async with worker.build(client, settings.load(environ, directory=tmp_path), nobody, nobody):
                    if not taken:
                        await client.start_workflow(
                            training.TRAIN_WORKFLOW, train_request(), id="run", task_queue="versions"
                        )
                        await asyncio.sleep(0.3)
                        assert (await _version_of(client)) == "", "nobody has said that it is current"
                    await _make_current(client, build)
                    if taken:
                        # Something to do, or no task tells it that there is another version.
                        await client.get_workflow_handle("run").signal("anything")
                    while (found := await _version_of(client)) != build:
                        await asyncio.sleep(0.05)
                    taken.append(found)
        return taken

    assert run(story, [], [works_on], real=True) == ["1.2.3+abc", "1.3.0"]


async def _version_of(client: Client) -> str:
    found = (await client.get_workflow_handle("run").describe()).raw_description.workflow_execution_info
    version = found.versioning_info.deployment_version
    assert version.deployment_name in ("", "mainspring")
    return version.build_id


async def _make_current(client: Client, build: str) -> None:
    asked = workflowservice.SetWorkerDeploymentCurrentVersionRequest(
        namespace=client.namespace,
        deployment_name="mainspring",
        build_id=build,
        identity="test",
        ignore_missing_task_queues=True,
    )
    while True:
        try:
            await client.workflow_service.set_worker_deployment_current_version(asked)
            return
        except RPCError as error:
            assert error.status in (RPCStatusCode.NOT_FOUND, RPCStatusCode.FAILED_PRECONDITION), error
            await asyncio.sleep(0.05)  # it has not polled yet


@pytest.mark.parametrize(
    "environ", [{"DEPLOYMENT_NAME": "a.b"}, {"BUILD_ID": "a b"}, {"DEPLOYMENT_NAME": ""}]
)
def test_names_that_temporal_would_split_are_refused(environ: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidSettings, match="workflow"):
        settings.load({f"MAINSPRING_WORKFLOW_{k}": v for k, v in environ.items()}, directory=tmp_path)


@workflow.defn(name="Changes", sandboxed=False)
class Before:
    """A release's workflow, which waits in its middle."""

    @workflow.run
    async def run(self) -> str:
        self.goes_on = False
        await workflow.wait_condition(lambda: self.goes_on)
        return "before"

    @workflow.signal
    def go_on(self) -> None:
        self.goes_on = True


@workflow.defn(name="Changes", sandboxed=False)
class After:
    """The same in the next release, which does something new at its start."""

    @workflow.run
    async def run(self) -> str:
        self.goes_on = False
        told = "before"
        if workflow.patched("waits a moment first"):
            await workflow.sleep(0.001)
            told = "after"
        await workflow.wait_condition(lambda: self.goes_on)
        return told

    @workflow.signal
    def go_on(self) -> None:
        self.goes_on = True


def test_an_old_worker_beside_a_new_one_costs_a_run_of_the_new_release_tasks_and_no_more() -> None:
    """The policy of `docs/workflows.md`: while a release is rolled out both poll, and each may get the other's runs."""

    def polls(client: Client, kind: type) -> Worker:
        return Worker(client, task_queue="rolls", workflows=[kind], max_cached_workflows=0)

    async def story(client: Client, _: WorkflowEnvironment) -> tuple[str, str]:
        async def begin(name: str) -> WorkflowHandle[Any, str]:
            # A task that an old worker cannot do is given to another when it times out; by default after 10 s.
            return await client.start_workflow(
                "Changes",
                id=name,
                task_queue="rolls",
                result_type=str,
                task_timeout=timedelta(seconds=1),
            )

        async with polls(client, Before):
            old = await begin("old")
            await _has(client, "old", "workflow_task_completed_event_attributes")
        async with polls(client, After):
            new = await begin("new")
            await _has(client, "new", "timer_fired_event_attributes")
        async with polls(client, Before):
            await new.signal("go_on")
            await _has(client, "new", "workflow_task_failed_event_attributes")
            assert (await new.describe()).status is WorkflowExecutionStatus.RUNNING
        async with polls(client, After):
            await old.signal("go_on")
            return await old.result(), await new.result()

    assert run(story, [], [works_on], real=True) == ("before", "after")


async def _has(client: Client, workflow_id: str, kind: str) -> None:
    while True:
        history = await client.get_workflow_handle(workflow_id).fetch_history()
        if any(event.WhichOneof("attributes") == kind for event in history.events):
            return
        await asyncio.sleep(0.02)
