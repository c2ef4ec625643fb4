"""Lineage rows: events as they came, and the graph of nodes and edges that is walked."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core.contracts import base, lineage
from mainspring.core.lineage import reading
from mainspring.platform import database

T = TypeVar("T")

#: SQLite takes 32,766 parameters in one statement.
_ROWS: Final = 2000
_nodes, _edges, _events = database.lineage_nodes, database.lineage_edges, database.lineage_events


@dataclass(frozen=True)
class Found:
    """Edges as ids, and whether there are more."""

    edges: Sequence[sa.Row[Any]]
    is_cut: bool


async def is_known(connection: AsyncConnection, digest: str) -> bool:
    query = sa.select(_events.c.event_digest).where(_events.c.event_digest == digest)
    return (await connection.scalar(query)) is not None


async def events_of(connection: AsyncConnection, run_id: str) -> list[dict[str, Any]]:
    """A run's events as they came, oldest first."""
    query = sa.select(_events.c.event).where(_events.c.run_id == run_id).order_by(_events.c.event_time)
    return list((await connection.execute(query)).scalars())


async def insert_event(
    connection: AsyncConnection, event: reading.Event, value: dict[str, Any], reported_by: str
) -> None:
    await connection.execute(
        sa.insert(_events).values(
            event_digest=event.digest,
            run_id=event.run_id,
            job_namespace=event.job_namespace,
            job_name=event.job_name,
            event_type=event.type,
            event_time=event.time.isoformat(),
            received_at=base.utc_now().isoformat(),
            reported_by=reported_by,
            event=value,
        )
    )


async def insert_edges(
    connection: AsyncConnection,
    event: reading.Event,
    edges: Sequence[reading.Edge],
    kinds: dict[reading.Node, str],
) -> None:
    """The edges that are new, of the run of `event`. `kinds` of datasets count for their columns, too."""
    nodes = sorted({n for e in edges for n in (e.source, e.target)})
    ids = await _ids(connection, nodes, kinds)
    rows = [
        {
            "source": ids[e.source],
            "target": ids[e.target],
            "job": f"{event.job_namespace}/{event.job_name}",
            "run_id": event.run_id,
        }
        for e in edges
    ]
    if rows:
        await connection.execute(database.insert(connection, _edges).on_conflict_do_nothing(), rows)


async def find(
    connection: AsyncConnection, namespace: str, name: str, *, version: str, column: str
) -> list[sa.Row[Any]]:
    """The node, of every version if none is named."""
    query = sa.select(_nodes).where(
        _nodes.c.namespace == namespace, _nodes.c.name == name, _nodes.c.column == column
    )
    if version:
        query = query.where(_nodes.c.version == version)
    return list((await connection.execute(query.order_by(_nodes.c.id))).all())


async def names(connection: AsyncConnection, namespace: str) -> list[str]:
    query = sa.select(_nodes.c.name).where(_nodes.c.namespace == namespace).distinct().order_by(_nodes.c.name)
    return list((await connection.execute(query)).scalars())


async def columns(connection: AsyncConnection, namespace: str, name: str) -> list[str]:
    found = (_nodes.c.namespace == namespace, _nodes.c.name == name, _nodes.c.column != "")
    query = sa.select(_nodes.c.column).where(*found).distinct().order_by(_nodes.c.column)
    return list((await connection.execute(query)).scalars())


async def run_that_made(connection: AsyncConnection, namespace: str, name: str, version: str) -> str:
    """Our id of the run that made a dataset's version first; empty if none is known to have."""
    made = await find(connection, namespace, name, version=version, column="")
    if not version or not made:
        return ""
    query = (
        sa.select(_events.c.event)
        .join(_edges, _edges.c.run_id == _events.c.run_id)
        .where(_edges.c.target == made[0].id, _events.c.event_type == "COMPLETE")
        .limit(1)
    )
    event = await connection.scalar(query)
    tags = ((((event or {}).get("run") or {}).get("facets") or {}).get("tags") or {}).get("tags") or []
    return next((str(tag["value"]) for tag in tags if tag.get("key") == "run_id"), "")


async def walk(
    connection: AsyncConnection,
    starts: Sequence[int],
    direction: lineage.Direction,
    *,
    limit: int,
    visible: Collection[str] | None = None,
) -> Found:
    """Every edge on a way from `starts`, up to `limit`; each node is visited once, so cycles end.

    A way ends where it would lead out of the namespaces in `visible`; None: it leads everywhere.

    SQLite takes a recursive query's rows in the order in which it found them: what is cut off is what is farthest.
    PostgreSQL promises no order: what is cut off there may be any of them.
    """
    here, there = (
        (_edges.c.source, _edges.c.target)
        if direction == "downstream"
        else (_edges.c.target, _edges.c.source)
    )
    start = sa.select(_nodes.c.id.label("id")).where(_nodes.c.id.in_(starts))
    reached = start.cte("reached", recursive=True)
    step = sa.select(there.label("id")).join(reached, here == reached.c.id)
    seen = None if visible is None else sa.select(_nodes.c.id).where(_nodes.c.namespace.in_(visible))
    reached = reached.union(step if seen is None else step.where(there.in_(seen)))
    query = sa.select(_edges).join(reached, here == reached.c.id).limit(limit + 1)
    if seen is not None:
        query = query.where(there.in_(seen))
    rows = (await connection.execute(query)).all()
    return Found(rows[:limit], len(rows) > limit)


async def nodes_of(connection: AsyncConnection, ids: Iterable[int]) -> dict[int, sa.Row[Any]]:
    found: dict[int, sa.Row[Any]] = {}
    for some in _pieces(sorted(set(ids))):
        rows = (await connection.execute(sa.select(_nodes).where(_nodes.c.id.in_(some)))).all()
        found |= {row.id: row for row in rows}
    return found


async def _ids(
    connection: AsyncConnection, nodes: Sequence[reading.Node], kinds: dict[reading.Node, str]
) -> dict[reading.Node, int]:
    values = [
        {
            "namespace": n.namespace,
            "name": n.name,
            "version": n.version,
            "column": n.column,
            "kind": kinds.get(reading.Node(n.namespace, n.name, n.version), ""),
        }
        for n in nodes
    ]
    if values:
        new = database.insert(connection, _nodes)
        # Who only read it may not have said what it is.
        told = new.on_conflict_do_update(
            index_elements=["namespace", "name", "version", "column"],
            set_={"kind": new.excluded.kind},
            where=sa.and_(new.excluded.kind != "", _nodes.c.kind == ""),
        )
        await connection.execute(told, values)
    found: dict[reading.Node, int] = {}
    key = sa.tuple_(_nodes.c.namespace, _nodes.c.name, _nodes.c.version, _nodes.c.column)
    for some in _pieces(nodes):
        wanted = [(n.namespace, n.name, n.version, n.column) for n in some]
        for row in (await connection.execute(sa.select(_nodes).where(key.in_(wanted)))).all():
            found[reading.Node(row.namespace, row.name, row.version, row.column)] = row.id
    return found


def _pieces(values: Sequence[T]) -> Iterator[Sequence[T]]:
    for i in range(0, len(values), _ROWS):
        yield values[i : i + _ROWS]
