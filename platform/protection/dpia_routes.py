"""`/api/v1/projects/{project}/dpia`."""

from __future__ import annotations

from typing import Annotated

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from mainspring.core.contracts import control, dpia
from mainspring.platform import plane as control_plane
from mainspring.platform.protection import dpia_service

_PATH = "/api/v1/projects/{project:str}/dpia"
_TAGS = ["data protection"]


@get(_PATH, tags=_TAGS)
async def list_dpias(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    before: FromQuery[str] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=100)] = 20,
) -> control.Page:
    """Impact assessments of a project, newest first."""
    return await dpia_service.read(plane, credential, project, before=before, limit=limit)


@post(_PATH, tags=_TAGS, status_code=201)
async def submit_dpia(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    data: JSONBody[dpia.DpiaAnswers],
) -> dpia.DpiaView:
    """Hand in the answers; the risk follows from them. Roles: developer, admin."""
    return await dpia_service.submit(plane, credential, project, data)


@post(_PATH + ":decide", tags=_TAGS, status_code=200)
async def decide_dpia(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    data: JSONBody[dpia.DpiaDecision],
) -> dpia.DpiaView:
    """Sign or reject the open one, as somebody else than who handed it in. Roles: approver, admin; of high risk: admin."""
    return await dpia_service.decide(plane, credential, project, data)


HANDLERS = (list_dpias, submit_dpia, decide_dpia)
