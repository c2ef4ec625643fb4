"""`/api/v1/projects`."""

from __future__ import annotations

from typing import Annotated

from litestar import Response, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from mainspring.core.contracts import control
from mainspring.platform import plane as control_plane
from mainspring.platform.http import versions
from mainspring.platform.projects import service


@post("/api/v1/projects", tags=["projects"])
async def create_project(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    data: JSONBody[control.ProjectCreate],
) -> Response[control.ProjectView]:
    """Create a project."""
    made = await service.create(plane, credential, data)
    return versions.tagged(made, made.version, status=201)


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
) -> Response[control.ProjectView]:
    """One project with what it spent this month."""
    found = await service.show(plane, credential, name)
    return versions.tagged(found, found.version)


@patch("/api/v1/projects/{name:str}", tags=["projects"])
async def update_project(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    name: FromPath[str],
    data: JSONBody[control.ProjectPatch],
    if_match: versions.IfMatch = "",
) -> Response[control.ProjectView]:
    """Change owner, description or budget of the project that `If-Match` names the version of. Role: admin."""
    changed = await service.update(plane, credential, name, data, if_match=if_match)
    return versions.tagged(changed, changed.version)


HANDLERS = (create_project, list_projects, show_project, update_project)
