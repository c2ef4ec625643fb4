"""`/api/v1/projects/{project}/classifications`."""

from __future__ import annotations

from typing import Annotated

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from mainspring.core.contracts import control, protection
from mainspring.platform import plane as control_plane
from mainspring.platform.protection import service

_PATH = "/api/v1/projects/{project:str}/classifications"
_TAGS = ["data protection"]


@get(_PATH, tags=_TAGS)
async def list_classifications(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    entry: FromQuery[str] = "",
    wanted: Annotated[protection.ClassificationState | None, QueryParameter(name="state")] = None,
    after: FromQuery[str] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=500)] = 100,
) -> control.Page:
    """Columns that may tell of persons, with what was decided, by entry and column."""
    return await service.read(plane, credential, project, entry=entry, state=wanted, after=after, limit=limit)


@post(_PATH, tags=_TAGS, status_code=200)
async def find_classifications(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    data: JSONBody[protection.Findings],
) -> protection.FindingsReceipt:
    """Keep what a detector found in one entry, for a person to decide about. Roles: service, developer, admin."""
    return await service.find(plane, credential, project, data)


@post("/api/v1/projects/{project:str}/classifications:decide", tags=_TAGS, status_code=200)
async def decide_classification(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    data: JSONBody[protection.ClassificationDecision],
) -> protection.ClassificationView:
    """Say that a column tells of persons, or that it does not. Roles: approver, admin."""
    return await service.decide(plane, credential, project, data)


HANDLERS = (list_classifications, find_classifications, decide_classification)
