"""`mainspring.EraseSubject.v1`: approved by a second person, kept out, found, erased, read again, certified. No clock, no I/O."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TypeVar

from temporalio import exceptions, workflow
from temporalio.workflow import ActivityConfig

with workflow.unsafe.imports_passed_through():
    from mainspring.core import errors
    from mainspring.core.contracts import erasure, training
    from mainspring.core.contracts.base import Message
    from mainspring.core.contracts.erasure import ErasureState
    from mainspring.core.contracts.training import Stage
    from mainspring.workflows import cancellation, options, run_log
    from mainspring.workflows import errors as temporal_errors
    from mainspring.workflows.erasing import messages

M = TypeVar("M", bound=Message)

#: Whoever asked must be answered within a month (GDPR, article 12(3)); what nobody decides on by then is rejected, on record.
_DECISION_WITHIN = timedelta(days=30)

#: Logs of serving are written every 30 s at the latest, a stream's state every 10 s, and the list is in force within one.
_SETTLED = timedelta(seconds=60)


@workflow.defn(name=erasure.ERASE_WORKFLOW)
class EraseSubject:
    @workflow.init
    def __init__(self, request: erasure.EraseRequest) -> None:
        self._request = request
        self._log = run_log.RunLog(request.erasure_id)
        self._decision: training.Decision | None = None
        self._result = erasure.EraseResult(erasure_id=request.erasure_id, stage=Stage.PENDING)

    @workflow.query(name=training.STATUS_QUERY)
    def status(self) -> training.RunStatus:
        return self._log.status()

    @workflow.update(name=training.DECIDE_UPDATE)
    def decide(self, decision: training.Decision) -> training.RunStatus:
        self._decision = decision
        self._log.says(f"{'approved' if decision.approve else 'rejected'} by `{decision.by}`")
        return self._log.status()

    @decide.validator
    def _check_decision(self, decision: training.Decision) -> None:
        try:
            if self._log.stage is not Stage.APPROVAL or self._decision is not None:
                raise errors.Conflict(
                    f"erasure `{self._request.erasure_id}` is at `{self._log.stage}` and waits for no decision; look at it first",
                    resource="erasure",
                    name=self._request.erasure_id,
                )
            if decision.by == self._request.requested_by:
                raise errors.PolicyDenied(
                    "rule `erasure.four-eyes` denies it: whoever asked for an erasure does not decide on it; ask somebody else"
                    " who may",
                    rule_id="erasure.four-eyes",
                )
        except errors.MainspringError as error:
            raise temporal_errors.to_failure(error) from error

    @workflow.run
    async def run(self, request: erasure.EraseRequest) -> erasure.EraseResult:
        """Safe to start again: what was erased is not there any more, and the rest is."""
        try:
            message = await self._erase()
        except (errors.MainspringError, exceptions.FailureError, asyncio.CancelledError) as failure:
            cancelled = exceptions.is_cancelled_exception(failure)
            error = None if cancelled else temporal_errors.from_failure(failure)
            why = "cancelled; what is erased by now stays so" if error is None else error.message
            stage = Stage.CANCELLED if cancelled else Stage.FAILED
            await cancellation.through(self._end(stage, ErasureState.FAILED, why, error))
            if error is None:
                raise
            raise temporal_errors.to_failure(error) from failure
        is_done = bool(self._result.certificate)
        stage, state = (Stage.DONE, ErasureState.DONE) if is_done else (Stage.REJECTED, ErasureState.REJECTED)
        await cancellation.through(self._end(stage, state, message))
        return self._result

    async def _erase(self) -> str:
        asked = self._request
        decision = await self._approval()
        if not decision.approve:
            return f"rejected by `{decision.by}`: {decision.reason}"
        approved_at = workflow.now()
        with self._log.step(Stage.POLICY, "the subject is kept out from now on"):
            await self._do(messages.KEEP_OUT, asked, messages.Done)
            # What processes took in before, and hold in memory, is in files by then.
            await workflow.sleep(_SETTLED)
        with self._log.step(Stage.INGEST, "looking through every place") as step:
            found = await self._do(messages.FIND, asked, messages.Places)
            step.detail = {one.place: one.rows for one in found.found}
        with self._log.step(Stage.PUBLISH, "erasing") as step:
            # One after the other: each says what it did, and a place that fails is named.
            for one in found.found:
                self._log.says(f"erasing in {one.place}")
                erased = await self._do(
                    messages.ERASE, messages.EraseOne(request=asked, place=one.place), erasure.Found
                )
                step.detail[one.place] = erased.rows
        with self._log.step(Stage.VALIDATE, "reading everything again") as step:
            prove = messages.Prove(request=asked, before=found.found)
            proven = await self._do(messages.PROVE, prove, messages.Proven)
        with self._log.step(Stage.BUNDLE, "signing the certificate") as step:
            certify = messages.Certify(
                request=asked,
                proven=proven,
                approved_by=decision.by,
                approved_at=approved_at,
                datasets=sorted({digest for one in found.found for digest in one.datasets}),
                clean=sorted({digest for one in found.found for digest in one.clean}),
            )
            made = await self._do(messages.CERTIFY, certify, messages.Certified)
            step.detail = {"models": len(made.models)}
        self._result = self._result.model_copy(update=made.model_dump())
        trained = f"; {len(made.models)} models may have learned from them" if made.models else ""
        return f"{made.rows_erased} rows are erased, and none is left{trained}"

    async def _approval(self) -> training.Decision:
        with self._log.step(Stage.APPROVAL, "waits for a second person") as step:
            try:
                await workflow.wait_condition(lambda: self._decision is not None, timeout=_DECISION_WITHIN)
            except TimeoutError:
                self._decision = training.Decision(
                    approve=False, by="system", reason=f"nobody decided within {_DECISION_WITHIN.days} days"
                )
            decision = self._decision
            assert decision is not None
            step.detail = {"approve": decision.approve, "by": decision.by}
        return decision

    async def _do(
        self, name: str, asked: Message, answer: type[M], config: ActivityConfig = options.WORK
    ) -> M:
        result: M = await workflow.execute_activity(name, asked, result_type=answer, **config)
        cancellation.notice()
        return result

    async def _end(
        self, stage: Stage, state: ErasureState, message: str, error: errors.MainspringError | None = None
    ) -> None:
        """On record first, so that whoever sees the end finds its certificate there."""
        self._result = self._result.model_copy(
            update={"stage": stage, "message": message, "steps": self._log.steps}
        )
        report = messages.Report(
            project=self._request.project,
            erasure_id=self._request.erasure_id,
            report=erasure.ErasureReport.model_validate(
                {
                    "state": state,
                    "message": message[:4000],
                    "rows_erased": self._result.rows_erased,
                    "certificate": self._result.certificate,
                }
            ),
        )
        try:
            await workflow.execute_activity(messages.REPORT, report, **options.INSIST)
        except exceptions.FailureError as failure:
            message += f"; the end is not on record: {temporal_errors.from_failure(failure).message}"
            self._result = self._result.model_copy(update={"message": message})
        self._log.end(stage, message, error)
