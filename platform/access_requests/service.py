"""Ask for a role, decide on it, take it in an emergency, give it back, note its end, and review broken glass."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import errors, identity
from mainspring.core.contracts import access_requests, base, control
from mainspring.core.contracts.access_requests import AccessState
from mainspring.platform import access, mutation, reads
from mainspring.platform import plane as control_plane
from mainspring.platform.access_requests import alarm, store, timers
from mainspring.platform.http import versions
from mainspring.platform.projects import store as project_store

_Row = sa.Row[Any]


async def ask(
    plane: control_plane.ControlPlane,
    credential: str,
    project: str,
    asked: access_requests.AccessRequestCreate,
) -> access_requests.AccessRequestView:
    """Ask for a role for a time. Any role in the project, and no service.

    Errors: NotFound for the project; InvalidRequest for more than `control.access_hours`; Conflict where the same is asked
    for, or held, already.
    """
    _check_minutes(asked, plane.control.access_hours, "control.access_hours")
    wait = timedelta(hours=plane.control.access_decision_hours)

    async def do(connection: AsyncConnection, by: identity.Actor) -> mutation.Change[_Row]:
        return await _insert(connection, project, by.name, asked, wait)

    row = await mutation.mutate(
        plane,
        credential,
        action="access.request",
        resource=f"project/{project}",
        on=_wanted(project, asked),
        do=do,
    )
    await timers.start(plane, row)
    return store.view(row, base.utc_now())


async def break_glass(
    plane: control_plane.ControlPlane,
    credential: str,
    project: str,
    asked: access_requests.AccessRequestCreate,
) -> access_requests.AccessRequestView:
    """Take a role at once, for a short time. It is alarmed, and somebody else reviews it. Errors: as :func:`ask`."""
    _check_minutes(asked, plane.control.break_glass_hours, "control.break_glass_hours")

    async def do(connection: AsyncConnection, by: identity.Actor) -> mutation.Change[_Row]:
        return await _insert(connection, project, by.name, asked, None)

    row = await mutation.mutate(
        plane,
        credential,
        action="access.break-glass",
        resource=f"project/{project}",
        on=_wanted(project, asked),
        do=do,
    )
    await alarm.sound(plane, row)
    await timers.start(plane, row)
    return store.view(row, base.utc_now())


async def decide(
    plane: control_plane.ControlPlane,
    credential: str,
    project: str,
    request_id: str,
    decision: access_requests.AccessDecision,
    *,
    if_match: str = "",
) -> access_requests.AccessRequestView:
    """Approve or reject somebody else's request; the role holds from now on. The same again changes nothing.

    Roles: admin there; approver for `viewer` and `developer`; not by a role that is itself for a time.
    Errors: NotFound; Conflict if it is not open any more.
    """
    wanted = AccessState.ACTIVE if decision.approve else AccessState.REJECTED

    async def do(connection: AsyncConnection, by: identity.Actor) -> mutation.Change[_Row]:
        row, now = await _find(connection, project, request_id), base.utc_now()
        state = store.state_of(row, now)
        if state is wanted and row.decided_by == by.name:
            return mutation.Change(row, _resource(row), is_new=False)
        _check_version(row, if_match, now)
        _require(row, state, now, AccessState.OPEN)
        ends = now + timedelta(minutes=row.minutes)
        times = {"starts_at": now.isoformat(), "ends_at": ends.isoformat()} if decision.approve else {}
        await store.update(
            connection,
            request_id,
            state=str(wanted),
            decided_by=by.name,
            decision_reason=decision.reason,
            due_at=(ends if decision.approve else now).isoformat(),
            **times,
        )
        row = await store.find(connection, project, request_id)
        return mutation.Change(
            row, _resource(row), {**_told(row), "approve": decision.approve, "words": decision.reason}
        )

    row = await mutation.mutate(
        plane,
        credential,
        action="access.decide",
        resource=f"access/{project}/{request_id}",
        on=_kept(project, request_id, approve=decision.approve),
        do=do,
    )
    await timers.start(plane, row)
    return store.view(row, base.utc_now())


async def revoke(
    plane: control_plane.ControlPlane,
    credential: str,
    project: str,
    request_id: str,
    why: access_requests.AccessReason,
    *,
    if_match: str = "",
) -> access_requests.AccessRequestView:
    """End what is open or in force: at once. Roles: admin or approver there, or whoever asked.

    Errors: NotFound; Conflict if it has ended otherwise.
    """

    async def do(connection: AsyncConnection, by: identity.Actor) -> mutation.Change[_Row]:
        row, now = await _find(connection, project, request_id), base.utc_now()
        state = store.state_of(row, now)
        if state is AccessState.REVOKED and (row.ended_by, row.end_reason) == (by.name, why.reason):
            return mutation.Change(row, _resource(row), is_new=False)
        _check_version(row, if_match, now)
        _require(row, state, now, AccessState.OPEN, AccessState.ACTIVE)
        await store.update(
            connection,
            request_id,
            state=str(AccessState.REVOKED),
            due_at=now.isoformat(),
            ended_by=by.name,
            end_reason=why.reason,
        )
        row = await store.find(connection, project, request_id)
        return mutation.Change(row, _resource(row), {**_told(row), "was": str(state), "words": why.reason})

    row = await mutation.mutate(
        plane,
        credential,
        action="access.revoke",
        resource=f"access/{project}/{request_id}",
        on=_kept(project, request_id),
        do=do,
    )
    return store.view(row, base.utc_now())


async def review(
    plane: control_plane.ControlPlane,
    credential: str,
    project: str,
    request_id: str,
    found: access_requests.AccessReason,
    *,
    if_match: str = "",
) -> access_requests.AccessRequestView:
    """Say what became of broken glass, once it is over. Roles: admin or approver there; not whoever broke it.

    Errors: NotFound; Conflict for a request that was decided on, that still holds, or that has its review.
    """

    async def do(connection: AsyncConnection, by: identity.Actor) -> mutation.Change[_Row]:
        row, now = await _find(connection, project, request_id), base.utc_now()
        if (row.reviewed_by, row.review) == (by.name, found.reason):
            return mutation.Change(row, _resource(row), is_new=False)
        _check_version(row, if_match, now)
        _check_reviewable(row, store.state_of(row, now))
        await store.update(
            connection, request_id, reviewed_at=now.isoformat(), reviewed_by=by.name, review=found.reason
        )
        row = await store.find(connection, project, request_id)
        return mutation.Change(row, _resource(row), {**_told(row), "words": found.reason})

    row = await mutation.mutate(
        plane,
        credential,
        action="access.review",
        resource=f"access/{project}/{request_id}",
        on=_kept(project, request_id),
        do=do,
    )
    return store.view(row, base.utc_now())


async def expire(
    plane: control_plane.ControlPlane,
    credential: str,
    project: str,
    request_id: str,
    due: access_requests.ExpireRequest,
) -> access_requests.AccessRequestView:
    """Note the end of a state that is due; what is not due, or is over, stays as it is. Role: service.

    Errors: NotFound; InvalidRequest if the body is about another request than the path.
    """
    if (due.project, due.request_id) != (project, request_id):
        raise errors.InvalidRequest(
            f"the body is about `{due.request_id}` of `{due.project}`, the path names `{request_id}`; send it there",
            field="request_id",
        )

    async def do(
        connection: AsyncConnection, by: identity.Actor
    ) -> mutation.Change[access_requests.AccessRequestView]:
        row, now = await _find(connection, project, request_id), base.utc_now()
        state = store.state_of(row, now)
        if row.state != due.state or state == row.state:
            return mutation.Change(store.view(row, now), _resource(row), is_new=False)
        await store.update(connection, request_id, state=str(state), ended_by=by.name)
        row = await store.find(connection, project, request_id)
        return mutation.Change(store.view(row, now), _resource(row), {**_told(row), "was": str(due.state)})

    # As of the moment of the look: a view made later could say that it is over where nothing was noted.
    return await mutation.mutate(
        plane,
        credential,
        action="access.expire",
        resource=f"access/{project}/{request_id}",
        on=access.project(project),
        do=do,
    )


async def show(
    plane: control_plane.ControlPlane, credential: str, project: str, request_id: str
) -> access_requests.AccessRequestView:
    """Errors: NotFound."""
    async with reads.reading(plane, credential, action="access.read") as reader:
        await reader.project(project)
        return store.view(await store.find(reader.connection, project, request_id), base.utc_now())


async def read(
    plane: control_plane.ControlPlane,
    credential: str,
    project: str,
    *,
    state: AccessState | None,
    unreviewed_only: bool,
    before: str,
    limit: int,
) -> control.Page:
    """A page of a project's requests, newest first. Errors: NotFound for the project."""
    now = base.utc_now()
    async with reads.reading(plane, credential, action="access.read") as reader:
        await reader.project(project)
        rows = await store.page(
            reader.connection,
            project,
            state=state,
            unreviewed_only=unreviewed_only,
            before=before,
            limit=limit + 1,
            now=now,
        )
    items = [store.view(row, now).model_dump(mode="json") for row in rows[:limit]]
    return control.Page(items=items, next=rows[limit - 1].request_id if len(rows) > limit else "")


