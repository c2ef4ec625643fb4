"""Ask for an erasure, let somebody else decide on it, and keep what proves it.

A subject's key goes from the request to the worker, in payloads that are encrypted, and nowhere else: rows and the audit
log have its keyed hash. So an engine that is away is told to the caller, who asks again, and nothing is sent later.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import errors, identity, settings
from mainspring.core.contracts import base, control, erasure, training
from mainspring.core.contracts.erasure import ErasureState
from mainspring.platform import access, backup, engines, mutation, reads
from mainspring.platform import plane as control_plane
from mainspring.platform.catalog import store as catalog_store
from mainspring.platform.endpoints import store as endpoint_store
from mainspring.platform.erasure import holds, store, subject_hash
from mainspring.platform.projects import store as project_store
from mainspring.platform.runs import outbox

_Row = sa.Row[Any]
#: Endpoints of a project that are looked up at a time.
_PAGE = 500


async def ask(
    plane: control_plane.ControlPlane, credential: str, project: str, asked: erasure.ErasureCreate
) -> erasure.ErasureView:
    """Open an erasure. The same subject again, while one is under way, is that one, and whoever opened it starts it again.

    Roles: developer, approver, admin. Errors: NotFound; Conflict if somebody else's is under way; PolicyDenied by a legal
    hold, which is on record; DependencyDown while the engine is away: ask again.
    """
    plane.issuer.authenticate(credential)
    hashed = await subject_hash.of(plane, project, asked.entity, asked.key)

    async def do(connection: AsyncConnection, by: identity.Actor) -> mutation.Change[_Row]:
        await project_store.find(connection, project)
        known = await store.under_way(connection, project, asked.entity, hashed)
        if known is not None:
            if known.requested_by != by.name:
                raise errors.Conflict(
                    f"erasure `{known.erasure_id}` of that subject is under way; decide on that one",
                    resource="erasure",
                    name=known.erasure_id,
                )
            return mutation.Change(known, _resource(known), is_new=False)
        row = await store.insert(connection, project, asked, hashed, by=by.name, now=base.utc_now())
        return mutation.Change(row, _resource(row), _told(row))

    row = await mutation.mutate(
        plane,
        credential,
        action="erasure.request",
        resource=f"erasure/{project}",
        on=access.project(project),
        do=do,
    )
    if (denial := await holds.denial_of(plane, row)) is not None:
        await _refuse(plane, row, denial, action="erasure.request", actor=row.requested_by)
        raise denial
    await outbox.ask(plane.launcher.start_erasure(await _request(plane, row, asked)))
    return store.view(row)


async def decide(
    plane: control_plane.ControlPlane,
    credential: str,
    project: str,
    erasure_id: str,
    decision: erasure.ErasureDecision,
) -> erasure.ErasureView:
    """Approve or reject; the same again is delivered again and changes nothing. Roles: approver, admin, and never who asked.

    Errors: NotFound; Conflict if it is not open any more; PolicyDenied by a legal hold that came meanwhile, which ends it, or has;
    DependencyDown while the engine is away: decide once more.
    """
    wanted = ErasureState.ERASING if decision.approve else ErasureState.REJECTED

    async def do(connection: AsyncConnection, by: identity.Actor) -> mutation.Change[_Row]:
        row = await store.find(connection, project, erasure_id)
        if (row.state, row.decided_by) == (wanted, by.name):
            return mutation.Change(row, _resource(row), is_new=False)
        if row.state == ErasureState.REFUSED and decision.approve:
            raise errors.PolicyDenied(row.message, rule_id="erasure.hold")
        if row.state != ErasureState.OPEN:
            raise errors.Conflict(
                f"erasure `{erasure_id}` is `{row.state}` and not open; look at it first",
                resource="erasure",
                name=erasure_id,
            )
        now = base.utc_now().isoformat()
        await store.update(
            connection,
            erasure_id,
            state=str(wanted),
            decided_at=now,
            decided_by=by.name,
            decision_reason=decision.reason,
        )
        told = {**_told(row), "approve": decision.approve, "words": decision.reason}
        return mutation.Change(await store.find(connection, project, erasure_id), _resource(row), told)

    async def on(connection: AsyncConnection) -> access.Target:
        await project_store.find(connection, project)
        row = await store.find(connection, project, erasure_id)
        return access.project(project, requested_by=row.requested_by, approve=decision.approve)

    row = await mutation.mutate(
        plane,
        credential,
        action="erasure.decide",
        resource=f"erasure/{project}/{erasure_id}",
        on=on,
        do=do,
    )
    # Only now, when it is known that he may decide: whoever may not learns nothing of holds, and is on record.
    denial = await holds.denial_of(plane, row) if decision.approve else None
    told = training.Decision(
        approve=decision.approve and denial is None,
        by=row.decided_by,
        reason=decision.reason if denial is None else denial.message,
    )
    if denial is not None:
        await _refuse(plane, row, denial, action="erasure.decide", actor=row.decided_by)
    await outbox.ask(plane.launcher.decide(erasure_id, told, intent_id=f"{erasure_id}-decision"))
    if denial is not None:
        raise denial
    return store.view(row)


async def report(
    plane: control_plane.ControlPlane,
    credential: str,
    project: str,
    erasure_id: str,
    told: erasure.ErasureReport,
) -> erasure.ErasureView:
    """Keep how it ended; the same again changes nothing. Errors: NotFound; Conflict if it has ended otherwise."""
    digest = base.version_of(told.model_dump(mode="json"))

    async def do(connection: AsyncConnection, _by: identity.Actor) -> mutation.Change[_Row]:
        row = await store.find(connection, project, erasure_id)
        ended = (row.state, row.message, row.certificate) == (told.state, told.message, told.certificate)
        if ended and row.ended_at is not None:
            return mutation.Change(row, _resource(row), is_new=False)
        if row.ended_at is not None and row.state == ErasureState.DONE:
            raise errors.Conflict(
                f"erasure `{erasure_id}` has its certificate; it ends once",
                resource="erasure",
                name=erasure_id,
            )
        is_held = row.state == ErasureState.REFUSED
        await store.update(
            connection,
            erasure_id,
            state=row.state if is_held else str(told.state),
            ended_at=base.utc_now().isoformat(),
            message=row.message if is_held else told.message,
            rows_erased=told.rows_erased,
            certificate=told.certificate,
        )
        detail = {**_told(row), "state": str(told.state), "rows_erased": told.rows_erased, "report": digest}
        return mutation.Change(await store.find(connection, project, erasure_id), _resource(row), detail)

    row = await mutation.mutate(
        plane,
        credential,
        action="erasure.report",
        resource=f"erasure/{project}/{erasure_id}",
        on=access.project(project),
        do=do,
    )
    return store.view(row)


async def show(
    plane: control_plane.ControlPlane, credential: str, project: str, erasure_id: str
) -> erasure.ErasureView:
    """Errors: NotFound."""
    async with reads.reading(plane, credential, action="erasure.read") as reader:
        await reader.project(project)
        found = store.view(await store.find(reader.connection, project, erasure_id), with_certificate=True)
    return found.model_copy(update={"copies": await asyncio.to_thread(_copies, plane.control)})


async def read(
    plane: control_plane.ControlPlane, credential: str, project: str, *, before: str, limit: int
) -> control.Page:
    """Errors: NotFound for the project."""
    async with reads.reading(plane, credential, action="erasure.read") as reader:
        await reader.project(project)
        rows = await store.page(reader.connection, project, before=before, limit=limit + 1)
    items = [store.view(row).model_dump(mode="json") for row in rows[:limit]]
    return control.Page(items=items, next=rows[limit - 1].erasure_id if len(rows) > limit else "")


async def _request(
    plane: control_plane.ControlPlane, row: _Row, asked: erasure.ErasureCreate
) -> erasure.EraseRequest:
    """With what the project has of its own among what all projects share."""
    async with plane.database.read() as connection:
        endpoints, after = list[str](), ""
        while found := await endpoint_store.page(
            connection, projects={row.project}, after=after, limit=_PAGE
        ):
            endpoints += [one.name for one in found]
            after = endpoints[-1]
        entries = await catalog_store.entries(connection, row.project)
        scored = await store.scorings(connection, row.project)
    return erasure.EraseRequest(
        erasure_id=row.erasure_id,
        project=row.project,
        requested_by=row.requested_by,
        requested_at=row.requested_at,
        entity=asked.entity,
        key=asked.key,
        also=asked.also,
        ground=asked.ground,
        subject_hash=row.subject_hash,
        endpoints=endpoints,
        views=sorted(name for kind, name in entries if kind == "view"),
        outputs=sorted({options.output for options in scored}),
        inputs=sorted({options.input for options in scored}),
    )


def _copies(control: settings.ControlSettings) -> list[erasure.Uncovered]:
    """They have no key of a subject. What people wrote, names of columns and values that are categories are in them."""
    why = "no key of a subject is in it; what people wrote is, and values that are categories of a model's input"
    if not engines.is_sqlite(control.database_url):
        kept = "copies of the control database that PostgreSQL's own tools keep"
        return [erasure.Uncovered(what=kept, why=f"{why}; its operator says how long they are kept")]
    return [
        erasure.Uncovered(
            what=f"copy of the control database `{path.name}`",
            why=f"{why}; it is removed then",
            until=made_at + timedelta(days=control.backup_days),
        )
        for path, made_at in backup.copies(control.database_url)
    ]


async def _refuse(
    plane: control_plane.ControlPlane, row: _Row, denial: errors.PolicyDenied, *, action: str, actor: str
) -> None:
    """On record, with the reason of the hold: whoever asked must be told why."""

    async def do(connection: AsyncConnection) -> mutation.Change[None]:
        now = base.utc_now().isoformat()
        await store.update(
            connection,
            row.erasure_id,
            state=str(ErasureState.REFUSED),
            ended_at=now,
            message=denial.message,
        )
        return mutation.Change(None, _resource(row), errors.to_wire(denial), outcome="denied")

    await mutation.settle(plane, actor=actor, action=action, do=do)


def _told(row: _Row) -> dict[str, Any]:
    return {"entity": row.entity, "subject_hash": row.subject_hash, "ground": row.ground}


def _resource(row: _Row) -> str:
    return f"erasure/{row.project}/{row.erasure_id}"
