"""Rows of access requests. What has passed its time is over in every answer, whether or not its end was noted yet."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import errors, ids
from mainspring.core.contracts import access_requests
from mainspring.core.contracts.access_requests import AccessState
from mainspring.platform import database
from mainspring.platform.http import versions

_table = database.access_requests

#: What a state becomes when it is due.
AFTER: Final = {AccessState.OPEN: AccessState.LAPSED, AccessState.ACTIVE: AccessState.EXPIRED}


async def insert(
    connection: AsyncConnection,
    project: str,
    actor: str,
    asked: access_requests.AccessRequestCreate,
    *,
    now: datetime,
    open_until: datetime | None,
) -> sa.Row[Any]:
    """An open request; without `open_until` one that holds from now on, by broken glass."""
    ends = now + timedelta(minutes=asked.minutes)
    is_broken = open_until is None
    request_id = ids.new_id("access")
    await connection.execute(
        sa.insert(_table).values(
            request_id=request_id,
            project=project,
            actor=actor,
            environment=asked.environment,
            role=asked.role,
            roles={asked.environment: [asked.role]},
            minutes=asked.minutes,
            reason=asked.reason,
            is_break_glass=is_broken,
            state=str(AccessState.ACTIVE if is_broken else AccessState.OPEN),
            requested_at=now.isoformat(),
            due_at=(open_until or ends).isoformat(),
            starts_at=now.isoformat() if is_broken else None,
            ends_at=ends.isoformat() if is_broken else None,
            decided_by="",
            decision_reason="",
            ended_by="",
            end_reason="",
            reviewed_by="",
            review="",
        )
    )
    return await find(connection, project, request_id)


async def find(connection: AsyncConnection, project: str, request_id: str) -> sa.Row[Any]:
    """Errors: NotFound, also for another project's."""
    row = await look_up(connection, project, request_id)
    if row is None:
        raise errors.NotFound(
            f"project `{project}` has no access request `{request_id}`; see `mainspring access list {project}`",
            resource="access request",
            name=request_id,
        )
    return row


async def look_up(connection: AsyncConnection, project: str, request_id: str) -> sa.Row[Any] | None:
    query = sa.select(_table).where(_table.c.project == project, _table.c.request_id == request_id)
    return (await connection.execute(query)).one_or_none()


async def update(connection: AsyncConnection, request_id: str, **values: Any) -> None:
    await connection.execute(sa.update(_table).where(_table.c.request_id == request_id).values(**values))


async def same_under_way(
    connection: AsyncConnection, project: str, actor: str, asked: access_requests.AccessRequestCreate
) -> sa.Row[Any] | None:
    """The actor's request for the same role in the same place whose end nobody has noted."""
    query = sa.select(_table).where(
        _table.c.project == project,
        _table.c.actor == actor,
        _table.c.environment == asked.environment,
        _table.c.role == asked.role,
        _table.c.state.in_([str(state) for state in AFTER]),
    )
    return (await connection.execute(query)).one_or_none()


async def under_way(connection: AsyncConnection) -> Sequence[sa.Row[Any]]:
    """Everything whose end nobody has noted, of all projects."""
    query = sa.select(_table).where(_table.c.state.in_([str(state) for state in AFTER]))
    return (await connection.execute(query)).all()


async def unalarmed(connection: AsyncConnection, since: datetime) -> Sequence[sa.Row[Any]]:
    """Broken glass since then of which no alarm is on record as delivered."""
    told = sa.select(database.audit.c.event_key).where(
        database.audit.c.event_key == "alarm-" + _table.c.request_id
    )
    query = sa.select(_table).where(
        _table.c.is_break_glass, _table.c.requested_at >= since.isoformat(), ~told.exists()
    )
    return (await connection.execute(query.order_by(_table.c.request_id))).all()


async def page(
    connection: AsyncConnection,
    project: str,
    *,
    state: AccessState | None,
    unreviewed_only: bool,
    before: str,
    limit: int,
    now: datetime,
) -> Sequence[sa.Row[Any]]:
    """Newest first: ids sort by time."""
    query = sa.select(_table).where(_table.c.project == project)
    if state is not None:
        query = query.where(_is_in(state, now.isoformat()))
    if unreviewed_only:
        query = query.where(_table.c.is_break_glass, _table.c.reviewed_at.is_(None))
    if before:
        query = query.where(_table.c.request_id < before)
    return (await connection.execute(query.order_by(_table.c.request_id.desc()).limit(limit))).all()


def state_of(row: sa.Row[Any], now: datetime) -> AccessState:
    """What it is at `now`: what is due is over, noted or not."""
    kept = AccessState(row.state)
    return AFTER[kept] if kept in AFTER and row.due_at <= now.isoformat() else kept


def view(row: sa.Row[Any], now: datetime) -> access_requests.AccessRequestView:
    return access_requests.AccessRequestView.model_validate(
        {**row._mapping, "state": state_of(row, now), "version": version(row, now)}
    )


def version(row: sa.Row[Any], now: datetime) -> str:
    return versions.of(row.request_id, str(state_of(row, now)), row.ended_by, row.reviewed_by, row.review)


def _is_in(state: AccessState, now: str) -> sa.ColumnElement[bool]:
    noted = _table.c.state == str(state)
    if state in AFTER:
        return noted & (_table.c.due_at > now)
    due = [before for before, after in AFTER.items() if after is state]
    if not due:
        return noted
    return noted | ((_table.c.state == str(due[0])) & (_table.c.due_at <= now))


def expiry(row: sa.Row[Any]) -> access_requests.ExpireRequest:
    """What ends its present state in time."""
    return access_requests.ExpireRequest(
        project=row.project,
        request_id=row.request_id,
        state=AccessState(row.state),
        due_at=datetime.fromisoformat(row.due_at),
    )
