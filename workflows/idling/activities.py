"""StopIdle's side effects: what the control API has on record of use, and serving, which lets go of weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter
from temporalio import activity

from mainspring.core import settings
from mainspring.core.contracts import control, deployment, idling
from mainspring.core.cost import idle
from mainspring.workflows import errors as temporal_errors
from mainspring.workflows import heartbeat
from mainspring.workflows.exchange import exchange
from mainspring.workflows.idling import messages

__all__ = ["IdlingActivities"]

_ENDPOINTS: Final = TypeAdapter(list[deployment.EndpointView])


class IdlingActivities:
    """`serving` and `control` have their base URL and credentials set."""

    def __init__(
        self, book: settings.CostSettings, serving: httpx.AsyncClient, control: httpx.AsyncClient
    ) -> None:
        self._book = book
        self._serving = serving
        self._control = control

    def all(self) -> list[Callable[..., Any]]:
        """What a worker registers."""
        return [self.look, self.note, self.rest]

    @activity.defn(name=messages.LOOK)
    async def look(self, request: idling.StopIdleRequest) -> messages.Looked:
        """The project's endpoints that are in traffic. Errors: NotFound for the project."""
        with temporal_errors.typed():
            async with heartbeat.beating():
                known = await self._known(request.project)
                views = _ENDPOINTS.validate_python(
                    await exchange(self._serving, "serving", "GET", "/v1/endpoints")
                )
                served = {view.endpoint for view in views}
                return messages.Looked(endpoints=[one for one in known if one.endpoint in served])

    @activity.defn(name=messages.NOTE)
    async def note(self, asked: messages.Note) -> None:
        """On record, once. Errors: NotFound for an endpoint that is nobody's."""
        path = f"/api/v1/endpoints/{quote(asked.endpoint)}/idle-events"
        with temporal_errors.typed():
            async with heartbeat.beating():
                await exchange(self._control, "control", "POST", path, asked.event.model_dump_json())

    @activity.defn(name=messages.REST)
    async def rest(self, asked: messages.Rest) -> messages.Rested:
        """Safe to repeat: what has left memory frees nothing more. Errors: Conflict for a pinned endpoint."""
        path = f"/v1/endpoints/{quote(asked.endpoint)}:rest"
        with temporal_errors.typed():
            async with heartbeat.beating():
                found = deployment.EndpointRested.model_validate(
                    await exchange(self._serving, "serving", "POST", path)
                )
        return messages.Rested(
            stopped=idling.StoppedEndpoint(
                endpoint=asked.endpoint,
                idle_since=asked.idle_since,
                freed_bytes=found.freed_bytes,
                memory_cost_per_month=idle.memory_cost_per_month(found.freed_bytes, self._book),
            )
        )

    async def _known(self, project: str) -> list[idling.IdleEndpoint]:
        found: list[idling.IdleEndpoint] = []
        after = ""
        while True:
            path = f"/api/v1/idle-endpoints?project={quote(project)}&after={quote(after)}"
            page = control.Page.model_validate(await exchange(self._control, "control", "GET", path))
            found += [idling.IdleEndpoint.model_validate(item) for item in page.items]
            if not (after := page.next):
                return found
