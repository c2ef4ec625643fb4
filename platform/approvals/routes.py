"""`/api/v1/approvals`."""

from __future__ import annotations

from typing import Annotated

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from mainspring.core.contracts import approvals, control
from mainspring.platform import plane as control_plane
from mainspring.platform.approvals import service
from mainspring.platform.http import versions

_ONE = "/api/v1/approvals/{approval_id:str}"
_TAGS = ["approvals"]


@get("/api/v1/approvals", tags=_TAGS)
async def list_approvals(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromQuery[str] = "",
    wanted: Annotated[approvals.ApprovalState, QueryParameter(name="state")] = approvals.ApprovalState.OPEN,
    kind: FromQuery[approvals.ApprovalKind | None] = None,
    mine: FromQuery[bool] = False,
    before: FromQuery[str] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=200)] = 50,
) -> control.Page:
    """What waits for a person's yes, newest first; `mine`: what the caller may decide on, of which a page may be short."""
    return await service.read(
        plane,
        credential,
        project=project,
        state=wanted,
        kind=kind,
        mine=mine,
        before=before,
        limit=limit,
    )


@get(_ONE, tags=_TAGS)
async def show_approval(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    approval_id: FromPath[str],
) -> Response[approvals.ApprovalView]:
    """One, by `<kind>:<id>`, and whether the caller may decide on it."""
    found = await service.show(plane, credential, approval_id)
    return versions.tagged(found, found.version)


@post(_ONE + "/decision", tags=_TAGS, status_code=200)
async def decide_approval(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    approval_id: FromPath[str],
    data: JSONBody[approvals.ApprovalDecision],
    if_match: versions.IfMatch = "",
) -> Response[approvals.ApprovalView]:
    """Approve or reject, as it was looked at where `If-Match` says so. Roles: those of its kind, and nobody else's."""
    found = await service.decide(plane, credential, approval_id, data, if_match=if_match)
    return versions.tagged(found, found.version)


HANDLERS = (list_approvals, show_approval, decide_approval)
