"""`/api/v1/projects/{project}/members`."""

from __future__ import annotations

from typing import Annotated

from litestar import Response, delete, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from mainspring.core.contracts import control, members
from mainspring.platform import plane as control_plane
from mainspring.platform.http import versions
from mainspring.platform.members import service

_PATHS = ["/api/v1/projects/{project:str}/members", "/v1/projects/{project:str}/members"]
_ONE = [path + "/{actor:str}" for path in _PATHS]


@get(_PATHS, tags=["members"])
async def list_members(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    after: FromQuery[str] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=500)] = 100,
) -> control.Page:
    """A project's members by name."""
    return await service.read(plane, credential, project, after=after, limit=limit)


@get(_ONE, tags=["members"])
async def show_member(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    actor: FromPath[str],
) -> Response[members.MemberView]:
    """A member's roles, with their version as ETag."""
    found = await service.show(plane, credential, project, actor)
    return versions.tagged(found, found.version)


@put(_ONE, tags=["members"])
async def put_member(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    actor: FromPath[str],
    data: JSONBody[members.MemberPut],
    if_match: versions.IfMatch = "",
) -> Response[members.MemberView]:
    """Give an actor exactly these roles in the project; a member is changed by the version in `If-Match`. Role: admin."""
    made = await service.put(plane, credential, project, actor, data, if_match=if_match)
    return versions.tagged(made, made.version)


@delete(_ONE, tags=["members"], status_code=204)
async def remove_member(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    actor: FromPath[str],
    if_match: versions.IfMatch = "",
) -> None:
    """Take a member's roles away, by the version in `If-Match`. Role: admin."""
    await service.remove(plane, credential, project, actor, if_match=if_match)


HANDLERS = (list_members, show_member, put_member, remove_member)
