"""Put, run, show and remove schedules: on record before the engine is asked, and what came of it after."""

from __future__ import annotations

from typing import Any

from mainspring.core import identity, ids
from mainspring.core.contracts import schedules
from mainspring.platform import access, mutation, reads
from mainspring.platform import plane as control_plane
from mainspring.platform.endpoints import store as endpoint_store
from mainspring.platform.runs import outbox


async def put(
    plane: control_plane.ControlPlane,
    credential: str,
    project: str,
    process: schedules.Process,
    asked: schedules.ScheduleCreate,
) -> schedules.ScheduleView:
    """Make a schedule or change it. Role: developer. Safe to repeat.

    What it starts from then on is started in the name of who put it last.
    Errors: NotFound, InvalidRequest; Conflict for an endpoint of another project.
    """
    wanted = schedules.request_of(process, project, asked.request)  # before anything is on record
    async with reads.reading(plane, credential, action="schedule.read") as reader:
        await reader.project(project)
        if endpoint := getattr(wanted, "endpoint", ""):
            await endpoint_store.check_not_foreign(reader.connection, endpoint, project)

    async def work(actor: identity.Actor) -> tuple[schedules.ScheduleView, dict[str, Any]]:
        return await outbox.ask(plane.scheduler.put(project, process, asked, put_by=actor.name)), {}

    return await mutation.around(
        plane,
        credential,
        action="schedule.put",
        resource=_resource(project, process),
        on=access.project(project, process=str(process)),
        detail=asked.model_dump(mode="json", exclude=None if asked.cause else {"cause"}),
        work=work,
    )


async def remove(
    plane: control_plane.ControlPlane, credential: str, project: str, process: schedules.Process
) -> None:
    """End a schedule; what runs goes on. Role: developer. Errors: NotFound."""
    await _check(plane, credential, project)

    async def work(_: identity.Actor) -> tuple[None, dict[str, Any]]:
        return await outbox.ask(plane.scheduler.remove(project, process)), {}

    await mutation.around(
        plane,
        credential,
        action="schedule.remove",
        resource=_resource(project, process),
        on=access.project(project, process=str(process)),
        detail={},
        work=work,
    )


async def run_now(
    plane: control_plane.ControlPlane, credential: str, project: str, process: schedules.Process
) -> schedules.ScheduledOutcome:
    """Start what is scheduled, beside its times. Role: developer. Errors: NotFound."""
    await _check(plane, credential, project)
    key = ids.new_id("key")

    async def work(_: identity.Actor) -> tuple[str, dict[str, Any]]:
        run_id = await outbox.ask(plane.scheduler.run_now(project, process, key))
        return run_id, {"run_id": run_id}

    run_id = await mutation.around(
        plane,
        credential,
        action="schedule.run",
        resource=_resource(project, process),
        on=access.project(project, process=str(process)),
        detail={"key": key},
        work=work,
    )
    return schedules.ScheduledOutcome(run_id=run_id, state="running")


async def show(
    plane: control_plane.ControlPlane, credential: str, project: str, process: schedules.Process
) -> schedules.ScheduleView:
    """Errors: NotFound."""
    await _check(plane, credential, project)
    return await outbox.ask(plane.scheduler.find(project, process))


async def outcome(
    plane: control_plane.ControlPlane,
    credential: str,
    project: str,
    process: schedules.Process,
    run_id: str,
) -> schedules.ScheduledOutcome:
    """Errors: NotFound for a run that is not this schedule's."""
    await _check(plane, credential, project)
    return await outbox.ask(plane.scheduler.outcome(project, process, run_id))


def _resource(project: str, process: schedules.Process) -> str:
    return f"schedule/{project}/{process}"


async def _check(plane: control_plane.ControlPlane, credential: str, project: str) -> None:
    async with reads.reading(plane, credential, action="schedule.read") as reader:
        await reader.project(project)