async def _insert(
    connection: AsyncConnection,
    project: str,
    actor: str,
    asked: access_requests.AccessRequestCreate,
    wait: timedelta | None,
) -> mutation.Change[_Row]:
    await project_store.find(connection, project)
    now, detail = base.utc_now(), {}
    if (known := await store.same_under_way(connection, project, actor, asked)) is not None:
        state = store.state_of(known, now)
        if state == known.state:
            raise errors.Conflict(
                f"`{actor}` has `{known.request_id}` for the same role there, which is {state} until {known.due_at}; wait"
                f" for its end, or `mainspring access revoke {project} {known.request_id}`",
                resource="access request",
                name=known.request_id,
            )
        # Whoever notes ends is late; that is no reason to make people wait.
        await store.update(connection, known.request_id, state=str(state))
        detail["ended"] = {known.request_id: str(state)}
    open_until = None if wait is None else now + wait
    row = await store.insert(connection, project, actor, asked, now=now, open_until=open_until)
    return mutation.Change(row, _resource(row), {**_told(row), "words": asked.reason, **detail})


def _wanted(project: str, asked: access_requests.AccessRequestCreate) -> access.Target:
    return access.project_anywhere(project, role=asked.role, environment=asked.environment)


def _kept(project: str, request_id: str, **context: bool) -> access.Finder:
    """What the policies are asked: by the request's environment, or first about the project where there is none."""

    async def find(connection: AsyncConnection) -> access.Target:
        row = await store.look_up(connection, project, request_id)
        environment, role, actor = ("", "", "") if row is None else (row.environment, row.role, row.actor)
        return access.project(
            project,
            environment or access.EVERY,
            environment=environment,
            role=role,
            requested_by=actor,
            **context,
        )

    return find


