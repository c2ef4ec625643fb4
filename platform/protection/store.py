"""Rows of classifications: one for each column that was found to tell of persons, perhaps."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core.contracts import base, catalog, protection
from mainspring.core.contracts.protection import ClassificationState
from mainspring.platform import database

_table = database.classifications


async def of_entry(connection: AsyncConnection, project: str, entry: str) -> dict[str, sa.Row[Any]]:
    """An entry's rows by column."""
    query = sa.select(_table).where(_table.c.project == project, _table.c.entry == entry)
    return {row.column_name: row for row in (await connection.execute(query)).all()}


async def decided(connection: AsyncConnection, project: str) -> frozenset[tuple[str, str]]:
    """(entry, column) of which a person has said something that stands."""
    query = sa.select(_table.c.entry, _table.c.column_name).where(
        _table.c.project == project, _table.c.state != str(ClassificationState.OPEN)
    )
    return frozenset((row.entry, row.column_name) for row in (await connection.execute(query)).all())


async def waiting(connection: AsyncConnection, project: str) -> Mapping[tuple[str, str], protection.PiiKind]:
    """Kinds by (entry, column) of what is sure enough to keep its entry back until a person has decided."""
    query = sa.select(_table.c.entry, _table.c.column_name, _table.c.kind).where(
        _table.c.project == project,
        _table.c.state == str(ClassificationState.OPEN),
        _table.c.confidence >= protection.CERTAIN_ENOUGH,
    )
    return {(row.entry, row.column_name): row.kind for row in (await connection.execute(query)).all()}


async def confirmed(
    connection: AsyncConnection, project: str
) -> Mapping[str, Mapping[str, catalog.Classification]]:
    """Classes by entry and column of what persons confirmed."""
    query = sa.select(_table.c.entry, _table.c.column_name, _table.c.classification).where(
        _table.c.project == project, _table.c.state == str(ClassificationState.CONFIRMED)
    )
    found: dict[str, dict[str, catalog.Classification]] = {}
    for row in (await connection.execute(query)).all():
        found.setdefault(row.entry, {})[row.column_name] = row.classification
    return found


async def kinds(connection: AsyncConnection, project: str) -> Mapping[tuple[str, str], protection.PiiKind]:
    """What columns tell of persons, by (entry, column), but for those that a person rejected."""
    query = sa.select(_table.c.entry, _table.c.column_name, _table.c.kind).where(
        _table.c.project == project, _table.c.state != str(ClassificationState.REJECTED)
    )
    return {(row.entry, row.column_name): row.kind for row in (await connection.execute(query)).all()}


async def put_open(
    connection: AsyncConnection, project: str, entry: str, found: Sequence[protection.ColumnFinding], by: str
) -> None:
    """Put findings in the place of those of their columns, for a person to decide about."""
    await connection.execute(
        sa.delete(_table).where(
            _table.c.project == project,
            _table.c.entry == entry,
            _table.c.column_name.in_([finding.column for finding in found]),
        )
    )
    now = base.utc_now().isoformat()
    await connection.execute(
        sa.insert(_table),
        [
            {
                "project": project,
                "entry": entry,
                "column_name": finding.column,
                **finding.model_dump(
                    mode="json", include={"kind", "classification", "confidence", "reasons", "sampled_rows"}
                ),
                "state": str(ClassificationState.OPEN),
                "found_at": now,
                "found_by": by,
                "decided_at": None,
                "decided_by": "",
                "decision_reason": "",
            }
            for finding in found
        ],
    )


async def update(connection: AsyncConnection, row: sa.Row[Any], **values: Any) -> None:
    await connection.execute(
        sa.update(_table)
        .where(
            _table.c.project == row.project,
            _table.c.entry == row.entry,
            _table.c.column_name == row.column_name,
        )
        .values(**values)
    )


async def page(
    connection: AsyncConnection,
    project: str,
    *,
    entry: str,
    states: Collection[ClassificationState],
    after: tuple[str, str],
    limit: int,
) -> Sequence[sa.Row[Any]]:
    """By entry and column, those after `after`; `states` empty: all."""
    key = sa.tuple_(_table.c.entry, _table.c.column_name)
    query = sa.select(_table).where(_table.c.project == project, key > sa.tuple_(*map(sa.literal, after)))
    if entry:
        query = query.where(_table.c.entry == entry)
    if states:
        query = query.where(_table.c.state.in_([str(state) for state in states]))
    order = (_table.c.entry, _table.c.column_name)
    return (await connection.execute(query.order_by(*order).limit(limit))).all()


def view(row: sa.Row[Any]) -> protection.ClassificationView:
    return protection.ClassificationView.model_validate({**row._mapping, "column": row.column_name})
