"""`mainspring.RotateKeys.v1`: a new key, an overlap, the end of the old one; or, in an emergency, its end first. No clock, no I/O."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import exceptions, workflow
from temporalio.workflow import ActivityConfig

with workflow.unsafe.imports_passed_through():
    from mainspring.core import errors
    from mainspring.core.contracts import keys, training
    from mainspring.core.contracts.base import Message
    from mainspring.core.contracts.training import Stage
    from mainspring.workflows import cancellation, options, run_log
    from mainspring.workflows import errors as temporal_errors
    from mainspring.workflows.key_rotation import messages

M = TypeVar("M", bound=Message)

#: Of keys of payloads: whoever has read the file encrypts by the old one until he looks again, within a second or so.
_LEAST_OVERLAP = timedelta(minutes=1)


@workflow.defn(name=keys.ROTATE_WORKFLOW)
class RotateKeys:
    @workflow.init
    def __init__(self, request: keys.KeyRequest) -> None:
        self._request = request
        self._log = run_log.RunLog(request.change_id)
        self._reports = 0
        self._result = keys.KeyResult(change_id=request.change_id, stage=Stage.PENDING)

    @workflow.query(name=training.STATUS_QUERY)
    def status(self) -> training.RunStatus:
        """`detail` is the result as far as it is known: a denial's list, before its end."""
        told = self._result.model_dump(mode="json", exclude={"steps"})
        return self._log.status().model_copy(update={"detail": told})

    @workflow.run
    async def run(self, request: keys.KeyRequest) -> keys.KeyResult:
        """Safe to start again: a rotation that did not end goes on from the keys that are there."""
        work = {
            keys.KeyAction.ROTATE: self._rotate,
            keys.KeyAction.DENY: self._deny,
            keys.KeyAction.VOUCH: self._vouch,
        }
        try:
            message = await work[request.action]()
        except (errors.MainspringError, exceptions.FailureError, asyncio.CancelledError) as failure:
            cancelled = exceptions.is_cancelled_exception(failure)
            error = None if cancelled else temporal_errors.from_failure(failure)
            why = "cancelled; what is trusted now stays so" if error is None else error.message
            await cancellation.through(self._end(Stage.CANCELLED if cancelled else Stage.FAILED, why, error))
            if error is None:
                raise
            raise temporal_errors.to_failure(error) from failure
        await cancellation.through(self._end(Stage.DONE, message))
        return self._result

    async def _rotate(self) -> str:
        asked, signs = self._request, self._request.kind is keys.KeyKind.BUNDLES
        with self._log.step(Stage.PLAN, "making the new key") as step:
            turn = await self._do(messages.PREPARE, asked, messages.Turn)
            step.detail = {"old": turn.old, "new": turn.new}
        # Nothing has changed yet: whoever does not know the new key ends the rotation here.
        await self._ask(turn.new)
        with self._log.step(Stage.PROMOTE, "the new key is used from now on") as step:
            switched = await self._do(messages.SWITCH, turn, messages.Switched, options.INSIST)
            step.detail = switched.model_dump(mode="json")
            if switched.changed:
                await self._report("key.switch", {"old": turn.old, "new": turn.new})
        self._keep(key_id=turn.new)
        if signs:
            await self._sign_all(messages.SignAgain(request=asked, old=turn.old))
        with self._log.step(Stage.WARM, "both keys count") as step:
            overlap = timedelta(minutes=asked.overlap_minutes)
            overlap = overlap if signs else max(overlap, _LEAST_OVERLAP)
            step.detail = {"minutes": overlap.total_seconds() / 60}
            await workflow.sleep(overlap)
        if signs:  # who had read the old key before the switch may have signed after it
            await self._sign_all(messages.SignAgain(request=asked, old=turn.old))
        with self._log.step(Stage.POLICY, "withdrawing the old key") as step:
            config = options.INSIST if signs else options.WORK
            gone = await self._do(messages.WITHDRAW, turn, messages.Withdrawn, config)
            step.detail = gone.model_dump(mode="json")
            self._keep(withdrawn=gone.key_ids, kept=gone.kept)
            if gone.key_ids:
                await self._report("key.withdraw", step.detail)
        if signs:
            await self._ask(turn.old, is_withdrawn=True)
        left = f"; {len(gone.kept)} older keys still open what Temporal keeps" if gone.kept else ""
        was = f"`{'`, `'.join(gone.key_ids)}` was withdrawn" if gone.key_ids else "none was withdrawn"
        return f"`{self._result.key_id}` is in use, {was}{left}"

    async def _deny(self) -> str:
        asked = self._request
        denied = asked.key_id or ""
        with self._log.step(Stage.POLICY, "denying the key") as step:
            made = await self._do(messages.DENY, asked, messages.Denied, options.INSIST)
            step.detail = {"key_id": denied, **made.model_dump(mode="json")}
            self._keep(withdrawn=[denied], key_id=made.signer)
            await self._report("key.deny", step.detail)
        with self._log.step(Stage.PLAN, "looking what it signed") as step:
            found = await self._do(messages.LIST_UNSIGNED, asked, messages.Unsigned, options.WORK)
            step.detail = {"bundles": len(found.bundles), "message": found.message}
            self._keep(unsigned=found.bundles)
        await self._ask(denied, is_withdrawn=True)
        if made.signer:
            await self._ask(made.signer)
        more = f"; {found.message}" if found.message else ""
        return f"`{denied}` is denied, and {len(found.bundles)} bundles must be signed again{more}"

    async def _vouch(self) -> str:
        with self._log.step(Stage.PUBLISH, "signing what somebody answers for") as step:
            done = await self._do(
                messages.SIGN_AGAIN,
                messages.SignAgain(request=self._request),
                messages.SignedAgain,
                options.WORK,
            )
            await self._signed(step, done)
        with self._log.step(Stage.DEPLOY, "loading what endpoints answer by") as step:
            loaded = await self._do(messages.LOAD, self._request, messages.Loaded, options.ASK)
            step.detail = loaded.model_dump(mode="json")
        return f"{self._result.resigned} bundles are signed again, {len(self._result.damaged)} are damaged"

    async def _ask(self, key_id: str, *, is_withdrawn: bool = False) -> None:
        with self._log.step(Stage.VALIDATE, "asking everybody who must know") as step:
            question = messages.Ask(request=self._request, key_id=key_id, is_withdrawn=is_withdrawn)
            answer = await self._do(messages.ASK, question, messages.Asked, options.INSIST)
            step.detail = {
                "key_id": key_id,
                "is_withdrawn": is_withdrawn,
                **answer.model_dump(mode="json"),
            }

    async def _sign_all(self, asked: messages.SignAgain) -> None:
        with self._log.step(Stage.PUBLISH, "signing again what the old key signed") as step:
            while True:
                done = await self._do(messages.SIGN_AGAIN, asked, messages.SignedAgain, options.WORK)
                await self._signed(step, done)
                if not done.next:
                    return
                asked = asked.model_copy(update={"after": done.next})

    async def _signed(self, step: run_log.Step, done: messages.SignedAgain) -> None:
        """On record with the old signatures: nothing else has them any more."""
        known = {one.digest for one in self._result.damaged}
        self._keep(
            resigned=self._result.resigned + len(done.signed),
            damaged=[*self._result.damaged, *(one for one in done.damaged if one.digest not in known)],
            key_id=done.signer or self._result.key_id,
        )
        step.detail = {"signed": self._result.resigned, "damaged": len(self._result.damaged)}
        if done.signed:
            signed = [one.model_dump(mode="json") for one in done.signed]
            await self._report("key.sign-again", {"signer": done.signer, "bundles": signed})

    async def _do(
        self, name: str, asked: Message, answer: type[M], config: ActivityConfig = options.EXCHANGE
    ) -> M:
        result: M = await workflow.execute_activity(name, asked, result_type=answer, **config)
        cancellation.notice()
        return result

    async def _report(self, action: str, detail: dict[str, Any]) -> None:
        self._reports += 1
        event = training.RunEvent(
            event_key=run_log.event_key(self._request.change_id, f"{action}-{self._reports}"),
            run_id=self._request.change_id,
            action=action,
            actor=self._request.requested_by,
            detail={"reason": self._request.reason, "kind": str(self._request.kind), **detail},
        )
        await workflow.execute_activity(messages.REPORT, messages.Report(event=event), **options.INSIST)

    def _keep(self, **found: Any) -> None:
        self._result = self._result.model_copy(update=found)

    async def _end(self, stage: Stage, message: str, error: errors.MainspringError | None = None) -> None:
        """On record first, so that whoever sees the end finds its result there."""
        self._keep(stage=stage, message=message, steps=self._log.steps)
        result = self._result.model_dump(mode="json", exclude={"steps"})
        try:
            await self._report("key.end", {"stage": str(stage), "message": message, "result": result})
        except exceptions.FailureError as failure:
            message += f"; the end is not on record: {temporal_errors.from_failure(failure).message}"
            self._keep(message=message)
        self._log.end(stage, message, error)
