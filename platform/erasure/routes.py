"""`/api/v1/projects/{project}/erasures`."""

from __future__ import annotations

from typing import Annotated

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from mainspring.core.contracts import control, erasure
from mainspring.platform import plane as control_plane
from mainspring.platform.erasure import service

_PATH = "/api/v1/projects/{project:str}/erasures"
_ONE = _PATH + "/{erasure_id:str}"
_TAGS = ["data protection"]


@get(_PATH, tags=_TAGS)
async def list_erasures(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    before: FromQuery[str] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=500)] = 100,
) -> control.Page:
    """A project's erasures, newest first, without their certificates."""
    return await service.read(plane, credential, project, before=before, limit=limit)


@get(_ONE, tags=_TAGS)
async def show_erasure(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    erasure_id: FromPath[str],
) -> erasure.ErasureView:
    """One erasure, with its certificate once it is done."""
    return await service.show(plane, credential, project, erasure_id)


@post(_PATH, tags=_TAGS, status_code=202)
async def request_erasure(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    data: JSONBody[erasure.ErasureCreate],
) -> erasure.ErasureView:
    """Ask for the erasure of one subject. Roles: developer, approver, admin. A legal hold refuses it."""
    return await service.ask(plane, credential, project, data)


@post(_ONE + "/decision", tags=_TAGS, status_code=200)
async def decide_erasure(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    erasure_id: FromPath[str],
    data: JSONBody[erasure.ErasureDecision],
) -> erasure.ErasureView:
    """Approve or reject, as somebody else than who asked. Roles: approver, admin."""
    return await service.decide(plane, credential, project, erasure_id, data)


@post(_ONE + "/report", tags=_TAGS, status_code=200)
async def report_erasure(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    erasure_id: FromPath[str],
    data: JSONBody[erasure.ErasureReport],
) -> erasure.ErasureView:
    """How it ended, told by its worker. Role: service."""
    return await service.report(plane, credential, project, erasure_id, data)


HANDLERS = (
    list_erasures,
    show_erasure,
    request_erasure,
    decide_erasure,
    report_erasure,
)
