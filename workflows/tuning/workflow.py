"""`mainspring.TuneModel.v1`: data as for a training, trials, a training with the best. No clock, no randomness, no I/O."""

from __future__ import annotations

import asyncio
from typing import Any, Final, TypeVar

from temporalio import exceptions, workflow
from temporalio.workflow import ActivityConfig

with workflow.unsafe.imports_passed_through():
    from mainspring.core import errors
    from mainspring.core.contracts import training, tuning
    from mainspring.core.contracts.base import Message
    from mainspring.core.contracts.training import Stage
    from mainspring.workflows import cancellation, options, run_log
    from mainspring.workflows import errors as temporal_errors
    from mainspring.workflows.deployment import messages as deployment_messages
    from mainspring.workflows.training import messages as training_messages
    from mainspring.workflows.tuning import messages

M = TypeVar("M", bound=Message)

#: The data steps, and which earlier one each says that it was made from.
_DATA: Final = (
    (Stage.INGEST, training_messages.INGEST, "reading the source", None),
    (Stage.VALIDATE, training_messages.VALIDATE, "checking the data", Stage.INGEST),
    (Stage.FEATURES, training_messages.FEATURES, "computing the feature views", Stage.INGEST),
    (Stage.JOIN, training_messages.JOIN, "joining as of each row's own time", Stage.FEATURES),
    (Stage.LEAK_CHECK, training_messages.LEAK_CHECK, "perturbing the future", None),
    (Stage.FIT_PLAN, training_messages.FIT_PLAN, "fitting the plan on the training split", None),
)


@workflow.defn(name=tuning.TUNE_WORKFLOW)
class TuneModel:
    @workflow.init
    def __init__(self, request: tuning.TuneRequest) -> None:
        self._request = request
        self._log = run_log.RunLog(request.run_id)
        self._result = tuning.TuneResult(run_id=request.run_id, stage=Stage.PENDING)

    @workflow.query(name=training.STATUS_QUERY)
    def status(self) -> training.RunStatus:
        return self._log.status()

    @workflow.run
    async def run(self, request: tuning.TuneRequest) -> tuning.TuneResult:
        try:
            message = await self._tune()
        except (errors.MainspringError, exceptions.FailureError, asyncio.CancelledError) as failure:
            cancelled = exceptions.is_cancelled_exception(failure)
            error = None if cancelled else temporal_errors.from_failure(failure)
            why = "cancelled" if error is None else error.message
            await cancellation.through(self._end(Stage.CANCELLED if cancelled else Stage.FAILED, why, error))
            if error is None:
                raise
            raise temporal_errors.to_failure(error) from failure
        await cancellation.through(self._end(Stage.DONE, message))
        return self._result

    async def _tune(self) -> str:
        await self._prepare_data()
        with self._log.step(
            Stage.TUNE, f"{self._request.trials} trials, {self._request.num_workers} at a time"
        ) as step:
            found = await self._do(messages.TUNE, self._request, messages.Tuned, options.LONG)
            step.detail = found.detail
            for record in (found.usage, *found.more_usage):
                await workflow.execute_activity(
                    training_messages.REPORT_USAGE,
                    training_messages.ReportUsage(record=record),
                    **options.INSIST,
                )
        best = found.trials[found.best]
        self._keep(
            trials=found.trials, best=best.number, parameters=best.parameters, is_cut_short=found.is_cut_short
        )
        says = f"trial {best.number} of {len(found.trials)} is the best, validation auc {best.valid_auc or 0.0:.4f}"
        if found.is_cut_short:
            says += f"; {self._request.max_cpu_hours} core-hours ended the study"
        if not self._request.train_best:
            return says
        with self._log.step(Stage.TRAIN, "starting a training with the best") as step:
            asked = messages.Start(
                request=self._request,
                parameters=best.parameters,
                cause=f"study `{self._request.run_id}`: {says}",
            )
            started = await self._do(messages.START, asked, messages.Started, options.INSIST)
            step.detail = {"run_id": started.run_id}
            self._keep(training_run_id=started.run_id)
        return f"{says}; `{started.run_id}` trains with it"

    async def _prepare_data(self) -> None:
        """Each step is told to be made from an earlier one: shared folders may change hands meanwhile."""
        asked, made = messages.data_request(self._request), dict[Stage, str]()
        for stage, name, says, source in _DATA:
            with self._log.step(stage, says) as step:
                done = await self._do(name, asked, training_messages.Done)
                step.detail, step.reused = done.detail, done.reused
            made[stage] = done.digest
            if source is not None and done.made_from != made[source]:
                raise errors.Conflict(
                    f"what `{source}` made for project `{self._request.project}` was replaced while run"
                    f" `{self._request.run_id}` used it; start it again when the other run has ended",
                    resource=str(source),
                    name=self._request.project,
                )

    async def _do(
        self, name: str, asked: Message, answer: type[M], config: ActivityConfig = options.WORK
    ) -> M:
        result: M = await workflow.execute_activity(name, asked, result_type=answer, **config)
        cancellation.notice()
        return result

    def _keep(self, **found: Any) -> None:
        self._result = self._result.model_copy(update=found)

    async def _end(self, stage: Stage, message: str, error: errors.MainspringError | None = None) -> None:
        """On record first, so that whoever sees the end finds its result there."""
        self._keep(stage=stage, message=message, steps=self._log.steps)
        event = training.RunEvent(
            event_key=run_log.event_key(self._request.run_id, "end"),
            run_id=self._request.run_id,
            action="run.end",
            actor=self._request.requested_by,
            detail={"stage": str(stage), "message": message, "result": self._result.model_dump(mode="json")},
        )
        try:
            await workflow.execute_activity(
                deployment_messages.REPORT_EVENT,
                deployment_messages.ReportEvent(event=event),
                **options.INSIST,
            )
        except exceptions.FailureError as failure:
            message += f"; the end is not on record: {temporal_errors.from_failure(failure).message}"
            self._keep(message=message)
        self._log.end(stage, message, error)
