"""What a project's budget keeps free for runs that have not ended: starts at the same time cannot all count on it."""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core.contracts.budgets import ALL
from mainspring.platform import database

_table = database.reservations


async def insert(
    connection: AsyncConnection, run_id: str, project: str, nanos: int, *, now: datetime, hours: float
) -> None:
    """Keep `nanos` free from `now` until the run has ended, or for `hours`: what nobody ended is not kept for ever."""
    await connection.execute(
        sa.insert(_table).values(
            run_id=run_id,
            project=project,
            nanos=nanos,
            lapses_at=(now + timedelta(hours=hours)).isoformat(),
        )
    )


async def release(connection: AsyncConnection, run_id: str) -> None:
    """The run has ended, or never began: what it cost is in its usage. Harmless to repeat."""
    await connection.execute(sa.delete(_table).where(_table.c.run_id == run_id))


async def held_nanos(connection: AsyncConnection, project: str, now: datetime, environment: str = ALL) -> int:
    """What is kept free: of each reservation of the environment, what its run has not used yet."""
    used = (
        sa.select(sa.func.coalesce(sa.func.sum(database.usage.c.cost_nanos), 0))
        .where(database.usage.c.run_id == _table.c.run_id)
        .scalar_subquery()
    )
    query = sa.select(_table.c.nanos, used.label("used")).where(
        _table.c.project == project, _table.c.lapses_at > now.isoformat()
    )
    if environment != ALL:
        runs = database.runs.c
        query = query.join(database.runs, runs.run_id == _table.c.run_id).where(
            runs.environment == environment
        )
    return sum(max(0, row.nanos - int(row.used)) for row in (await connection.execute(query)).all())
