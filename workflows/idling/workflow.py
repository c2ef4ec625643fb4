"""`mainspring.StopIdle.v1`: look, tell of what nobody asks or can pay, stop what was told of long enough. A schedule starts it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from temporalio import exceptions, workflow

with workflow.unsafe.imports_passed_through():
    from mainspring.core import errors
    from mainspring.core.contracts import deployment, idling, releasing
    from mainspring.core.cost import idle
    from mainspring.workflows import errors as temporal_errors
    from mainspring.workflows import options
    from mainspring.workflows.deployment import messages as deployment_messages
    from mainspring.workflows.idling import messages
    from mainspring.workflows.releasing import messages as releasing_messages


@workflow.defn(name=idling.STOP_IDLE_WORKFLOW)
class StopIdle:
    @workflow.run
    async def run(self, request: idling.StopIdleRequest) -> idling.StopIdleOutcome:
        """What was done. An idle endpoint that is asked in between is loaded again by that request: nothing is refused."""
        looked = await workflow.execute_activity(
            messages.LOOK, request, result_type=messages.Looked, **options.EXCHANGE
        )
        now = workflow.now()
        over = _OverBudget(request)
        noticed, waiting, stopped = [], [], []
        for one in looked.endpoints:
            # Nobody's of a history from before budgets stopped endpoints: those have none.
            if one.spent_budget and await over.mind(one, now):
                continue
            since = idle.idle_since(one)
            match idle.verdict(one, since, request, now):
                case idle.Verdict.NOTICE:
                    told = {"idle_since": since.isoformat(), "grace_minutes": request.grace_minutes}
                    await _note(one.endpoint, idling.IdleKind.NOTICE, since, told)
                    noticed.append(one.endpoint)
                case idle.Verdict.WAIT:
                    waiting.append(one.endpoint)
                case idle.Verdict.STOP:
                    stopped.append(await self._stop(one.endpoint, since))
        return idling.StopIdleOutcome(
            project=request.project,
            looked_at=len(looked.endpoints),
            noticed=tuple(noticed),
            waiting=tuple(waiting + over.waiting),
            stopped=tuple(stopped),
            budget_noticed=tuple(over.noticed),
            budget_stopped=tuple(over.stopped),
            refused=over.refused,
        )

    async def _stop(self, endpoint: str, since: datetime) -> idling.StoppedEndpoint:
        rested: messages.Rested = await workflow.execute_activity(
            messages.REST,
            messages.Rest(endpoint=endpoint, idle_since=since),
            result_type=messages.Rested,
            **options.EXCHANGE,
        )
        told = rested.stopped.model_dump(mode="json")
        await _note(endpoint, idling.IdleKind.STOP, since, told)
        return rested.stopped


class _OverBudget:
    """Endpoints whose budget is spent and wants them stopped, as it was set: told, and taken out of service after the grace."""

    def __init__(self, request: idling.StopIdleRequest) -> None:
        self._request = request
        self.noticed: list[str] = []
        self.waiting: list[str] = []
        self.stopped: list[str] = []
        self.refused: dict[str, str] = {}

    async def mind(self, one: idling.IdleEndpoint, now: datetime) -> bool:
        """Whether that is all that is done about it now."""
        since, minutes = one.spent_since, self._request.budget_grace_minutes
        match idle.over_budget(one, self._request, now):
            case idle.Verdict.NOTICE if since is not None:
                told = {"budget": one.spent_budget, "grace_minutes": minutes}
                await _note(one.endpoint, idling.IdleKind.BUDGET_NOTICE, since, told)
                self.noticed.append(one.endpoint)
            case idle.Verdict.WAIT:
                self.waiting.append(one.endpoint)
            case idle.Verdict.STOP if since is not None:
                await self._stop(one, since)
            case _:
                return False
        return True

    async def _stop(self, one: idling.IdleEndpoint, since: datetime) -> None:
        try:
            told = await self._release(one)
        except exceptions.ActivityError as failure:
            error = temporal_errors.from_failure(failure)
            if not isinstance(error, errors.Conflict):
                raise
            self.refused[one.endpoint] = error.message
            return
        await _note(one.endpoint, idling.IdleKind.BUDGET_STOP, since, {"budget": one.spent_budget, **told})
        self.stopped.append(one.endpoint)

    async def _release(self, one: idling.IdleEndpoint) -> dict[str, Any]:
        """What to bring back. Errors: Conflict while a canary is in its traffic, for a pinned one, and for other traffic than was
        looked at."""
        found = await workflow.execute_activity(
            deployment_messages.READ_ENDPOINT,
            deployment_messages.ReadEndpoint(endpoint=one.endpoint),
            result_type=deployment_messages.EndpointFound,
            **options.EXCHANGE,
        )
        if found.view is None:
            return {"version": found.released_version}
        request = releasing.ReleaseRequest(
            run_id=workflow.info().workflow_id,
            project=one.project,
            environment=one.environment,
            requested_by=f"budget {one.spent_budget}",
            endpoint=one.endpoint,
            reason=f"budget `{one.spent_budget}` of `{one.project}` is spent",
        )
        released = await workflow.execute_activity(
            releasing_messages.RELEASE,
            releasing_messages.Release(request=request, version=found.view.traffic.version),
            result_type=deployment.EndpointReleased,
            **options.EXCHANGE,
        )
        return {"version": released.version, "bundles": released.bundles}


async def _note(endpoint: str, kind: idling.IdleKind, since: datetime, told: dict[str, Any]) -> None:
    """One of a kind for each time that it has become so, whichever run says it."""
    key = f"idle/{endpoint}/{kind}/{since.isoformat()}"
    event = idling.IdleEvent(event_key=key, kind=kind, detail=told)
    await workflow.execute_activity(
        messages.NOTE, messages.Note(endpoint=endpoint, event=event), **options.INSIST
    )
