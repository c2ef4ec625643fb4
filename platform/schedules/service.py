"""Put, run, show and remove schedules: on record before the engine is asked, and what came of it after."""

from __future__ import annotations

import asyncio
from typing import Any

from mainspring.core import errors, identity, ids
from mainspring.core.contracts import base, control, schedules
from mainspring.platform import access, mutation, reads
from mainspring.platform import plane as control_plane
from mainspring.platform.endpoints import store as endpoint_store
from mainspring.platform.holds import taken_over
from mainspring.platform.http import versions
from mainspring.platform.runs import outbox


async def put(
    plane: control_plane.ControlPlane,
    credential: str,
    project: str,
    process: schedules.Process,
    asked: schedules.ScheduleCreate,
    *,
    if_match: str = "",
) -> schedules.ScheduleView:
    """Make a schedule or change it. Role: developer. Safe to repeat.

    What it starts from then on is started in the name of who put it last.
    Errors: NotFound, InvalidRequest; Conflict for an endpoint of another project; PreconditionRequired where one is changed
    without `if_match`, PreconditionFailed if it is not the one of that.
    """
    wanted = schedules.request_of(process, project, asked.request)  # before anything is on record
    async with reads.reading(plane, credential, action="schedule.read") as reader:
        await reader.project(project)
        if endpoint := getattr(wanted, "endpoint", ""):
            await endpoint_store.check_not_foreign(reader.connection, endpoint, project)

    before, away = await _look_or_away(plane, project, process)

    def check() -> None:
        if away is not None:
            return
        taken_over.check_none_new(before, wanted)
        if before is not None and not _is_same(before, asked, wanted):
            _require(before, if_match)
        elif before is None and if_match.strip():
            raise schedules.missing(project, process)

    async def work(actor: identity.Actor) -> tuple[schedules.ScheduleView, dict[str, Any]]:
        if away is not None:
            raise away
        if before is not None and process is schedules.Process.RETENTION:
            await taken_over.take_over(plane, before, actor.name)
        # Compared once more by the engine, in the same step as it is changed.
        version = "" if before is None else before.version
        put = plane.scheduler.put(
            project,
            process,
            asked,
            put_by=actor.name,
            if_version=None if versions.is_any(if_match) else version,
        )
        return await outbox.ask(put), {}

    return await mutation.around(
        plane,
        credential,
        action="schedule.put",
        resource=_resource(project, process),
        on=access.project(project, process=str(process)),
        detail=asked.model_dump(mode="json", exclude=None if asked.cause else {"cause"}),
        work=work,
        check=check,
    )


async def remove(
    plane: control_plane.ControlPlane,
    credential: str,
    project: str,
    process: schedules.Process,
    *,
    if_match: str = "",
) -> None:
    """End a schedule; what runs goes on. Role: developer. Errors: NotFound, and those of `if_match` as :func:`put`."""
    await _check(plane, credential, project)
    before, away = await _look_or_away(plane, project, process)

    def check() -> None:
        if away is not None:
            return
        if before is None:
            raise schedules.missing(project, process)
        _require(before, if_match)

    async def work(actor: identity.Actor) -> tuple[None, dict[str, Any]]:
        if away is not None:
            raise away
        if before is not None and process is schedules.Process.RETENTION:
            await taken_over.take_over(plane, before, actor.name)
        version = None if before is None or versions.is_any(if_match) else before.version
        await outbox.ask(plane.scheduler.remove(project, process, if_version=version))
        return None, {}

    await mutation.around(
        plane,
        credential,
        action="schedule.remove",
        resource=_resource(project, process),
        on=access.project(project, process=str(process)),
        detail={},
        work=work,
        check=check,
    )


async def run_now(
    plane: control_plane.ControlPlane, credential: str, project: str, process: schedules.Process
) -> schedules.ScheduledOutcome:
    """Start what is scheduled, beside its times. Role: developer. Errors: NotFound.

    What comes of it is started in the name of who put the schedule, and whoever asks for it now answers for it as well.
    """
    await _check(plane, credential, project)
    key = ids.new_id("key")

    async def work(actor: identity.Actor) -> tuple[str, dict[str, Any]]:
        run_id = await outbox.ask(plane.scheduler.run_now(project, process, key, prompted_by=actor.name))
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


async def read(
    plane: control_plane.ControlPlane, credential: str, project: str, *, after: str, limit: int
) -> control.Page:
    """A page of a project's schedules by process. Errors: NotFound for the project."""
    await _check(plane, credential, project)
    due = sorted(p for p in schedules.Process if p > after)
    looked = await asyncio.gather(*(_look(plane, project, process) for process in due))
    found = [view for view in looked if view is not None]
    items = [view.model_dump(mode="json") for view in found[:limit]]
    return control.Page(items=items, next=str(found[limit - 1].process) if len(found) > limit else "")


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


async def _look(
    plane: control_plane.ControlPlane, project: str, process: schedules.Process
) -> schedules.ScheduleView | None:
    try:
        return await outbox.ask(plane.scheduler.find(project, process))
    except errors.NotFound:
        return None


async def _look_or_away(
    plane: control_plane.ControlPlane, project: str, process: schedules.Process
) -> tuple[schedules.ScheduleView | None, errors.Unavailable | None]:
    """What there is; or why the engine does not say, which goes on record as the outcome of whatever is asked."""
    try:
        return await _look(plane, project, process), None
    except errors.Unavailable as away:
        return None, away


def _require(before: schedules.ScheduleView, if_match: str) -> None:
    name = schedules.schedule_id(before.project, before.process)
    versions.require(if_match, before.version, resource="schedule", name=name)


def _is_same(before: schedules.ScheduleView, asked: schedules.ScheduleCreate, wanted: base.Message) -> bool:
    """Putting it again undoes nothing of anybody's."""
    request = wanted.model_dump(mode="json", exclude=set(schedules.GIVEN), exclude_defaults=True)
    put = (asked.every_minutes, asked.is_paused, request)
    return put == (before.every_minutes, before.is_paused, before.request)


async def _check(plane: control_plane.ControlPlane, credential: str, project: str) -> None:
    async with reads.reading(plane, credential, action="schedule.read") as reader:
        await reader.project(project)
