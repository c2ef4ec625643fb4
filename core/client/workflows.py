"""The thin typed client of the workflows: temporalio and pydantic, nothing else. Safe to share between tasks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeVar

from temporalio import client as temporal
from temporalio import common, exceptions, service

from mainspring.core import errors
from mainspring.core.client import connection, ends, failures, payloads, search_attributes, under_way
from mainspring.core.contracts import (
    access_requests,
    base,
    canaries,
    deployment,
    erasure,
    keys,
    pipelines,
    releasing,
    retiring,
    scoring,
    training,
    tuning,
)

if TYPE_CHECKING:
    from mainspring.core import settings

R = TypeVar(
    "R",
    training.TrainResult,
    deployment.DeployResult,
    scoring.ScoreResult,
    tuning.TuneResult,
    pipelines.PipelineResult,
    retiring.RetireResult,
    releasing.ReleaseResult,
    keys.KeyResult,
    erasure.EraseResult,
)

#: After these a run's status does not change any more.
ENDED: Final = frozenset(
    {
        training.Stage.DONE,
        training.Stage.ROLLED_BACK,
        training.Stage.REJECTED,
        training.Stage.CANCELLED,
        training.Stage.FAILED,
    }
)


#: `DependencyDown.name` where a run's worker does not answer, and Temporal does.
WORKER: Final = "worker"

#: What Temporal says of a query that nobody took: in the time given, or at once where no worker polled for minutes.
_NO_WORKER: Final = frozenset(
    {
        service.RPCStatusCode.DEADLINE_EXCEEDED,
        service.RPCStatusCode.CANCELLED,
        service.RPCStatusCode.FAILED_PRECONDITION,
    }
)
_DESCRIBE: Final = timedelta(seconds=5)

#: Events of a run that no worker has seen: it was started, and its first task is waiting.
_NOT_BEGUN: Final = 2


class WorkflowClient:
    """Starts and follows runs; a run's id is its workflow id. Every failure is one of `errors.*`."""

    def __init__(self, client: temporal.Client, task_queue: str) -> None:
        self._client = client
        self._task_queue = task_queue
        self._starts = search_attributes.LabelledStarts(client)

    @classmethod
    async def connect(
        cls,
        address: str,
        *,
        namespace: str,
        task_queue: str,
        codec: payloads.SealedPayloads | None = None,
    ) -> WorkflowClient:
        """`codec` is the workers'; see `payloads.codec_of`. Errors: DependencyDown where no frontend answers."""
        found = await connection.connect(address, namespace=namespace, codec=codec)
        return cls(found, task_queue)

    @classmethod
    async def connect_by(cls, where: settings.WorkflowSettings) -> WorkflowClient:
        """As the settings say, encryption included. Errors: DependencyDown, Misconfigured."""
        return cls(await connection.connect_by(where), where.task_queue)

    async def start_training(self, request: training.TrainRequest) -> str:
        """Start, or join the run of that id; only a failed one is started again. Returns the run id."""
        return await self._start(training.TRAIN_WORKFLOW, request, request.run_id)

    async def start_deployment(self, request: deployment.DeployRequest) -> str:
        """As `start_training`, for a deployment."""
        return await self._start(deployment.DEPLOY_WORKFLOW, request, request.run_id)

    async def start_scoring(self, request: scoring.ScoreRequest) -> str:
        """As `start_training`, for a batch scoring; one that failed goes on with the parts that are missing."""
        return await self._start(scoring.SCORE_WORKFLOW, request, request.run_id)

    async def start_tuning(self, request: tuning.TuneRequest) -> str:
        """As `start_training`, for a study; one that failed goes on with its trials."""
        return await self._start(tuning.TUNE_WORKFLOW, request, request.run_id)

    async def start_retiring(self, request: retiring.RetireRequest) -> str:
        """As `start_training`, for the end of a bundle."""
        return await self._start(retiring.RETIRE_WORKFLOW, request, request.run_id)

    async def start_releasing(self, request: releasing.ReleaseRequest) -> str:
        """As `start_training`, for an endpoint that goes out of service."""
        return await self._start(releasing.RELEASE_WORKFLOW, request, request.run_id)

    async def start_erasure(self, request: erasure.EraseRequest) -> str:
        """As `start_training`; it waits for its decision. One that failed goes on with what is left."""
        return await self._start(erasure.ERASE_WORKFLOW, request, request.erasure_id)

    async def erasure_result(self, erasure_id: str) -> erasure.EraseResult:
        """As `training_result`, for an erasure."""
        return await self._result(erasure_id, erasure.EraseResult)

    async def start_expiry(self, request: access_requests.ExpireRequest) -> str:
        """End access when it is due; the same again, also after its end, is no second one. Returns the workflow's id."""
        name = access_requests.expiry_id(request)
        try:
            return await self._start(access_requests.EXPIRE_WORKFLOW, request, name)
        except errors.Conflict:
            return name  # it has ended: what was due is done

    async def start_pipeline(self, request: pipelines.PipelineRequest) -> str:
        """As `start_training`, for a pipeline; of one that failed the steps that were done are in the cache."""
        return await self._start(pipelines.PIPELINE_WORKFLOW, request, request.run_id)

    async def start_key_change(self, request: keys.KeyRequest) -> str:
        """Change keys. Errors: Conflict while a change of that id is under way; one that has ended is no hindrance."""
        try:
            await self._starts.start(
                keys.ROTATE_WORKFLOW,
                request,
                id=request.change_id,
                task_queue=self._task_queue,
                id_reuse_policy=common.WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            )
        except exceptions.WorkflowAlreadyStartedError as error:
            raise errors.Conflict(
                f"`{request.change_id}` is under way; look at it with `mainspring keys status {request.change_id}`",
                resource="key change",
                name=request.change_id,
            ) from error
        except service.RPCError as error:
            raise ends.typed(error, request.change_id) from error
        return request.change_id

    async def key_change_result(self, change_id: str) -> keys.KeyResult:
        """Wait for its end. Errors: as the other results."""
        return await self._result(change_id, keys.KeyResult)

    async def _start(
        self,
        name: str,
        request: training.TrainRequest
        | deployment.DeployRequest
        | scoring.ScoreRequest
        | tuning.TuneRequest
        | access_requests.ExpireRequest
        | pipelines.PipelineRequest
        | retiring.RetireRequest
        | releasing.ReleaseRequest
        | erasure.EraseRequest,
        run_id: str,
    ) -> str:
        try:
            await self._starts.start(
                name,
                request,
                id=run_id,
                task_queue=self._task_queue,
                id_conflict_policy=common.WorkflowIDConflictPolicy.USE_EXISTING,
                id_reuse_policy=common.WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
            )
        except exceptions.WorkflowAlreadyStartedError as error:
            raise errors.Conflict(
                f"run `{run_id}` has already ended; read its result, or start one with a new id",
                resource="run",
                name=run_id,
            ) from error
        except service.RPCError as error:
            raise ends.typed(error, run_id) from error
        return run_id

    async def status(self, run_id: str, *, within_seconds: float = 1.0) -> training.RunStatus:
        """Where a run is: what its worker says of it, or what Temporal knows where none says anything in time.

        While a step tells how far it is by heartbeats, that is in it, too; it is asked of Temporal, once a look.
        Without a worker, the end of a run and a run that has not begun can still be told.
        Errors: NotFound; DependencyDown, with the name `worker` where only a worker could tell.
        """
        handle = self._client.get_workflow_handle(run_id)
        try:
            status: training.RunStatus = await handle.query(
                training.STATUS_QUERY,
                result_type=training.RunStatus,
                rpc_timeout=timedelta(seconds=within_seconds),
            )
        except service.RPCError as error:
            if error.status in _NO_WORKER:
                return await self._status_without_worker(run_id)
            raise ends.typed(error, run_id) from error
        by = self._client.data_converter
        return await under_way.added(handle, status, by, within_seconds=within_seconds)

    async def _status_without_worker(self, run_id: str) -> training.RunStatus:
        handle = self._client.get_workflow_handle(run_id)
        try:
            found = await handle.describe(rpc_timeout=_DESCRIBE)
            if found.status is not temporal.WorkflowExecutionStatus.RUNNING:
                return await ends.ended(handle, run_id)
        except service.RPCError as error:
            raise ends.typed(error, run_id) from error
        if found.history_length <= _NOT_BEGUN:
            return training.RunStatus(
                run_id=run_id, stage=training.Stage.PENDING, message="no worker has taken it yet"
            )
        raise errors.DependencyDown(
            f"no worker answers for run `{run_id}` on task queue `{found.task_queue}`; the run goes on when there is"
            " one: start it, or look at its log",
            name=WORKER,
        )

    async def decide(
        self, run_id: str, decision: training.Decision, *, intent_id: str | None = None
    ) -> training.RunStatus:
        """Answer a waiting approval; the same `intent_id` again gives the first answer.

        Errors: what the run's validator refuses with.
        """
        return await self._update(run_id, training.DECIDE_UPDATE, decision, intent_id)

    async def steer(
        self, run_id: str, order: canaries.CanaryOrder, asked: canaries.Steer
    ) -> training.RunStatus:
        """Pause, resume, promote or abort the canary of a deployment; the same `order_id` again gives the first answer.

        Errors: what its validator refuses with: Conflict where there is nothing to order.
        """
        return await self._update(run_id, str(order), asked, asked.order_id or None)

    async def _update(
        self, run_id: str, name: str, asked: base.Message, update_id: str | None
    ) -> training.RunStatus:
        handle = self._client.get_workflow_handle(run_id)
        try:
            status: training.RunStatus = await handle.execute_update(
                name, asked, id=update_id, result_type=training.RunStatus
            )
            return status
        except temporal.WorkflowUpdateFailedError as error:
            raise failures.from_failure(error) from error
        except service.RPCError as error:
            raise ends.typed(error, run_id) from error

    async def find(
        self, wanted: search_attributes.Wanted, *, limit: int = 100
    ) -> list[search_attributes.FoundRun]:
        """Runs by what they were started with, newest first; Temporal's index has a run a moment after its start.

        Errors: NotFound where the namespace was not bootstrapped; InvalidRequest; DependencyDown.
        """
        known = await self._starts.known()
        return [one async for one in search_attributes.found(self._client, known, wanted, limit=limit)]

    async def cancel(self, run_id: str) -> None:
        """Ask the run to end; it undoes what it has under way first."""
        try:
            await self._client.get_workflow_handle(run_id).cancel()
        except service.RPCError as error:
            raise ends.typed(error, run_id) from error

    async def training_result(self, run_id: str) -> training.TrainResult:
        """Wait for the end. Errors: the run's own; Conflict where it was cancelled."""
        return await self._result(run_id, training.TrainResult)

    async def deployment_result(self, run_id: str) -> deployment.DeployResult:
        """As `training_result`, for a deployment."""
        return await self._result(run_id, deployment.DeployResult)

    async def scoring_result(self, run_id: str) -> scoring.ScoreResult:
        """As `training_result`, for a batch scoring."""
        return await self._result(run_id, scoring.ScoreResult)

    async def tuning_result(self, run_id: str) -> tuning.TuneResult:
        """As `training_result`, for a study."""
        return await self._result(run_id, tuning.TuneResult)

    async def pipeline_result(self, run_id: str) -> pipelines.PipelineResult:
        """As `training_result`, for a pipeline."""
        return await self._result(run_id, pipelines.PipelineResult)

    async def retiring_result(self, run_id: str) -> retiring.RetireResult:
        """As `training_result`, for the end of a bundle."""
        return await self._result(run_id, retiring.RetireResult)

    async def releasing_result(self, run_id: str) -> releasing.ReleaseResult:
        """As `training_result`, for an endpoint that goes out of service."""
        return await self._result(run_id, releasing.ReleaseResult)

    async def watch(
        self, run_id: str, *, poll_seconds: float = 0.5, patience_seconds: float = 30.0
    ) -> AsyncIterator[training.RunStatus]:
        """Every status that differs from the one before, up to the final one.

        A worker that is renewed is waited for. Errors: NotFound; DependencyDown where Temporal does not answer, or no
        worker for `patience_seconds`.
        """
        before: training.RunStatus | None = None
        heard = time.monotonic()
        while True:
            try:
                now = await self.status(run_id)
            except errors.DependencyDown as error:
                if error.name != WORKER or time.monotonic() - heard > patience_seconds:
                    raise
                await asyncio.sleep(poll_seconds)
                continue
            heard = time.monotonic()
            if now != before:
                yield now
                before = now
            if now.stage in ENDED:
                return
            await asyncio.sleep(poll_seconds)

    async def _result(self, run_id: str, kind: type[R]) -> R:
        handle = self._client.get_workflow_handle(run_id, result_type=kind)
        try:
            result: R = await handle.result()
            return result
        except temporal.WorkflowFailureError as error:
            if exceptions.is_cancelled_exception(error.cause):
                raise errors.Conflict(
                    f"run `{run_id}` was cancelled; start one with a new id", resource="run", name=run_id
                ) from error
            raise failures.from_failure(error) from error
        except service.RPCError as error:
            raise ends.typed(error, run_id) from error
