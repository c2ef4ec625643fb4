"""What a project's budget keeps free for work that has not ended: starts at the same time cannot all count on it.

A run keeps its `max_cost` until it ends. Work that is none, a workspace or a reader of a stream, has no end that anybody knows
beforehand: it keeps a part, and renews it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import errors
from mainspring.core.contracts.budgets import ALL
from mainspring.platform import database

_table, _work = database.reservations, database.work_reservations


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


async def put_work(
    connection: AsyncConnection, work_id: str, project: str, environment: str, ahead: int, lapses_at: datetime
) -> None:
    """Keep `ahead` free beyond what the work has on record, instead of what was kept for it. Errors: Conflict if it is another project's."""
    await release_work(connection, work_id, project)
    used = int((await connection.execute(sa.select(_used_by(work_id, project)))).scalar_one())
    await connection.execute(
        sa.insert(_work).values(
            work_id=work_id,
            project=project,
            environment=environment,
            nanos=used + ahead,
            lapses_at=lapses_at.isoformat(),
        )
    )


async def release_work(connection: AsyncConnection, work_id: str, project: str) -> bool:
    """It has ended; whether anything was kept. Harmless to repeat. Errors: Conflict if it is another project's."""
    query = sa.select(_work.c.project).where(_work.c.work_id == work_id)
    owner = (await connection.execute(query)).scalar_one_or_none()
    if owner not in (None, project):
        raise errors.Conflict(
            f"work `{work_id}` is another project's; give yours an id of its own",
            resource="reservation",
            name=work_id,
        )
    await connection.execute(sa.delete(_work).where(_work.c.work_id == work_id))
    return owner is not None


async def lapse_work(connection: AsyncConnection, work_id: str, at: datetime) -> None:
    """Nothing is kept for it after `at`, if there is anything kept for longer."""
    soon = sa.and_(_work.c.work_id == work_id, _work.c.lapses_at > at.isoformat())
    await connection.execute(sa.update(_work).where(soon).values(lapses_at=at.isoformat()))


async def held_nanos(connection: AsyncConnection, project: str, now: datetime, environment: str = ALL) -> int:
    """What is kept free: of each reservation of the environment, what its work has not used yet."""
    used = (
        sa.select(sa.func.coalesce(sa.func.sum(database.usage.c.cost_nanos), 0))
        .where(database.usage.c.run_id == _table.c.run_id)
        .scalar_subquery()
    )
    of_runs = sa.select(_table.c.nanos, used.label("used")).where(
        _table.c.project == project, _table.c.lapses_at > now.isoformat()
    )
    of_work = sa.select(_work.c.nanos, _used_by(_work.c.work_id, _work.c.project).label("used")).where(
        _work.c.project == project, _work.c.lapses_at > now.isoformat()
    )
    if environment != ALL:
        runs = database.runs.c
        of_runs = of_runs.join(database.runs, runs.run_id == _table.c.run_id).where(
            runs.environment == environment
        )
        of_work = of_work.where(_work.c.environment == environment)
    # One question: it is asked with each project that is shown, and at each start.
    rows = (await connection.execute(sa.union_all(of_runs, of_work))).all()
    return sum(max(0, row.nanos - int(row.used)) for row in rows)


def _used_by(work_id: str | sa.ColumnElement[str], project: Any) -> sa.ScalarSelect[Any]:
    """Billionths on record of work that is no run: the keys of its usage begin with its id."""
    usage, first = database.usage.c, sa.literal(work_id) if isinstance(work_id, str) else work_id
    return (
        sa.select(sa.func.coalesce(sa.func.sum(usage.cost_nanos), 0))
        .where(
            usage.project == project,
            usage.usage_key > first,
            usage.usage_key < first.concat("\U0010ffff"),
        )
        .scalar_subquery()
    )
