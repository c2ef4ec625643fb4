"""`/v1/events`: what goes on record, as it happens."""

from __future__ import annotations

from typing import Annotated

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromQuery, HeaderParameter, QueryParameter
from litestar.response import Stream

from mainspring.platform import plane as control_plane
from mainspring.platform.events import service

#: A proxy in between hands on each event at once, and keeps none.
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


@get(["/api/v1/events", "/v1/events"], tags=["events"], media_type="text/event-stream")
async def watch_events(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromQuery[str] = "",
    run: FromQuery[str] = "",
    endpoint: FromQuery[str] = "",
    after: FromQuery[str] = "",
    until_idle: FromQuery[bool] = False,
    heartbeat_seconds: Annotated[float, QueryParameter(ge=0.1, le=60)] = 15.0,
    last_event_id: Annotated[str, HeaderParameter(name="Last-Event-ID")] = "",
) -> Stream:
    """Server-sent events of what the actor may read: `record` for each fact, `stage` where one run is watched, `endpoint` where one is.

    From now on, or after `Last-Event-ID` (or `after`); `until_idle` ends once everything on record was told.
    """
    wanted = service.Wanted(project, run, endpoint, until_idle, heartbeat_seconds)
    told = await service.watch(plane, credential, wanted, after=last_event_id or after)
    return Stream(told, media_type="text/event-stream", headers=_HEADERS)


HANDLERS = (watch_events,)
