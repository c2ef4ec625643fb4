"""`/api/v1/projects/{project}/schedules/{process}`."""

from __future__ import annotations

from litestar import delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from mainspring.core.contracts import schedules
from mainspring.platform import plane as control_plane
from mainspring.platform.schedules import service

_PATH = "/api/v1/projects/{project:str}/schedules/{process:str}"


@put(_PATH, tags=["schedules"])
async def put_schedule(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    process: FromPath[schedules.Process],
    data: JSONBody[schedules.ScheduleCreate],
) -> schedules.ScheduleView:
    """Run a process of a project by the clock: made, or changed to this. Role: developer."""
    return await service.put(plane, credential, project, process, data)


@get(_PATH, tags=["schedules"])
async def show_schedule(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    process: FromPath[schedules.Process],
) -> schedules.ScheduleView:
    """A schedule, when it is due next, and its last runs."""
    return await service.show(plane, credential, project, process)


@delete(_PATH, tags=["schedules"], status_code=204)
async def remove_schedule(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    process: FromPath[schedules.Process],
) -> None:
    """End a schedule. Role: developer."""
    await service.remove(plane, credential, project, process)


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


HANDLERS = (put_schedule, show_schedule, remove_schedule, run_schedule, show_scheduled_run)
