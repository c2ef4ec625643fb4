"""`/api/v1/projects/{project}/schedules/{process}`."""

from __future__ import annotations

from typing import Annotated

from litestar import Response, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from mainspring.core.contracts import control, schedules
from mainspring.platform import plane as control_plane
from mainspring.platform.http import versions
from mainspring.platform.schedules import service

_PATH = "/api/v1/projects/{project:str}/schedules/{process:str}"


@put(_PATH, tags=["schedules"])
async def put_schedule(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    process: FromPath[schedules.Process],
    data: JSONBody[schedules.ScheduleCreate],
    if_match: versions.IfMatch = "",
) -> Response[schedules.ScheduleView]:
    """Run a process of a project by the clock: made, or the one of `If-Match` changed to this. Role: developer."""
    made = await service.put(plane, credential, project, process, data, if_match=if_match)
    return versions.tagged(made, made.version)


@get("/api/v1/projects/{project:str}/schedules", tags=["schedules"])
async def list_schedules(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    after: FromQuery[str] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=500)] = 100,
) -> control.Page:
    """A project's schedules by process."""
    return await service.read(plane, credential, project, after=after, limit=limit)


@get(_PATH, tags=["schedules"])
async def show_schedule(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    process: FromPath[schedules.Process],
) -> Response[schedules.ScheduleView]:
    """A schedule, when it is due next, and its last runs."""
    found = await service.show(plane, credential, project, process)
    return versions.tagged(found, found.version)


@delete(_PATH, tags=["schedules"], status_code=204)
async def remove_schedule(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    process: FromPath[schedules.Process],
    if_match: versions.IfMatch = "",
) -> None:
    """End the schedule that `If-Match` names the version of. Role: developer."""
    await service.remove(plane, credential, project, process, if_match=if_match)


@post(_PATH + "/runs", tags=["schedules"], status_code=202)
async def run_schedule(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    process: FromPath[schedules.Process],
) -> schedules.ScheduledOutcome:
    """Run it once, now. Role: developer."""
    return await service.run_now(plane, credential, project, process)


@get(_PATH + "/runs/{run_id:str}", tags=["schedules"])
async def show_scheduled_run(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    process: FromPath[schedules.Process],
    run_id: FromPath[str],
) -> schedules.ScheduledOutcome:
    """Where a run is, and what it answered."""
    return await service.outcome(plane, credential, project, process, run_id)


HANDLERS = (
    put_schedule,
    list_schedules,
    show_schedule,
    remove_schedule,
    run_schedule,
    show_scheduled_run,
)
