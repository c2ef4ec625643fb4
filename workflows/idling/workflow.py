"""`mainspring.StopIdle.v1`: look, tell of what nobody asks, stop what was told of long enough. A schedule starts it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from mainspring.core.contracts import idling
    from mainspring.core.cost import idle
    from mainspring.workflows import options
    from mainspring.workflows.idling import messages


@workflow.defn(name=idling.STOP_IDLE_WORKFLOW)
class StopIdle:
    @workflow.run
    async def run(self, request: idling.StopIdleRequest) -> idling.StopIdleOutcome:
        """What was done. An endpoint that is asked in between is loaded again by that request: nothing is refused."""
        looked = await workflow.execute_activity(
            messages.LOOK, request, result_type=messages.Looked, **options.EXCHANGE
        )
        now = workflow.now()
        noticed, waiting, stopped = [], [], []
        for one in looked.endpoints:
            since = idle.idle_since(one)
            match idle.verdict(one, since, request, now):
                case idle.Verdict.NOTICE:
                    told = {"idle_since": since.isoformat(), "grace_minutes": request.grace_minutes}
                    await self._note(one.endpoint, idling.IdleKind.NOTICE, since, told)
                    noticed.append(one.endpoint)
                case idle.Verdict.WAIT:
                    waiting.append(one.endpoint)
                case idle.Verdict.STOP:
                    stopped.append(await self._stop(one.endpoint, since))
        return idling.StopIdleOutcome(
            project=request.project,
            looked_at=len(looked.endpoints),
            noticed=tuple(noticed),
            waiting=tuple(waiting),
            stopped=tuple(stopped),
        )

    async def _stop(self, endpoint: str, since: datetime) -> idling.StoppedEndpoint:
        rested: messages.Rested = await workflow.execute_activity(
            messages.REST,
            messages.Rest(endpoint=endpoint, idle_since=since),
            result_type=messages.Rested,
            **options.EXCHANGE,
        )
        told = rested.stopped.model_dump(mode="json")
        await self._note(endpoint, idling.IdleKind.STOP, since, told)
        return rested.stopped

    async def _note(
        self, endpoint: str, kind: idling.IdleKind, since: datetime, told: dict[str, Any]
    ) -> None:
        """One of a kind for each time that it has become idle, whichever run says so."""
        key = f"idle/{endpoint}/{kind}/{since.isoformat()}"
        event = idling.IdleEvent(event_key=key, kind=kind, detail=told)
        await workflow.execute_activity(
            messages.NOTE, messages.Note(endpoint=endpoint, event=event), **options.INSIST
        )
