"""The one side effect of the end of access: the control API is told that it is due."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
from temporalio import activity

from mainspring.core.contracts import access_requests
from mainspring.workflows import errors as temporal_errors
from mainspring.workflows import heartbeat
from mainspring.workflows.access import messages
from mainspring.workflows.exchange import exchange

__all__ = ["AccessActivities"]


class AccessActivities:
    def __init__(self, control: httpx.AsyncClient) -> None:
        self._control = control

    def all(self) -> list[Callable[..., Any]]:
        """What a worker registers."""
        return [self.expire]

    @activity.defn(name=messages.EXPIRE)
    async def expire(self, request: access_requests.ExpireRequest) -> access_requests.ExpireOutcome:
        """Safe to repeat: what is over stays as it is. Errors: NotFound where the control database has no such request."""
        path = f"/api/v1/projects/{request.project}/access-requests/{request.request_id}/expire"
        with temporal_errors.typed():
            async with heartbeat.beating():
                found = await exchange(self._control, "control", "POST", path, request.model_dump_json())
        view = access_requests.AccessRequestView.model_validate(found)
        return access_requests.ExpireOutcome(request_id=view.request_id, state=view.state)
