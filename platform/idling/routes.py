"""`/api/v1/idle-endpoints` and `/api/v1/endpoints/{name}/idle-events`."""

from __future__ import annotations

from typing import Annotated

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from mainspring.core.contracts import control, idling
from mainspring.platform import plane as control_plane
from mainspring.platform.idling import service

_TAGS = ["endpoints"]


@get("/api/v1/idle-endpoints", tags=_TAGS)
async def list_idle_endpoints(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromQuery[str] = "",
    after: FromQuery[str] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=500)] = 100,
) -> control.Page:
    """Endpoints by name: when each was asked last, told of as idle, and stopped."""
    return await service.read(plane, credential, project=project, after=after, limit=limit)


@post("/api/v1/endpoints/{name:str}/idle-events", tags=_TAGS)
async def report_idle_event(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    name: FromPath[str],
    data: JSONBody[idling.IdleEvent],
) -> control.AuditView:
    """Put on record that an endpoint was told of as idle, or stopped; idempotent by `event_key`. Role: service."""
    return await service.report(plane, credential, name, data)


HANDLERS = (list_idle_endpoints, report_idle_event)