async def _find(connection: AsyncConnection, project: str, request_id: str) -> _Row:
    """Errors: NotFound for the project, or for a request of it."""
    await project_store.find(connection, project)
    return await store.find(connection, project, request_id)


def _told(row: _Row) -> dict[str, Any]:
    """What goes on record of a request with every change of it."""
    names = ("actor", "role", "environment", "minutes", "is_break_glass", "state", "ends_at")
    return {"request": {name: row._mapping[name] for name in names}}


def _resource(row: _Row) -> str:
    return f"access/{row.project}/{row.request_id}"


def _check_version(row: _Row, if_match: str, now: datetime) -> None:
    versions.check(if_match, store.version(row, now), resource="access request", name=row.request_id)


def _require(row: _Row, state: AccessState, now: datetime, *wanted: AccessState) -> None:
    if state not in wanted:
        raise errors.Conflict(
            f"access request `{row.request_id}` is {state} since {min(row.due_at, now.isoformat())}; ask for a new one",
            resource="access request",
            name=row.request_id,
        )


def _check_reviewable(row: _Row, state: AccessState) -> None:
    why = ""
    if not row.is_break_glass:
        why = "was decided on and needs no review"
    elif row.reviewed_by:
        why = f"was reviewed by `{row.reviewed_by}`; what was found stays"
    elif state is AccessState.ACTIVE:
        why = f"holds until {row.ends_at}; revoke it, or review it then"
    if why:
        raise errors.Conflict(
            f"access request `{row.request_id}` {why}", resource="access request", name=row.request_id
        )


def _check_minutes(asked: access_requests.AccessRequestCreate, hours: float, setting: str) -> None:
    if asked.minutes > hours * 60:
        raise errors.InvalidRequest(
            f"`minutes` is {asked.minutes}, at most {hours * 60:g} are given (`{setting}`); ask for less, and again",
            field="minutes",
        )
