"""One trace through Temporal: from whoever starts a workflow to its activities, its children and their Ray jobs."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ray_double import TOKEN, RayDouble, serve
from temporalio.client import Client, WorkflowFailureError
from temporalio.testing import ActivityEnvironment, WorkflowEnvironment
from temporalio.worker import Worker
from training_doubles import Steps, all_activities, train_request
from workflows_doubles import Endpoint, run

from mainspring.core import errors, traces
from mainspring.core.client import tracing as carried
from mainspring.core.contracts import deployment, training
from mainspring.core.contracts.training import Stage
from mainspring.workflows import tracing
from mainspring.workflows.deployment import messages as deploying
from mainspring.workflows.deployment.workflow import DeployModel
from mainspring.workflows.queueing.workflow import DeploymentQueue
from mainspring.workflows.ray_jobs import attach, client, observed
from mainspring.workflows.training import messages
from mainspring.workflows.training.workflow import TrainModel

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"
TRAIN, DEPLOY = f"workflow {training.TRAIN_WORKFLOW}", f"workflow {deployment.DEPLOY_WORKFLOW}"


class Kept(list[traces.Span]):
    def add(self, one: traces.Span) -> None:
        self.append(one)

    def named(self, name: str) -> list[traces.Span]:
        return [one for one in self if one.name == name]


Story = Callable[[Client, Kept, Steps], Any]


def told(story: Story, *, cached: int = 100) -> Any:
    """`story` beside a traced worker. `cached` 0: it forgets every workflow after each task, and replays it for the next."""
    kept, steps = Kept(), Steps()
    tracer = traces.Tracer(kept, 1.0)

    async def within(client: Client, _: WorkflowEnvironment) -> Any:
        config = client.config()
        config["interceptors"] = [carried.StartsWithTrace()]
        ours = Client(**config)
        async with Worker(
            ours,
            task_queue="traced",
            workflows=[TrainModel, DeployModel, DeploymentQueue],
            activities=all_activities(steps, Endpoint(traffic=None)),
            interceptors=[tracing.Tracing(tracer)],
            max_cached_workflows=cached,
        ):
            return await story(ours, kept, steps)

    return run(within, [], all_activities(Steps(), Endpoint()))


async def train(client: Client, run_id: str, traceparent: str = "") -> None:
    request = train_request(run_id=run_id, auto_approve_by="ana")
    with traces.resumed(traceparent):
        handle = await client.start_workflow(TrainModel.run, request, id=run_id, task_queue="traced")
    await handle.result()


def test_a_training_and_its_deployment_are_one_tree_under_the_request() -> None:
    async def story(client: Client, kept: Kept, steps: Steps) -> None:
        await train(client, "run_traced", SAMPLED)
        assert {one.trace_id for one in kept} == {TRACE}
        (root,), deployments = kept.named(TRAIN), kept.named(DEPLOY)
        deploy = deployments[0]
        assert root.parent_id == PARENT and {one.parent_id for one in deployments} == {root.span_id}
        assert len({one.span_id for one in kept}) == len(kept), "however often it was replayed"
        above = (root.span_id, *(one.span_id for one in deployments))
        steps_of = {p: [s for s in kept if s.parent_id == p] for p in above}
        names = {one.name for one in steps_of[root.span_id]}
        assert {f"activity {messages.TRAIN}", f"activity {messages.INGEST}"} <= names
        deployed = {one.name for one in steps_of[deploy.span_id]}
        assert {f"activity {deploying.LOAD_BUNDLE}", f"activity {deploying.SET_TRAFFIC}"} <= deployed
        assert sum(map(len, steps_of.values())) + 1 == len(kept), "nothing hangs in the air"
        for one in kept:
            assert one.start_ns <= one.end_ns
            assert set(one.attributes) <= {"mainspring.run_id", "mainspring.attempt"} and one.error == ""

    told(story, cached=0)


def test_who_began_it_decides_and_what_went_wrong_is_told_by_its_kind() -> None:
    async def story(client: Client, kept: Kept, steps: Steps) -> None:
        # By the clock: a trace of its own, of which the workflow is the root.
        await train(client, "run_alone")
        (alone,) = kept.named(TRAIN)
        assert alone.parent_id == "" and {one.trace_id for one in kept} == {alone.trace_id} != {TRACE}
        kept.clear()

        # Whoever asked does not want it kept.
        await train(client, "run_quiet", UNSAMPLED)
        assert kept == []

        # What went wrong is told by its kind, and not in its words.
        steps.failing[messages.INGEST] = errors.DataInvalid("bob is 37", dataset="lake", failed=("rows",))
        with pytest.raises(WorkflowFailureError):
            await train(client, "run_bad", SAMPLED)
        assert kept.named(TRAIN)[0].error == "data_invalid"
        assert kept.named(f"activity {messages.INGEST}")[0].error == "data_invalid"
        assert "bob" not in str(list(kept))
        kept.clear()

        # One that waits has no span yet; one that was cancelled has.
        steps.failing.clear()
        with traces.resumed(SAMPLED):
            handle = await client.start_workflow(
                TrainModel.run, train_request(run_id="run_waits"), id="run_waits", task_queue="traced"
            )
        while (await handle.query(TrainModel.status)).stage is not Stage.APPROVAL:
            await asyncio.sleep(0.01)
        assert kept.named(TRAIN) == []
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        assert [one.error for one in kept.named(TRAIN)] == ["cancelled"]

    told(story)


def test_a_worker_without_a_receiver_passes_on_what_came_and_keeps_nothing() -> None:
    seen: list[str] = []
    labels: list[dict[str, str]] = []

    class Watched(Steps):
        def _called(self, name: str) -> None:
            seen.append(traces.outgoing())
            labels.append(tracing.labels())
            super()._called(name)

    kept, steps = Kept(), Watched()

    async def within(client: Client, _: WorkflowEnvironment) -> None:
        config = client.config()
        config["interceptors"] = [carried.StartsWithTrace()]
        async with Worker(
            ours := Client(**config),
            task_queue="traced",
            workflows=[TrainModel, DeployModel, DeploymentQueue],
            activities=all_activities(steps, Endpoint(traffic=None)),
            interceptors=[tracing.Tracing(traces.Tracer(None, 1.0))],
        ):
            await train(ours, "run_passed", SAMPLED)

    run(within, [], all_activities(Steps(), Endpoint()))
    assert seen and set(seen) == {SAMPLED} and kept == []
    # So that a line of the log says whose it is.
    assert {"run_id": "run_passed", "step": messages.TRAIN, "attempt": "1"} in labels
    assert tracing.labels() == {}


@pytest.mark.parametrize("data", [b"", b"not json", b"7", b'"garbage"', b"null"])
def test_a_header_that_is_none_is_as_good_as_none(data: bytes) -> None:
    headers = carried.with_trace({}, SAMPLED)
    assert carried.sent(headers) == SAMPLED
    headers[traces.HEADER].data = data
    assert carried.sent(headers) == "" and carried.sent({}) == ""
    assert carried.with_trace({}, "") == {}


def test_a_job_has_its_trace_in_its_command() -> None:
    """And one that is found again is the one that was submitted."""

    async def submitted(double: RayDouble) -> None:
        work = attach.Work("run_1-train", lambda k: f"python -m train --out {k}", str, {}, 60.0)
        async with client.RayJobs(double.url, TOKEN) as jobs:
            with traces.resumed(SAMPLED):
                await ActivityEnvironment().run(attach.run_to_end, jobs, work, poll_seconds=0.005)

    with serve(RayDouble()) as double:
        asyncio.run(submitted(double))
    assert (
        double.jobs["run_1-train-0"]["body"]["entrypoint"] == f"TRACEPARENT={SAMPLED} python -m train --out 0"
    )
    assert observed.command("python -m train") == "python -m train"


@pytest.fixture
def own_logs() -> Iterator[None]:
    """A job writes all logs of its process, which is this one here."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.usefixtures("own_logs")
def test_a_job_is_a_span_of_the_trace_in_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(
        observed.otlp.Receiver, "__call__", lambda _, document: sent.append(json.loads(document))
    )

    def spans() -> list[dict[str, Any]]:
        return [s for d in sent for r in d["resourceSpans"] for x in r["scopeSpans"] for s in x["spans"]]

    with observed.job("training"):
        pass
    assert spans() == []
    monkeypatch.setenv("TRACEPARENT", SAMPLED)
    with observed.job("training"):
        assert traces.outgoing() == SAMPLED, "no receiver"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(errors.Conflict), observed.job("training"):
        raise errors.Conflict("x; y", resource="a", name="b")
    (one,) = spans()
    assert (one["traceId"], one["parentSpanId"], one["name"]) == (TRACE, PARENT, "ray job training")
    assert one["status"] == {"code": 2, "message": "conflict"}
    monkeypatch.setenv("MAINSPRING_NO_SUCH", "1")
    with observed.job("training"):
        worked = True
    assert worked and "the job is not traced: settings are not usable" in capfd.readouterr().err
