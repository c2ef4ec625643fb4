"""`/api/v1/projects/{project}/purposes`: what data may be used for."""

from __future__ import annotations

from typing import Annotated

from litestar import Response, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from mainspring.core.contracts import control, purposes
from mainspring.platform import plane as control_plane
from mainspring.platform.http import versions
from mainspring.platform.protection import purposes_service as service

_PATH = "/api/v1/projects/{project:str}/purposes"
_ONE = _PATH + "/{entry:str}"
_TAGS = ["data protection"]


@get(_PATH, tags=_TAGS)
async def list_purposes(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    after: FromQuery[str] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=500)] = 100,
) -> control.Page:
    """What a project's datasets and views may be used for, by name."""
    return await service.read(plane, credential, project, after=after, limit=limit)


@get(_ONE, tags=_TAGS)
async def show_purposes(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    entry: FromPath[str],
) -> Response[purposes.PurposesView]:
    """What one may be used for, with the version of a person's word on it as ETag."""
    found = await service.show(plane, credential, project, entry)
    return versions.tagged(found, found.version)


@put(_ONE, tags=_TAGS)
async def put_purposes(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    entry: FromPath[str],
    data: JSONBody[purposes.PurposesPut],
    if_match: versions.IfMatch = "",
) -> Response[purposes.PurposesView]:
    """Decide what a dataset or view may be used for, by the version in `If-Match`. Roles: approver, admin."""
    made = await service.put(plane, credential, project, entry, data, if_match=if_match)
    return versions.tagged(made, made.version)


HANDLERS = (list_purposes, show_purposes, put_purposes)
