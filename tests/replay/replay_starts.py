"""How the stories of stored histories are started, and what stands for steps that have no double of their own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from drift_check_doubles import REQUEST as DRIFT_REQUEST
from erasing_doubles import erase_request
from idling_doubles import PROJECT, Rooms, endpoint
from key_doubles import key_request
from pipelines_doubles import pipeline_request
from releasing_doubles import release_request
from retiring_doubles import retire_request
from retraining_doubles import REQUEST
from scoring_doubles import score_request
from temporalio import activity
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from training_doubles import train_request
from tuning_doubles import tune_request
from workflows_doubles import QUEUE, Endpoint, deploy_request

from mainspring.core.client.workflows import ENDED
from mainspring.core.contracts import (
    access_requests,
    canaries,
    idling,
    materialising,
    retention,
    skew,
    training,
)
from mainspring.workflows.access import messages as access_messages
from mainspring.workflows.access.workflow import ExpireAccess
from mainspring.workflows.batch_scoring.workflow import BatchScore
from mainspring.workflows.deployment.workflow import DeployModel
from mainspring.workflows.drift_checks.workflow import CheckDrift
from mainspring.workflows.erasing.workflow import EraseSubject
from mainspring.workflows.idling.workflow import StopIdle
from mainspring.workflows.key_rotation.workflow import RotateKeys
from mainspring.workflows.materialising import messages as materialising_messages
from mainspring.workflows.materialising.workflow import Materialize
from mainspring.workflows.pipelines.workflow import RunPipeline
from mainspring.workflows.queueing import messages as queue_messages
from mainspring.workflows.releasing.workflow import ReleaseEndpoint
from mainspring.workflows.retention import messages as retention_messages
from mainspring.workflows.retention.workflow import EnforceRetention
from mainspring.workflows.retiring.workflow import RetireModel
from mainspring.workflows.retraining.workflow import RetrainOnDrift
from mainspring.workflows.skew import messages as skew_messages
from mainspring.workflows.skew.workflow import CheckSkew
from mainspring.workflows.training.workflow import TrainModel
from mainspring.workflows.tuning.workflow import TuneModel


async def deploy(client: Client, **changes: Any) -> WorkflowHandle[Any, Any]:
    handle = await client.start_workflow(
        DeployModel.run, deploy_request(**changes), id="run_deploy", task_queue=QUEUE
    )
    with contextlib.suppress(WorkflowFailureError):  # a history like any other
        await handle.result()
    return handle


async def train(client: Client, **changes: Any) -> WorkflowHandle[Any, Any]:
    handle = await client.start_workflow(
        TrainModel.run, train_request(**changes), id="run_train", task_queue=QUEUE
    )
    with contextlib.suppress(WorkflowFailureError):
        await handle.result()
    return handle


async def decided(client: Client, **decision: Any) -> WorkflowHandle[Any, Any]:
    """A training that a person decides about."""
    handle = await client.start_workflow(TrainModel.run, train_request(), id="run_train", task_queue=QUEUE)
    while (await handle.query(TrainModel.status)).stage is not training.Stage.APPROVAL:
        await asyncio.sleep(0.02)
    await handle.execute_update(TrainModel.decide, training.Decision(by="eva", **decision))
    await handle.result()
    return handle


async def cancelled(
    client: Client, process: Any, asked: Any, begun: asyncio.Event
) -> WorkflowHandle[Any, Any]:
    """A run that is cancelled in the middle of what it tells by `begun`."""
    handle = await client.start_workflow(process, asked, id=asked.run_id, task_queue=QUEUE)
    await begun.wait()
    await handle.cancel()
    with contextlib.suppress(WorkflowFailureError):
        await handle.result()
    return handle


async def steered(
    client: Client, endpoint: Endpoint, *orders: tuple[canaries.CanaryOrder, int], **changes: Any
) -> WorkflowHandle[Any, Any]:
    """A canary that nobody is sure of, and what an approver orders of it one after the other, each with a share."""
    request = deploy_request(**{"step_seconds": 600.0, "canary_percents": [5, 25], **changes})
    handle = await client.start_workflow(DeployModel.run, request, id="run_deploy", task_queue=QUEUE)
    for order, percent in orders:
        is_paused = order is not canaries.CanaryOrder.PAUSE and endpoint.watched.is_set()
        while not is_paused and "10 of 50" not in (await handle.query(DeployModel.status)).message:
            await asyncio.sleep(0.02)
        endpoint.watched.clear()
        asked = canaries.Steer(by="eva", reason="a look", to_percent=percent, roles=("approver",))
        await handle.execute_update(str(order), asked)
        if order is canaries.CanaryOrder.PAUSE:
            await endpoint.watched.wait()
    return handle


async def steered_to_its_end(
    client: Client, endpoint: Endpoint, *orders: tuple[canaries.CanaryOrder, int], **changes: Any
) -> WorkflowHandle[Any, Any]:
    handle = await steered(client, endpoint, *orders, **changes)
    await handle.result()
    return handle


async def breached(client: Client, endpoint: Endpoint) -> WorkflowHandle[Any, Any]:
    """A canary that is paused, and that breaks a limit then."""
    handle = await steered(client, endpoint, (canaries.CanaryOrder.PAUSE, 0))
    endpoint.requests, endpoint.errors_at = 100, {5: 50}
    await handle.result()
    return handle


async def queued(
    client: Client, endpoint: Endpoint, *, of_queue: bool = False, is_aborted: bool = False, **changes: Any
) -> WorkflowHandle[Any, Any]:
    """A deployment that waits for another one, or the queue that they wait in."""
    ahead = deploy_request(run_id="run_ahead", step_seconds=3600.0, canary_percents=[5])
    first = await client.start_workflow(DeployModel.run, ahead, id=ahead.run_id, task_queue=QUEUE)
    await endpoint.canary_seen.wait()
    request = deploy_request(**{"bundle_digest": "sha256:" + "c" * 64, "canary_percents": [5], **changes})
    handle = await client.start_workflow(DeployModel.run, request, id="run_deploy", task_queue=QUEUE)
    line = client.get_workflow_handle(queue_messages.queue_id(request.endpoint))
    while "waits for" not in (await handle.query(DeployModel.status)).message:
        await asyncio.sleep(0.02)
    if is_aborted:
        asked = canaries.Steer(by="eva", reason="a better one came")
        await handle.execute_update(str(canaries.CanaryOrder.ABORT), asked)
    if changes:
        with contextlib.suppress(WorkflowFailureError):
            await handle.result()
    endpoint.requests = 100
    await first.result()
    with contextlib.suppress(WorkflowFailureError):
        await handle.result()
    await line.result()
    return line if of_queue else handle


async def skewed(client: Client) -> WorkflowHandle[Any, Any]:
    handle = await client.start_workflow(
        CheckSkew.run, skew.SkewRequest(project="flight-delay"), id="skew-flight-delay", task_queue=QUEUE
    )
    await handle.result()
    return handle


async def checked(client: Client) -> WorkflowHandle[Any, Any]:
    request = DRIFT_REQUEST.model_copy(update={"retrain": True})
    handle = await client.start_workflow(CheckDrift.run, request, id="drift_found", task_queue=QUEUE)
    await handle.result()
    return handle


async def score(client: Client) -> WorkflowHandle[Any, Any]:
    handle = await client.start_workflow(BatchScore.run, score_request(), id="run_score", task_queue=QUEUE)
    with contextlib.suppress(WorkflowFailureError):
        await handle.result()
    return handle


async def retrained(client: Client) -> WorkflowHandle[Any, Any]:
    handle = await client.start_workflow(
        RetrainOnDrift.run, REQUEST, id="retrain-flight-delay", task_queue=QUEUE
    )
    await handle.result()
    return handle


async def retired(client: Client, **changes: Any) -> WorkflowHandle[Any, Any]:
    handle = await client.start_workflow(
        RetireModel.run, retire_request(**changes), id="run_retire", task_queue=QUEUE
    )
    with contextlib.suppress(WorkflowFailureError):
        await handle.result()
    return handle


async def released(client: Client, **changes: Any) -> WorkflowHandle[Any, Any]:
    handle = await client.start_workflow(
        ReleaseEndpoint.run, release_request(**changes), id="run_release", task_queue=QUEUE
    )
    with contextlib.suppress(WorkflowFailureError):
        await handle.result()
    return handle


def unasked() -> Rooms:
    """One endpoint to tell of, one to stop, one in use."""
    now = datetime.now(UTC)
    return Rooms(
        endpoint("busy", now, days=1),
        endpoint("idle", now, days=30),
        endpoint("told", now, days=30, noticed_at=now - timedelta(days=2)),
    )


def unpaid() -> Rooms:
    """A budget is spent: one endpoint to tell of, one to take out of service, one that serving does not let go."""
    now = datetime.now(UTC)
    over = {"spent_budget": "prod/month", "spent_since": now - timedelta(days=3)}
    told = {**over, "budget_noticed_at": now - timedelta(days=1)}
    rooms = Rooms(
        endpoint("canary", now, days=0.01, **told),
        endpoint("spent", now, days=0.01, **told),
        endpoint("untold", now, days=0.01, **over),
    )
    rooms.in_canary = {"canary"}
    return rooms


async def idled(client: Client) -> WorkflowHandle[Any, Any]:
    request = idling.StopIdleRequest(project=PROJECT)
    handle = await client.start_workflow(StopIdle.run, request, id="stop-idle-flight-delay", task_queue=QUEUE)
    await handle.result()
    return handle


async def rotated(client: Client, **changes: Any) -> WorkflowHandle[Any, Any]:
    request = key_request(**changes)
    handle = await client.start_workflow(RotateKeys.run, request, id=request.change_id, task_queue=QUEUE)
    with contextlib.suppress(WorkflowFailureError):
        await handle.result()
    return handle


async def tuned(client: Client, **changes: Any) -> WorkflowHandle[Any, Any]:
    request = tune_request(**changes)
    handle = await client.start_workflow(TuneModel.run, request, id="run_tune", task_queue=QUEUE)
    with contextlib.suppress(WorkflowFailureError):
        await handle.result()
    return handle


async def materialized(client: Client) -> WorkflowHandle[Any, Any]:
    request = materialising.MaterializeRequest(project="flight-delay")
    handle = await client.start_workflow(
        Materialize.run, request, id="materialize-flight-delay", task_queue=QUEUE
    )
    await handle.result()
    return handle


@activity.defn(name=materialising_messages.PUSH)
async def push_rows(request: materialising.MaterializeRequest) -> materialising.MaterializeOutcome:
    """What stands for the real rows."""
    view = materialising.MaterializedView(name="view", rows=10, pushed=8, taken=7)
    return materialising.MaterializeOutcome(project=request.project, is_backfill=False, views=(view,))


async def removed(client: Client) -> WorkflowHandle[Any, Any]:
    request = retention.RetentionRequest(project="flight-delay", skew_reports_days=30)
    handle = await client.start_workflow(
        EnforceRetention.run, request, id="retention-flight-delay", task_queue=QUEUE
    )
    await handle.result()
    return handle


@activity.defn(name=retention_messages.REMOVE)
async def remove_old(request: retention.RetentionRequest) -> retention.RetentionOutcome:
    """What stands for the real removal."""
    one = retention.RemovedKind(kind=retention.KeptKind.SKEW_REPORTS, removed=3, bytes=300, held=1, kept=7)
    return retention.RetentionOutcome(
        project=request.project, is_dry=request.is_dry, kinds=(one,), report_path="report.json"
    )


async def expired(client: Client) -> WorkflowHandle[Any, Any]:
    request = access_requests.ExpireRequest(
        project="flight-delay",
        request_id="access_1",
        state=access_requests.AccessState.ACTIVE,
        due_at=datetime.now(UTC) + timedelta(hours=1),
    )
    handle = await client.start_workflow(
        ExpireAccess.run, request, id=access_requests.expiry_id(request), task_queue=QUEUE
    )
    await handle.result()
    return handle


def late() -> Callable[..., Any]:
    """What stands for the control API: its clock is behind, and at the second look it is due."""
    looks: list[str] = []

    @activity.defn(name=access_messages.EXPIRE)
    async def expire(request: access_requests.ExpireRequest) -> access_requests.ExpireOutcome:
        looks.append(request.request_id)
        state = request.state if len(looks) == 1 else access_requests.AccessState.EXPIRED
        return access_requests.ExpireOutcome(request_id=request.request_id, state=state)

    return expire


@activity.defn(name=skew_messages.CHECK)
async def check_skew(request: skew.SkewRequest) -> skew.SkewOutcome:
    """What stands for the real check."""
    found = skew.SkewedFeature(name="view__field", equal=8, mismatched=1, missing=1, extra=0)
    return skew.SkewOutcome(
        project=request.project, rows=10, later_rows=2, features=3, skewed=(found,), report_path="report.json"
    )


async def piped(
    client: Client, *, deciding: tuple[str, ...] = ("eva", "kim"), approve: bool = True
) -> WorkflowHandle[Any, Any]:
    handle = await client.start_workflow(RunPipeline.run, pipeline_request(), id="run_pipe", task_queue=QUEUE)
    for by in deciding:
        # Until it waits for somebody, and not until it does something else than a step: at first it does nothing.
        while (stage := (await handle.query(RunPipeline.status)).stage) not in ENDED | {
            training.Stage.APPROVAL
        }:
            await asyncio.sleep(0.02)
        if stage in ENDED:
            break
        decision = training.Decision(approve=approve, by=by, roles=("approver",))
        await handle.execute_update(RunPipeline.decide, decision)
    with contextlib.suppress(WorkflowFailureError):
        await handle.result()
    return handle


async def erased(client: Client, *, approve: bool = True) -> WorkflowHandle[Any, Any]:
    handle = await client.start_workflow(EraseSubject.run, erase_request(), id="era_1", task_queue=QUEUE)
    while (await handle.query(EraseSubject.status)).stage is not training.Stage.APPROVAL:
        await asyncio.sleep(0.02)
    await handle.execute_update(EraseSubject.decide, training.Decision(approve=approve, by="ben"))
    with contextlib.suppress(WorkflowFailureError):
        await handle.result()
    return handle
