"""`/api/v1/policies`: those in force, which sets were, and `:dry-run`."""

from __future__ import annotations

from typing import Annotated

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from mainspring.core.contracts import control, policies
from mainspring.platform import plane as control_plane
from mainspring.platform.http import versions
from mainspring.platform.policies import service, trials

_TAGS = ["policies"]


@get("/api/v1/policies", tags=_TAGS)
async def list_policies(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    after: FromQuery[str] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=500)] = 100,
) -> Response[control.Page]:
    """The policies in force, by id. Roles: any of the platform."""
    found, version = await service.read(plane, credential, after=after, limit=limit)
    return versions.tagged(found, version)


@get("/api/v1/policies/{policy_id:str}", tags=_TAGS)
async def show_policy(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    policy_id: FromPath[str],
) -> Response[policies.PolicyDetail]:
    """One with its text, and the table cases that name it. Roles: any of the platform."""
    found, version = await service.show(plane, credential, policy_id)
    return versions.tagged(found, version)


@get("/api/v1/policies:versions", tags=_TAGS)
async def list_policy_versions(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    before: FromQuery[str] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=500)] = 100,
) -> control.Page:
    """Which sets were in force and since when, newest first. Roles: any of the platform."""
    return await service.versions(plane, credential, before=before, limit=limit)


@post(["/api/v1/policies:dry-run", "/v1/policies:dry-run"], tags=_TAGS, status_code=200)
async def dry_run_policies(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    data: JSONBody[policies.PolicyTrial],
) -> policies.PolicyTrialResult:
    """Which decisions of the last days these policies would change, in the place of the organisation's own. Roles: approver, admin."""
    return await trials.dry_run(plane, credential, data)


HANDLERS = (list_policies, show_policy, list_policy_versions, dry_run_policies)
