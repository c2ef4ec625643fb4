"""`/api/v1/templates`."""

from __future__ import annotations

from typing import Annotated

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from mainspring.core.contracts import control, templates
from mainspring.platform import plane as control_plane
from mainspring.platform.templates import service


@get("/api/v1/templates", tags=["projects"])
async def list_templates(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    after: FromQuery[str] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=500)] = 100,
) -> control.Page:
    """Templates of projects by name, each with the JSON Schema of what it asks."""
    return await service.read(plane, credential, after=after, limit=limit)


@get("/api/v1/templates/{name:str}", tags=["projects"])
async def show_template(
    plane: NamedDependency[control_plane.ControlPlane], credential: NamedDependency[str], name: FromPath[str]
) -> templates.TemplateView:
    """One template, and what it asks."""
    return await service.show(plane, credential, name)


@post("/api/v1/templates/{name:str}/plan", tags=["projects"], status_code=200)
async def plan_project(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    name: FromPath[str],
    data: JSONBody[templates.ProjectAsked],
) -> templates.ProjectPlan:
    """The files of a project that the template would make of these answers, and as a zip file. Nothing is made here."""
    return await service.plan(plane, credential, name, data)


HANDLERS = (list_templates, show_template, plan_project)
