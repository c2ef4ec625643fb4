"""`/api/v1/endpoints`."""

from __future__ import annotations

from typing import Annotated

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter

from mainspring.core.contracts import control
from mainspring.platform import plane as control_plane
from mainspring.platform.endpoints import service


@get("/api/v1/endpoints", tags=["endpoints"])
async def list_endpoints(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromQuery[str] = "",
    after: FromQuery[str] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=500)] = 100,
) -> control.Page:
    """Endpoints by name, with the project that each belongs to."""
    return await service.read(plane, credential, project=project, after=after, limit=limit)


@get("/api/v1/endpoints/{name:str}", tags=["endpoints"])
async def show_endpoint(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    name: FromPath[str],
) -> control.EndpointClaim:
    """Whose an endpoint is."""
    return await service.show(plane, credential, name)


HANDLERS = (list_endpoints, show_endpoint)
