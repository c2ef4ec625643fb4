"""Place legal holds, and let two persons lift one: the first asks, another approves."""

from __future__ import annotations

import asyncio
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import errors, identity
from mainspring.core.contracts import base, control, holds
from mainspring.core.contracts.holds import HoldState
from mainspring.core.erasure import ledger
from mainspring.platform import access, mutation, reads
from mainspring.platform import plane as control_plane
from mainspring.platform.erasure import holds as erasure_holds
from mainspring.platform.erasure import subject_hash
from mainspring.platform.holds import store
from mainspring.platform.http import versions
from mainspring.platform.projects import store as project_store

_Row = sa.Row[Any]


async def place(
    plane: control_plane.ControlPlane, credential: str, project: str, asked: holds.HoldCreate
) -> holds.HoldView:
    """Keep from now on what it names: retentions leave it, and erasures that it forbids are refused, those under way in the same step.
    The same again is that hold, and what was to be stopped is told so once more.

    Roles: approver, admin. Errors: NotFound; DependencyDown while the engine is away: the hold is in force, place it once more.
    """
    plane.issuer.authenticate(credential)
    hashed, stopped = "", list[str]()
    if asked.subject is not None:
        hashed = await subject_hash.of(plane, project, asked.subject.entity, asked.subject.key)

    async def do(connection: AsyncConnection, by: identity.Actor) -> mutation.Change[_Row]:
        await project_store.find(connection, project)
        known = await _same(connection, project, asked, hashed)
        if known is not None:
            stopped.extend(await erasure_holds.refused_by(connection, known))
            return mutation.Change(known, _resource(known), is_new=False)
        row = await store.insert(connection, project, asked, subject_hash=hashed, by=by.name)
        stopped.extend(await erasure_holds.refuse_under_way(connection, row))
        return mutation.Change(row, _resource(row), {**_told(row), "stopped": stopped})

    row = await mutation.mutate(
        plane, credential, action="hold.place", resource=f"hold/{project}", on=access.project(project), do=do
    )
    await keep(plane, row)
    for erasure_id in stopped:
        await erasure_holds.reject(plane, erasure_id, row)
    return store.view(row, stopped=stopped)


async def ask_lift(
    plane: control_plane.ControlPlane,
    credential: str,
    project: str,
    hold_id: str,
    asked: holds.HoldLift,
    *,
    if_match: str = "",
) -> holds.HoldView:
    """Ask that it be lifted; it stays in force until somebody else approves. The same again changes nothing. Roles: approver, admin.

    Errors: NotFound; Conflict if it was lifted, or somebody else asks already; PreconditionFailed.
    """

    async def do(connection: AsyncConnection, by: identity.Actor) -> mutation.Change[_Row]:
        row, now = await store.find(connection, project, hold_id), base.utc_now()
        state = store.state_of(row, now)
        if state is HoldState.LIFT_ASKED and row.lift_asked_by == by.name:
            return mutation.Change(row, _resource(row), is_new=False)
        versions.check(if_match, store.version(row, state), resource="hold", name=hold_id)
        _require_not_lifted(row)
        if state is HoldState.LIFT_ASKED:
            raise errors.Conflict(
                f"`{row.lift_asked_by}` asks to lift hold `{hold_id}` already; decide on that with `mainspring hold decide {project}"
                f" {hold_id}`",
                resource="hold",
                name=hold_id,
            )
        await store.ask_lift(connection, hold_id, by=by.name, reason=asked.reason, now=now)
        row = await store.find(connection, project, hold_id)
        return mutation.Change(row, _resource(row), {**_told(row), "words": asked.reason})

    row = await mutation.mutate(
        plane,
        credential,
        action="hold.lift",
        resource=f"hold/{project}/{hold_id}",
        on=access.project(project),
        do=do,
    )
    return store.view(row)


