"""`mainspring.ReleaseEndpoint.v1`: look who answers there, take the traffic away, put it on record. No clock, no I/O."""

from __future__ import annotations

import asyncio
from typing import Any

from temporalio import exceptions, workflow

with workflow.unsafe.imports_passed_through():
    from mainspring.core import errors
    from mainspring.core.contracts import deployment, releasing, training
    from mainspring.core.contracts.training import Stage
    from mainspring.workflows import cancellation, options, run_log
    from mainspring.workflows import errors as temporal_errors
    from mainspring.workflows.deployment import messages as deployment_messages
    from mainspring.workflows.releasing import messages


@workflow.defn(name=releasing.RELEASE_WORKFLOW)
class ReleaseEndpoint:
    @workflow.init
    def __init__(self, request: releasing.ReleaseRequest) -> None:
        self._request = request
        self._log = run_log.RunLog(request.run_id)
        self._result = releasing.ReleaseResult(
            run_id=request.run_id, stage=Stage.PENDING, endpoint=request.endpoint
        )

    @workflow.query(name=training.STATUS_QUERY)
    def status(self) -> training.RunStatus:
        return self._log.status()

    @workflow.run
    async def run(self, request: releasing.ReleaseRequest) -> releasing.ReleaseResult:
        """Safe to start again: what is released is so already."""
        try:
            message = await self._release()
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

    async def _release(self) -> str:
        asked = self._request
        with self._log.step(Stage.PLAN, "looking who answers there") as step:
            found = await workflow.execute_activity(
                deployment_messages.READ_ENDPOINT,
                deployment_messages.ReadEndpoint(endpoint=asked.endpoint),
                result_type=deployment_messages.EndpointFound,
                **options.EXCHANGE,
            )
            cancellation.notice()
            step.detail = {"answers": found.view is not None}
        if found.view is None:
            self._keep(traffic_version=found.released_version)
            return f"nobody answers for `{asked.endpoint}`: there was nothing to take away"
        with self._log.step(Stage.PUBLISH, "taking its traffic away") as step:
            released = await workflow.execute_activity(
                messages.RELEASE,
                messages.Release(request=asked, version=found.view.traffic.version),
                result_type=deployment.EndpointReleased,
                **options.EXCHANGE,
            )
            step.detail = {"version": released.version, "bundles": released.bundles}
            self._keep(traffic_version=released.version, bundles=released.bundles)
            # Done, whatever cancellation came meanwhile: on record before anything else.
            await cancellation.through(
                self._report("release", "endpoint.release", {**step.detail, "reason": asked.reason})
            )
        return f"`{asked.endpoint}` is out of service; a deployment brings it back"

    async def _report(self, step: str, action: str, detail: dict[str, Any]) -> None:
        event = training.RunEvent(
            event_key=run_log.event_key(self._request.run_id, step),
            run_id=self._request.run_id,
            action=action,
            actor=self._request.requested_by,
            detail={"endpoint": self._request.endpoint, **detail},
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
