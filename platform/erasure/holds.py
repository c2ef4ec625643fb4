"""Legal holds, which forbid erasures: those on one subject, and those of the project's retention (`core/contracts/retention.py`)."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import errors, identity
from mainspring.core.contracts import base, control, erasure, retention, schedules, training
from mainspring.core.contracts.erasure import ErasureState
from mainspring.core.erasure import ledger
from mainspring.platform import access, mutation, reads
from mainspring.platform import plane as control_plane
from mainspring.platform.erasure import hold_store, store, subject_hash
from mainspring.platform.projects import store as project_store
from mainspring.platform.runs import outbox

RULE: Final = "erasure.legal-hold"
RULE_OF_SUBJECT: Final = "erasure.subject-hold"

_Row = sa.Row[Any]


async def denial_of(plane: control_plane.ControlPlane, row: _Row) -> errors.PolicyDenied | None:
    """Why the subject of that erasure may not be erased now; None: no hold is on it, and none on its project.

    Whatever kind and time a hold of the project names: whose rows are in what it covers nobody knows before everything is read.
    Errors: DependencyDown while the engine that has them is away: not knowing is no permission.
    """
    async with plane.database.read() as connection:
        hold = await hold_store.in_force(connection, row.project, row.entity, row.subject_hash)
    if hold is not None:
        return errors.PolicyDenied(message_of(hold), rule_id=RULE_OF_SUBJECT)
    try:
        found = await outbox.ask(plane.scheduler.find(row.project, schedules.Process.RETENTION))
    except errors.NotFound:
        return None
    holds = retention.RetentionRequest.model_validate({"project": row.project, **found.request}).holds
    if not holds:
        return None
    reasons = "; ".join(hold.reason for hold in holds)
    return errors.PolicyDenied(
        f"rule `{RULE}` denies it: project `{row.project}` is under a legal hold ({reasons}); ask again when the hold is lifted"
        f" from its retention (`mainspring schedule show {row.project} retention`)",
        rule_id=RULE,
    )


def message_of(hold: _Row) -> str:
    return (
        f"rule `{RULE_OF_SUBJECT}` denies it: the subject is under legal hold `{hold.hold_id}` ({hold.reason}); ask again when"
        f" it is lifted (`mainspring erasure lift {hold.project} {hold.hold_id}`)"
    )


async def place(
    plane: control_plane.ControlPlane, credential: str, project: str, asked: erasure.HoldCreate
) -> erasure.HoldView:
    """Forbid the erasure of a subject from now on. One that is under way is refused in the same step, and its worker stops before the
    next place. A subject that is held already: that hold, and what was to be stopped is told so once more.

    Roles: approver, admin. Errors: NotFound; DependencyDown while the engine is away: the hold is in force, place it once more.
    """
    plane.issuer.authenticate(credential)
    hashed = await subject_hash.of(plane, project, asked.entity, asked.key)
    stopped = list[str]()

    async def do(connection: AsyncConnection, by: identity.Actor) -> mutation.Change[_Row]:
        await project_store.find(connection, project)
        known = await hold_store.in_force(connection, project, asked.entity, hashed)
        if known is not None:
            stopped.extend(await store.refused_by(connection, known.project, hashed, message_of(known)))
            return mutation.Change(known, _resource(known), is_new=False)
        now = base.utc_now()
        row = await hold_store.insert(connection, project, asked, hashed, by=by.name, now=now)
        stopped.extend(await refuse_under_way(connection, row))
        return mutation.Change(row, _resource(row), {**_told(row), "stopped": stopped})

    row = await mutation.mutate(
        plane,
        credential,
        action="erasure.hold",
        resource=f"erasure/{project}",
        on=access.project(project),
        do=do,
    )
    await _keep(plane, row)
    for erasure_id in stopped:
        await _reject(plane, erasure_id, message_of(row))
    return hold_store.view(row, stopped=stopped)


async def lift(
    plane: control_plane.ControlPlane, credential: str, project: str, hold_id: str, asked: erasure.HoldLift
) -> erasure.HoldView:
    """End a hold; by the same again changes nothing. What it has stopped is asked for again. Roles: approver, admin, and never who
    placed it.

    Errors: NotFound; Conflict if somebody else has lifted it.
    """

    async def do(connection: AsyncConnection, by: identity.Actor) -> mutation.Change[_Row]:
        row = await hold_store.find(connection, project, hold_id)
        if row.lifted_at is not None:
            if row.lifted_by == by.name:
                return mutation.Change(row, _resource(row), is_new=False)
            raise errors.Conflict(
                f"hold `{hold_id}` was lifted by `{row.lifted_by}` at {row.lifted_at}; place another one if it must be kept",
                resource="hold",
                name=hold_id,
            )
        await hold_store.lift(connection, hold_id, by=by.name, reason=asked.reason, now=base.utc_now())
        told = {**_told(row), "words": asked.reason}
        return mutation.Change(await hold_store.find(connection, project, hold_id), _resource(row), told)

    async def on(connection: AsyncConnection) -> access.Target:
        await project_store.find(connection, project)
        row = await hold_store.find(connection, project, hold_id)
        return access.project(project, requested_by=row.placed_by)

    row = await mutation.mutate(
        plane,
        credential,
        action="erasure.lift",
        resource=f"erasure/{project}/{hold_id}",
        on=on,
        do=do,
    )
    await _keep(plane, row)
    return hold_store.view(row)


async def refuse_under_way(connection: AsyncConnection, hold: _Row) -> list[str]:
    """What is under way for the subject is refused by its hold; which that was."""
    found = await store.under_way(connection, hold.project, hold.entity, hold.subject_hash)
    if found is None:
        return []
    await store.update(
        connection,
        found.erasure_id,
        state=str(ErasureState.REFUSED),
        ended_at=base.utc_now().isoformat(),
        message=message_of(hold),
    )
    return [found.erasure_id]


async def read(
    plane: control_plane.ControlPlane, credential: str, project: str, *, before: str, limit: int
) -> control.Page:
    """Errors: NotFound for the project."""
    async with reads.reading(plane, credential, action="erasure.read") as reader:
        await reader.project(project)
        rows = await hold_store.page(reader.connection, project, before=before, limit=limit + 1)
    items = [hold_store.view(row).model_dump(mode="json") for row in rows[:limit]]
    return control.Page(items=items, next=rows[limit - 1].hold_id if len(rows) > limit else "")


async def _keep(plane: control_plane.ControlPlane, row: _Row) -> None:
    """Beside the database, too, for one that is put back from before. Errors: DependencyDown; what was asked for is so all the same."""
    if plane.protection is None:
        return
    told = hold_store.view(row).model_dump_json().encode()
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


async def _reject(plane: control_plane.ControlPlane, erasure_id: str, why: str) -> None:
    """One that waits for its decision ends at once. One that is approved looks before each place, and needs no word of ours."""
    told = training.Decision(approve=False, by=RULE_OF_SUBJECT, reason=why)
    try:
        await outbox.ask(plane.launcher.decide(erasure_id, told, intent_id=f"{erasure_id}-hold"))
    except (errors.Conflict, errors.NotFound):
        return


def _told(row: _Row) -> dict[str, Any]:
    return {"entity": row.entity, "subject_hash": row.subject_hash, "reason": row.reason}


def _resource(row: _Row) -> str:
    return f"erasure/{row.project}/{row.hold_id}"
