"""What was served at an endpoint, from when on, by which run, and who had said yes to it: off the audit log, which has each change."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core.contracts import control, traffic_changes
from mainspring.platform import database, reads
from mainspring.platform import plane as control_plane
from mainspring.platform.endpoints import service

_log, _runs = database.audit.c, database.runs.c


async def read(
    plane: control_plane.ControlPlane, credential: str, name: str, *, before: int, limit: int
) -> control.Page:
    """A page of changes, newest first, below sequence `before` (0: from the newest). Errors: NotFound."""
    async with reads.reading(plane, credential, action="endpoint.read") as reader:
        project = await service.project_of(reader, name)
        rows = await _changes(reader.connection, project, name, before, limit + 1)
        approved = await _approvals(reader.connection, {row.resource for row in rows[:limit]})
    items = [_view(row, approved) for row in rows[:limit]]
    return control.Page(
        items=[one.model_dump(mode="json") for one in items],
        next=str(rows[limit - 1].sequence) if len(rows) > limit else "",
    )


async def _changes(
    connection: AsyncConnection, project: str, name: str, before: int, limit: int
) -> list[sa.Row[Any]]:
    """By the project's runs, of which the log is asked by its index; which of them were about the endpoint the rows say."""
    found: list[sa.Row[Any]] = []
    while len(found) < limit:
        query = (
            sa.select(database.audit)
            .join(database.runs, _log.resource == sa.literal("run/").concat(_runs.run_id))
            .where(_runs.project == project, _log.action.like("endpoint.%"))
            .order_by(_log.sequence.desc())
            .limit(limit * 2)
        )
        if before:
            query = query.where(_log.sequence < before)
        rows = (await connection.execute(query)).all()
        found += [row for row in rows if json.loads(row.detail).get("endpoint") == name]
        if len(rows) < limit * 2:
            break
        before = rows[-1].sequence
    return found[:limit]


async def _approvals(connection: AsyncConnection, resources: Collection[str]) -> Mapping[str, list[str]]:
    query = sa.select(_log.resource, _log.actor, _log.detail).where(
        _log.resource.in_(resources), _log.action == "approval.decide"
    )
    found: dict[str, list[str]] = {}
    for resource, actor, detail in (await connection.execute(query.order_by(_log.sequence))).all():
        if json.loads(detail).get("approve"):
            found.setdefault(resource, []).append(actor)
    return found


def _view(row: sa.Row[Any], approved: Mapping[str, list[str]]) -> traffic_changes.TrafficChange:
    told = json.loads(row.detail)
    return traffic_changes.TrafficChange(
        sequence=row.sequence,
        at=row.at,
        action=row.action,
        run_id=row.resource.removeprefix("run/"),
        by=row.actor,
        approved_by=approved.get(row.resource, []),
        version=told.get("version", 0),
        stable=told.get("stable") or "",
        canary=told.get("canary") or "",
        canary_percent=told.get("canary_percent", 0),
        shadow=told.get("shadow") or "",
        reason=told.get("why") or told.get("reason") or "",
    )
