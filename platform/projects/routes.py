"""`/api/v1/projects`."""

from __future__ import annotations

from typing import Annotated

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from mainspring.core.contracts import control
from mainspring.platform import plane as control_plane
from mainspring.platform.projects import service


@post("/api/v1/projects", tags=["projects"])
async def create_project(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    data: JSONBody[control.ProjectCreate],
) -> control.ProjectView:
    """Create a project."""
    return await service.create(plane, credential, data)


@get("/api/v1/projects", tags=["projects"])
async def list_projects(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    after: FromQuery[str] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=500)] = 100,
) -> control.Page:
    """Projects by name."""
    return await service.read(plane, credential, after=after, limit=limit)


@get("/api/v1/projects/{name:str}", tags=["projects"])
async def show_project(
    plane: NamedDependency[control_plane.ControlPlane], credential: NamedDependency[str], name: FromPath[str]
) -> control.ProjectView:
    """One project with what it spent this month."""
    return await service.show(plane, credential, name)


HANDLERS = (create_project, list_projects, show_project)
