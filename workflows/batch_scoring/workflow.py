"""`mainspring.BatchScore.v1`: plan, score, publish. No clock, no randomness, no I/O."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

from temporalio import exceptions, workflow
from temporalio.workflow import ActivityConfig

with workflow.unsafe.imports_passed_through():
    from mainspring.core import errors
    from mainspring.core.contracts import scoring, training
    from mainspring.core.contracts.base import Message
    from mainspring.core.contracts.training import Stage
    from mainspring.workflows import cancellation, options, run_log
    from mainspring.workflows import errors as temporal_errors
    from mainspring.workflows.batch_scoring import messages
    from mainspring.workflows.deployment import messages as deployment_messages
    from mainspring.workflows.training import messages as training_messages

M = TypeVar("M", bound=Message)


@workflow.defn(name=scoring.SCORE_WORKFLOW)
class BatchScore:
    @workflow.init
    def __init__(self, request: scoring.ScoreRequest) -> None:
        self._request = request
        self._log = run_log.RunLog(request.run_id)
        self._result = scoring.ScoreResult(run_id=request.run_id, stage=Stage.PENDING, output=request.output)

    @workflow.query(name=training.STATUS_QUERY)
    def status(self) -> training.RunStatus:
        return self._log.status()

    @workflow.signal(name=scoring.PROGRESS_SIGNAL)
    def progress(self, told: scoring.ScoreProgress) -> None:
        """From the activity that follows the job; a late one, after the step, says nothing any more."""
        if self._log.stage is Stage.SCORE:
            self._log.says(
                f"{told.rows_done} of {told.rows} rows, {told.parts_done} of {told.parts} parts",
                progress=told.rows_done / max(told.rows, 1),
            )

    @workflow.run
    async def run(self, request: scoring.ScoreRequest) -> scoring.ScoreResult:
        try:
            await self._score()
        except (errors.MainspringError, exceptions.FailureError, asyncio.CancelledError) as failure:
            cancelled = exceptions.is_cancelled_exception(failure)
            error = None if cancelled else temporal_errors.from_failure(failure)
            why = "cancelled" if error is None else error.message
            await cancellation.through(self._end(Stage.CANCELLED if cancelled else Stage.FAILED, why, error))
            if error is None:
                raise
            raise temporal_errors.to_failure(error) from failure
        message = f"{self._result.rows} rows scored into `{request.output}`"
        await cancellation.through(self._end(Stage.DONE, message))
        return self._result

    async def _score(self) -> None:
        with self._log.step(Stage.PLAN, "cutting the dataset into parts") as step:
            planned = await self._do(messages.PLAN, self._request, messages.Planned)
            step.detail = {
                "rows": planned.rows,
                "parts": planned.parts,
                "input_version": planned.input_version,
                "features": planned.features_digest,
            }
        with self._log.step(Stage.SCORE, f"scoring on {self._request.num_workers} Ray workers") as step:
            asked = messages.Score(request=self._request, planned=planned)
            scored = await self._do(messages.SCORE, asked, messages.Scored, options.LONG)
            step.detail = scored.detail
            for record in (scored.usage, *scored.more_usage):
                await workflow.execute_activity(
                    training_messages.REPORT_USAGE,
                    training_messages.ReportUsage(record=record),
                    **options.INSIST,
                )
        with self._log.step(Stage.PUBLISH, "checking every part") as step:
            found = await self._do(
                messages.PUBLISH,
                messages.Publish(request=self._request, planned=planned),
                messages.Published,
            )
            step.detail = found.model_dump(mode="json")
        self._keep(rows=found.rows, parts=found.parts, scores_digest=found.scores_digest)

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
