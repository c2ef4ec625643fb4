"""`/api/v1/projects/{project}/holds`."""

from __future__ import annotations

from typing import Annotated

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from mainspring.core.contracts import control, holds
from mainspring.platform import plane as control_plane
from mainspring.platform.holds import service
from mainspring.platform.http import versions

_PATH = "/api/v1/projects/{project:str}/holds"
_ONE = _PATH + "/{hold_id:str}"
_TAGS = ["legal holds"]


@get(_PATH, tags=_TAGS)
async def list_holds(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    in_force: FromQuery[bool] = False,
    before: FromQuery[str] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=500)] = 100,
) -> control.Page:
    """A project's legal holds, newest first, lifted ones too; `in_force`: only those that are not."""
    return await service.read(plane, credential, project, in_force_only=in_force, before=before, limit=limit)


@get(_ONE, tags=_TAGS)
async def show_hold(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    hold_id: FromPath[str],
) -> Response[holds.HoldView]:
    """A hold, and who placed it, asked to lift it and approved that."""
    found = await service.show(plane, credential, project, hold_id)
    return versions.tagged(found, found.version)


@post(_PATH, tags=_TAGS, status_code=201)
async def place_hold(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    data: JSONBody[holds.HoldCreate],
) -> holds.HoldView:
    """Keep what was written in a time, or one subject; erasures that are under way stop. Roles: approver, admin."""
    return await service.place(plane, credential, project, data)


@post(_ONE + "/lift", tags=_TAGS, status_code=200)
async def lift_hold(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    hold_id: FromPath[str],
    data: JSONBody[holds.HoldLift],
    if_match: versions.IfMatch = "",
) -> Response[holds.HoldView]:
    """Ask that a hold be lifted; somebody else decides. Roles: approver, admin."""
    made = await service.ask_lift(plane, credential, project, hold_id, data, if_match=if_match)
    return versions.tagged(made, made.version)


@post(_ONE + "/decide", tags=_TAGS, status_code=200)
async def decide_hold(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    hold_id: FromPath[str],
    data: JSONBody[holds.HoldDecision],
    if_match: versions.IfMatch = "",
) -> Response[holds.HoldView]:
    """Lift a hold or keep it, as somebody else than who asked to lift it. Roles: approver, admin."""
    made = await service.decide(plane, credential, project, hold_id, data, if_match=if_match)
    return versions.tagged(made, made.version)


HANDLERS = (list_holds, show_hold, place_hold, lift_hold, decide_hold)
