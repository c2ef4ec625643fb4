"""Rows of legal holds on subjects. None has a subject's key: its keyed hash stands for it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import errors, ids
from mainspring.core.contracts import erasure
from mainspring.platform import database

_table: Final = database.erasure_holds


async def insert(
    connection: AsyncConnection,
    project: str,
    asked: erasure.HoldCreate,
    subject_hash: str,
    *,
    by: str,
    now: datetime,
) -> sa.Row[Any]:
    hold_id = ids.new_id("hold")
    await connection.execute(
        sa.insert(_table).values(
            hold_id=hold_id,
            project=project,
            entity=asked.entity,
            subject_hash=subject_hash,
            reason=asked.reason,
            placed_at=now.isoformat(),
            placed_by=by,
            lifted_by="",
            lift_reason="",
        )
    )
    return await find(connection, project, hold_id)


async def put_back(connection: AsyncConnection, hold: erasure.HoldView) -> None:
    """A hold of which a database from before it does not know."""
    values = hold.model_dump(mode="json", exclude={"stopped", "placed_at", "lifted_at"})
    values["placed_at"] = hold.placed_at.isoformat()
    values["lifted_at"] = None if hold.lifted_at is None else hold.lifted_at.isoformat()
    await connection.execute(sa.insert(_table).values(**values))


async def in_force(
    connection: AsyncConnection, project: str, entity: str, subject_hash: str
) -> sa.Row[Any] | None:
    """The hold on a subject; None: there is none, or it was lifted."""
    query = sa.select(_table).where(
        _table.c.project == project,
        _table.c.entity == entity,
        _table.c.subject_hash == subject_hash,
        _table.c.lifted_at.is_(None),
    )
    return (await connection.execute(query)).one_or_none()


async def find(connection: AsyncConnection, project: str, hold_id: str) -> sa.Row[Any]:
    """Errors: NotFound, also for one of another project."""
    query = sa.select(_table).where(_table.c.hold_id == hold_id, _table.c.project == project)
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise errors.NotFound(
            f"project `{project}` has no hold `{hold_id}`; list them with `mainspring erasure holds {project}`",
            resource="hold",
            name=hold_id,
        )
    return row


async def lift(connection: AsyncConnection, hold_id: str, *, by: str, reason: str, now: datetime) -> None:
    await connection.execute(
        sa.update(_table)
        .where(_table.c.hold_id == hold_id)
        .values(lifted_at=now.isoformat(), lifted_by=by, lift_reason=reason)
    )


async def page(
    connection: AsyncConnection, project: str, *, before: str, limit: int
) -> Sequence[sa.Row[Any]]:
    """Newest first: ids sort by time."""
    query = sa.select(_table).where(_table.c.project == project)
    if before:
        query = query.where(_table.c.hold_id < before)
    return (await connection.execute(query.order_by(_table.c.hold_id.desc()).limit(limit))).all()


def view(row: sa.Row[Any], *, stopped: Sequence[str] = ()) -> erasure.HoldView:
    return erasure.HoldView.model_validate({**row._mapping, "stopped": list(stopped)})
