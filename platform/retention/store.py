"""Which runs' events of lineage are old, and which of them are still needed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.platform import database

_events, _edges, _nodes = database.lineage_events, database.lineage_edges, database.lineage_nodes


async def old_runs(
    connection: AsyncConnection, project: str, before: datetime
) -> Sequence[sa.Row[tuple[str, str, str, int]]]:
    """Runs that told last before then, the oldest first: id, when they told first and last, how many events."""
    last = sa.func.max(_events.c.received_at)
    query = (
        sa.select(
            _events.c.run_id,
            sa.func.min(_events.c.received_at).label("first"),
            last.label("last"),
            sa.func.count().label("events"),
        )
        .where(_events.c.job_namespace == project)
        .group_by(_events.c.run_id)
        .having(last < before.isoformat())
        .order_by(last, _events.c.run_id)
    )
    return (await connection.execute(query)).all()


async def count(connection: AsyncConnection, project: str) -> int:
    """Events of a project."""
    query = sa.select(sa.func.count()).select_from(_events).where(_events.c.job_namespace == project)
    return int(await connection.scalar(query) or 0)


async def makers(connection: AsyncConnection, project: str, versions: Collection[str]) -> set[str]:
    """Every run that had a part in these versions: those that made them, and what they were made of."""
    if not versions:
        return set()
    start = sa.select(_nodes.c.id.label("id")).where(
        _nodes.c.namespace == project, _nodes.c.version.in_(sorted(versions))
    )
    reached = start.cte("reached", recursive=True)
    reached = reached.union(
        sa.select(_edges.c.source.label("id")).join(reached, _edges.c.target == reached.c.id)
    )
    query = sa.select(_edges.c.run_id).join(reached, _edges.c.target == reached.c.id).distinct()
    return set((await connection.execute(query)).scalars())


async def bytes_of(connection: AsyncConnection, project: str, run_ids: Sequence[str]) -> int:
    """Of their events, as text."""
    size = sa.func.sum(sa.func.length(sa.cast(_events.c.event, sa.Text)))
    return int(await connection.scalar(sa.select(size).where(*_of(project, run_ids))) or 0)


async def remove(connection: AsyncConnection, project: str, run_ids: Sequence[str]) -> None:
    """Their events; edges and nodes stay."""
    await connection.execute(sa.delete(_events).where(*_of(project, run_ids)))


def _of(project: str, run_ids: Sequence[str]) -> tuple[sa.ColumnElement[bool], ...]:
    return _events.c.job_namespace == project, _events.c.run_id.in_(run_ids)
