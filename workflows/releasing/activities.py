"""The release's side effect: serving, over HTTP, safe to repeat."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
from temporalio import activity

from mainspring.core.contracts import deployment
from mainspring.core.lineage import emitter, jobs
from mainspring.workflows import errors as temporal_errors
from mainspring.workflows import heartbeat
from mainspring.workflows.exchange import exchange
from mainspring.workflows.releasing import messages

__all__ = ["ReleasingActivities"]


class ReleasingActivities:
    """`serving` has its base URL and credentials set; `tell` None: no lineage is told."""

    def __init__(self, serving: httpx.AsyncClient, tell: emitter.Emitter | None = None) -> None:
        self._serving = serving
        self._tell = tell

    def all(self) -> list[Callable[..., Any]]:
        """What a worker registers."""
        return [self.release]

    @activity.defn(name=messages.RELEASE)
    async def release(self, asked: messages.Release) -> deployment.EndpointReleased:
        """Errors: Conflict where somebody set other traffic since, or a canary is in it; both are not tried again."""
        request = asked.request
        body = deployment.EndpointRelease(
            version=asked.version, reason=request.reason, set_by=request.run_id
        ).model_dump_json()
        attempt = activity.info().attempt if activity.in_activity() else 1
        run = jobs.JobRun(request.project, "releasing.release", request.run_id, attempt)
        with temporal_errors.typed():
            async with heartbeat.beating(), emitter.telling_async(self._tell, run) as told:
                path = f"/v1/endpoints/{request.endpoint}:release"
                value = await exchange(self._serving, "serving", "POST", path, body)
                released = deployment.EndpointReleased.model_validate(value)
                told.reads.append(
                    jobs.Dataset(f"endpoint.{request.endpoint}", str(released.version), "endpoint")
                )
        return released
