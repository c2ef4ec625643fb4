"""Remove a project's old events of lineage, and put on record what a retention removes, in one transaction."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import errors, identity
from mainspring.core.contracts import retention
from mainspring.platform import access, mutation
from mainspring.platform import plane as control_plane
from mainspring.platform.audit import store as audit_store
from mainspring.platform.holds import store as hold_store
from mainspring.platform.projects import store as project_store
from mainspring.platform.retention import store

ACTION: Final = "retention.remove"
#: Runs in one transaction: some thousand events, a tenth of a second in which nobody else writes.
_RUNS: Final = 200
_KIND: Final = retention.KeptKind.LINEAGE_EVENTS


async def record(
    plane: control_plane.ControlPlane, credential: str, project: str, asked: retention.RetentionRecord
) -> retention.RetentionRecorded:
    """Events go, the graph that was made of them stays: what it says of where a model came from is not lost.

    A dry one removes nothing, and nothing is on record. The same key again answers as the first time.
    Errors: NotFound; PermissionDenied unless a service asks; Conflict if the key is another event's.
    """
    resource = f"project/{project}"

    async def do(
        connection: AsyncConnection, _actor: identity.Actor
    ) -> mutation.Change[retention.RetentionRecorded]:
        await project_store.find(connection, project)
        known = await audit_store.is_recorded(connection, asked.event_key)
        if known is not None:
            return mutation.Change(_answered(known, asked, resource), resource, is_new=False)
        # As of this transaction: one that was placed since the worker looked counts.
        held = (
            *asked.holds,
            *(h for h in await hold_store.of_retention(connection, project) if h not in asked.holds),
        )
        asked_now = asked.model_copy(update={"holds": held})
        found = await _remove(connection, project, asked_now)
        detail = asked_now.model_dump(
            mode="json", include={"kinds", "report_path", "report_digest", "lineage_before", "holds"}
        )
        return mutation.Change(
            found,
            resource,
            {**detail, "answer": found.model_dump(mode="json")},
            event_key=asked.event_key,
            is_new=not asked.is_dry,
        )

    return await mutation.mutate(
        plane, credential, action="retention.remove", resource=resource, on=access.project(project), do=do
    )


async def _remove(
    connection: AsyncConnection, project: str, asked: retention.RetentionRecord
) -> retention.RetentionRecorded:
    if asked.lineage_before is None:
        return retention.RetentionRecorded()
    whole = await store.count(connection, project)
    needed = await store.makers(connection, project, asked.in_service)
    old = [
        row
        for row in await store.old_runs(connection, project, asked.lineage_before)
        if row.run_id not in needed
    ]
    held = [row for row in old if _is_held(asked, row)]
    free = [row for row in old if not _is_held(asked, row)]
    going = free if asked.is_dry else free[:_RUNS]
    size = 0
    for at in range(0, len(going), _RUNS):
        run_ids = [row.run_id for row in going[at : at + _RUNS]]
        size += await store.bytes_of(connection, project, run_ids)
        if not asked.is_dry:
            await store.remove(connection, project, run_ids)
    removed, kept_back = sum(row.events for row in going), sum(row.events for row in held)
    return retention.RetentionRecorded(
        lineage=retention.RemovedKind(
            kind=_KIND, removed=removed, bytes=size, held=kept_back, kept=whole - removed - kept_back
        ),
        has_more=len(going) < len(free),
    )


def _is_held(asked: retention.RetentionRecord, row: sa.Row[Any]) -> bool:
    first, last = datetime.fromisoformat(row.first), datetime.fromisoformat(row.last)
    return any(hold.covers(_KIND, first, last) for hold in asked.holds)


def _answered(
    known: sa.Row[Any], asked: retention.RetentionRecord, resource: str
) -> retention.RetentionRecorded:
    view = audit_store.view(known)
    if (view.action, view.resource) != (ACTION, resource):
        raise errors.Conflict(
            f"event key `{asked.event_key}` is taken by `{view.action}` of `{view.resource}`; give each its own",
            resource="event",
            name=asked.event_key,
        )
    return retention.RetentionRecorded.model_validate(view.detail["answer"])
