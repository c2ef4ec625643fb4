"""`/api/v1/projects/{project}/access-requests`."""

from __future__ import annotations

from typing import Annotated

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from mainspring.core.contracts import access_requests, control
from mainspring.platform import plane as control_plane
from mainspring.platform.access_requests import service
from mainspring.platform.http import versions

_PATH = "/api/v1/projects/{project:str}/access-requests"
_ONE = _PATH + "/{request_id:str}"
_TAGS = ["access requests"]


@get(_PATH, tags=_TAGS)
async def list_access_requests(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    wanted: Annotated[access_requests.AccessState | None, QueryParameter(name="state")] = None,
    unreviewed: FromQuery[bool] = False,
    before: FromQuery[str] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=500)] = 100,
) -> control.Page:
    """A project's requests, newest first; `unreviewed`: broken glass without a review alone."""
    return await service.read(
        plane, credential, project, state=wanted, unreviewed_only=unreviewed, before=before, limit=limit
    )


@get(_ONE, tags=_TAGS)
async def show_access_request(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    request_id: FromPath[str],
) -> Response[access_requests.AccessRequestView]:
    """A request, and what became of it."""
    found = await service.show(plane, credential, project, request_id)
    return versions.tagged(found, found.version)


@post(_PATH, tags=_TAGS, status_code=201)
async def create_access_request(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    data: JSONBody[access_requests.AccessRequestCreate],
) -> access_requests.AccessRequestView:
    """Ask for a role for a time. Any role in the project."""
    return await service.ask(plane, credential, project, data)


@post("/api/v1/projects/{project:str}/access-requests:break-glass", tags=_TAGS, status_code=201)
async def break_glass(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    data: JSONBody[access_requests.AccessRequestCreate],
) -> access_requests.AccessRequestView:
    """Take a role at once for a short time: alarmed, and reviewed later. Role: developer, approver or admin, anywhere."""
    return await service.break_glass(plane, credential, project, data)


@post(_ONE + "/decision", tags=_TAGS, status_code=200)
async def decide_access_request(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    request_id: FromPath[str],
    data: JSONBody[access_requests.AccessDecision],
    if_match: versions.IfMatch = "",
) -> Response[access_requests.AccessRequestView]:
    """Approve or reject somebody else's request. Role: admin; approver for `viewer` and `developer`."""
    made = await service.decide(plane, credential, project, request_id, data, if_match=if_match)
    return versions.tagged(made, made.version)


@post(_ONE + "/revoke", tags=_TAGS, status_code=200)
async def revoke_access(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    request_id: FromPath[str],
    data: JSONBody[access_requests.AccessReason],
    if_match: versions.IfMatch = "",
) -> Response[access_requests.AccessRequestView]:
    """End it now. Role: admin or approver, or whoever asked."""
    made = await service.revoke(plane, credential, project, request_id, data, if_match=if_match)
    return versions.tagged(made, made.version)


@post(_ONE + "/review", tags=_TAGS, status_code=200)
async def review_broken_glass(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    request_id: FromPath[str],
    data: JSONBody[access_requests.AccessReason],
    if_match: versions.IfMatch = "",
) -> Response[access_requests.AccessRequestView]:
    """Say what became of broken glass. Role: admin or approver, and somebody else."""
    made = await service.review(plane, credential, project, request_id, data, if_match=if_match)
    return versions.tagged(made, made.version)


@post(_ONE + "/expire", tags=_TAGS, status_code=200)
async def expire_access(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    request_id: FromPath[str],
    data: JSONBody[access_requests.ExpireRequest],
) -> access_requests.AccessRequestView:
    """Note the end of what is due. Role: service."""
    return await service.expire(plane, credential, project, request_id, data)


HANDLERS = (
    list_access_requests,
    show_access_request,
    create_access_request,
    break_glass,
    decide_access_request,
    revoke_access,
    review_broken_glass,
    expire_access,
)
