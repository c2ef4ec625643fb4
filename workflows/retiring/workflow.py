"""`mainspring.RetireModel.v1`: look, move, withdraw, unregister; a revocation withdraws first. No clock, no I/O."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

from temporalio import exceptions, workflow
from temporalio.workflow import ActivityConfig

with workflow.unsafe.imports_passed_through():
    from mainspring.core import errors
    from mainspring.core.contracts import retiring, training
    from mainspring.core.contracts.base import Message
    from mainspring.core.contracts.training import Stage
    from mainspring.workflows import cancellation, options, run_log
    from mainspring.workflows import errors as temporal_errors
    from mainspring.workflows.deployment import messages as deployment_messages
    from mainspring.workflows.retiring import messages

M = TypeVar("M", bound=Message)


@workflow.defn(name=retiring.RETIRE_WORKFLOW)
class RetireModel:
    @workflow.init
    def __init__(self, request: retiring.RetireRequest) -> None:
        self._request = request
        self._log = run_log.RunLog(request.run_id)
        self._result = retiring.RetireResult(
            run_id=request.run_id, stage=Stage.PENDING, bundle_digest=request.bundle_digest
        )

    @workflow.query(name=training.STATUS_QUERY)
    def status(self) -> training.RunStatus:
        return self._log.status()

    @workflow.run
    async def run(self, request: retiring.RetireRequest) -> retiring.RetireResult:
        """Safe to start again: what is done stays done, and what is left is done."""
        try:
            await self._retire()
        except (errors.MainspringError, exceptions.FailureError, asyncio.CancelledError) as failure:
            cancelled = exceptions.is_cancelled_exception(failure)
            error = None if cancelled else temporal_errors.from_failure(failure)
            why = "cancelled" if error is None else error.message
            await cancellation.through(self._end(Stage.CANCELLED if cancelled else Stage.FAILED, why, error))
            if error is None:
                raise
            raise temporal_errors.to_failure(error) from failure
        verb = "revoked" if request.is_revocation else "retired"
        left = f"; nobody answers for `{'`, `'.join(self._result.unanswered)}`" * bool(
            self._result.unanswered
        )
        await cancellation.through(self._end(Stage.DONE, f"`{request.bundle_digest}` is {verb}{left}"))
        return self._result

    async def _retire(self) -> None:
        asked = self._request
        with self._log.step(Stage.PLAN, "looking where it is in traffic") as step:
            found = await self._do(messages.LOOK, asked, messages.Looked)
            step.detail = found.model_dump(mode="json")
        if asked.is_revocation:
            await self._withdraw()
        # Of a revoked bundle serving has taken the shadows itself.
        moves = found.stable_on if asked.replace_by is not None else []
        moves = moves if asked.is_revocation else [*moves, *found.shadow_on]
        for endpoint in moves:
            with self._log.step(Stage.PROMOTE, f"taking it out of `{endpoint}`") as step:
                move = messages.Move(request=asked, endpoint=endpoint)
                moved = await self._do(messages.MOVE, move, messages.Moved)
                step.detail = {"endpoint": endpoint, **moved.model_dump(mode="json")}
            self._keep(moved=[*self._result.moved, endpoint])
        self._keep(unanswered=[name for name in found.stable_on if name not in self._result.moved])
        if not asked.is_revocation:
            await self._withdraw()
        with self._log.step(Stage.REGISTER, "taking its names in the registry") as step:
            gone = await self._do(messages.UNREGISTER, asked, messages.Unregistered, options.INSIST)
            step.detail = gone.model_dump(mode="json")
        self._keep(aliases=gone.aliases)

    async def _withdraw(self) -> None:
        """On record as soon as it is done: what follows may fail, and this stays."""
        with self._log.step(Stage.PUBLISH, "withdrawing it") as step:
            mark = await self._do(messages.WITHDRAW, self._request, messages.Withdrawn, options.INSIST)
            step.detail = mark.model_dump(mode="json")
            action = "bundle.revoke" if self._request.is_revocation else "bundle.withdraw"
            await self._report("withdraw", action, {"bundle": self._request.bundle_digest, **step.detail})

    async def _do(
        self, name: str, asked: Message, answer: type[M], config: ActivityConfig = options.EXCHANGE
    ) -> M:
        result: M = await workflow.execute_activity(name, asked, result_type=answer, **config)
        cancellation.notice()
        return result

    async def _report(self, step: str, action: str, detail: dict[str, Any]) -> None:
        event = training.RunEvent(
            event_key=run_log.event_key(self._request.run_id, step),
            run_id=self._request.run_id,
            action=action,
            actor=self._request.requested_by,
            detail=detail,
        )
        await workflow.execute_activity(
            deployment_messages.REPORT_EVENT, deployment_messages.ReportEvent(event=event), **options.INSIST
        )

    def _keep(self, **found: Any) -> None:
        self._result = self._result.model_copy(update=found)

    async def _end(self, stage: Stage, message: str, error: errors.MainspringError | None = None) -> None:
        """On record first, so that whoever sees the end finds its result there."""
        self._keep(stage=stage, message=message, steps=self._log.steps)
        detail = {"stage": str(stage), "message": message, "result": self._result.model_dump(mode="json")}
        try:
            await self._report("end", "run.end", detail)
        except exceptions.FailureError as failure:
            message += f"; the end is not on record: {temporal_errors.from_failure(failure).message}"
            self._keep(message=message)
        self._log.end(stage, message, error)