async def decide(
    plane: control_plane.ControlPlane,
    credential: str,
    project: str,
    hold_id: str,
    decision: holds.HoldDecision,
    *,
    if_match: str = "",
) -> holds.HoldView:
    """Lift it, or keep it. The same by the same again changes nothing. What it has stopped is asked for again.

    Roles: approver, admin, and never who asked to lift it. Errors: NotFound; Conflict if nobody asks, or has for too long;
    PreconditionFailed.
    """

    async def do(connection: AsyncConnection, by: identity.Actor) -> mutation.Change[_Row]:
        row, now = await store.find(connection, project, hold_id), base.utc_now()
        state = store.state_of(row, now)
        decided = {HoldState.LIFTED: True, HoldState.IN_FORCE: False}.get(state)
        if row.lifted_by == by.name and decided is decision.approve:
            return mutation.Change(row, _resource(row), is_new=False)
        versions.check(if_match, store.version(row, state), resource="hold", name=hold_id)
        _require_not_lifted(row)
        _require_asked(row, state)
        told = {**_told(row), "lift_asked_by": row.lift_asked_by, "lift_reason": row.lift_reason}
        if decision.approve:
            await store.lift(connection, hold_id, by=by.name, reason=decision.reason, now=now)
        else:
            await store.refuse_lift(connection, hold_id, by=by.name, reason=decision.reason, now=now)
        told |= {"approve": decision.approve, "words": decision.reason}
        return mutation.Change(await store.find(connection, project, hold_id), _resource(row), told)

    async def on(connection: AsyncConnection) -> access.Target:
        await project_store.find(connection, project)
        row = await store.find(connection, project, hold_id)
        return access.project(project, requested_by=row.lift_asked_by, approve=decision.approve)

    row = await mutation.mutate(
        plane, credential, action="hold.decide", resource=f"hold/{project}/{hold_id}", on=on, do=do
    )
    if row.lifted_at is not None:
        await keep(plane, row)
    return store.view(row)


async def show(
    plane: control_plane.ControlPlane, credential: str, project: str, hold_id: str
) -> holds.HoldView:
    """Errors: NotFound."""
    async with reads.reading(plane, credential, action="hold.read") as reader:
        await reader.project(project)
        return store.view(await store.find(reader.connection, project, hold_id))


async def read(
    plane: control_plane.ControlPlane,
    credential: str,
    project: str,
    *,
    in_force_only: bool,
    before: str,
    limit: int,
) -> control.Page:
    """A page of a project's holds, newest first. Errors: NotFound for the project."""
    async with reads.reading(plane, credential, action="hold.read") as reader:
        await reader.project(project)
        rows = await store.page(
            reader.connection, project, in_force_only=in_force_only, before=before, limit=limit + 1
        )
    items = [store.view(row).model_dump(mode="json") for row in rows[:limit]]
    return control.Page(items=items, next=rows[limit - 1].hold_id if len(rows) > limit else "")


async def _same(
    connection: AsyncConnection, project: str, asked: holds.HoldCreate, hashed: str
) -> _Row | None:
    """Of a subject its hold; else one in force on just that, for the same matter."""
    if asked.subject is not None:
        return await store.on_subject(connection, project, asked.subject.entity, hashed)
    wanted = (set(asked.kinds), asked.since, asked.until, asked.matter)
    for row in await store.on_project(connection, project):
        view = store.view(row)
        if (set(view.kinds), view.since, view.until, view.matter) == wanted:
            return row
    return None


def _require_not_lifted(row: _Row) -> None:
    if row.lifted_at is not None:
        raise errors.Conflict(
            f"hold `{row.hold_id}` was lifted by `{row.lifted_by}` at {row.lifted_at}; place another one if it must be kept",
            resource="hold",
            name=row.hold_id,
        )


def _require_asked(row: _Row, state: HoldState) -> None:
    if state is HoldState.LIFT_ASKED:
        return
    why = f"has lapsed at {row.lift_due_at}" if row.lift_due_at else "was not asked for"
    if row.lifted_by:
        why = f"was refused by `{row.lifted_by}` at {row.lift_due_at}"
    raise errors.Conflict(
        f"lifting hold `{row.hold_id}` {why}; ask for it with `mainspring hold lift {row.project} {row.hold_id}`, and have"
        " somebody else decide",
        resource="hold",
        name=row.hold_id,
    )


async def keep(plane: control_plane.ControlPlane, row: _Row) -> None:
    """Beside the database, too, for one that is put back from before. Errors: DependencyDown; what was asked for is so all the same."""
    if plane.protection is None:
        return
    told = store.view(row).model_dump_json().encode()
    try:
        await asyncio.to_thread(
            ledger.keep, plane.protection.erased_dir, row.hold_id, told, kind=ledger.HOLDS
        )
    except OSError as error:
        raise errors.DependencyDown(
            f"hold `{row.hold_id}` is as you asked, but is not kept beside the database: {error}; check the disk of"
            " `protection.erased_dir`, and ask once more",
            name="disk",
        ) from error


def _told(row: _Row) -> dict[str, Any]:
    names = ("kinds", "since", "until", "entity", "subject_hash", "matter", "reason")
    return {name: row._mapping[name] for name in names if row._mapping[name]}


def _resource(row: _Row) -> str:
    return f"hold/{row.project}/{row.hold_id}"
