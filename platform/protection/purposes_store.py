"""Rows of what a person said that data may be used for."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core.contracts import base, catalog, purposes
from mainspring.core.protection import purposes as bounds
from mainspring.platform import database
from mainspring.platform.catalog import store as catalog_store
from mainspring.platform.http import versions

_table = database.purposes


async def decided(connection: AsyncConnection, project: str) -> dict[str, sa.Row[Any]]:
    """A project's rows by entry."""
    query = sa.select(_table).where(_table.c.project == project)
    return {row.entry: row for row in (await connection.execute(query)).all()}


async def put(
    connection: AsyncConnection, project: str, entry: str, wanted: purposes.PurposesPut, by: str
) -> None:
    values = {
        "purposes": sorted(set(wanted.purposes)),
        "reason": wanted.reason,
        "decided_at": base.utc_now().isoformat(),
        "decided_by": by,
    }
    statement = database.insert(connection, _table).values(project=project, entry=entry, **values)
    await connection.execute(
        statement.on_conflict_do_update(index_elements=["project", "entry"], set_=values)
    )


async def entries(connection: AsyncConnection, project: str) -> list[catalog.CatalogEntry]:
    """A project's catalog."""
    found = await catalog_store.entries(connection, project)
    return [catalog.CatalogEntry.model_validate(entry) for entry in found.values()]


async def bound(connection: AsyncConnection, project: str) -> dict[str, bounds.Bound]:
    """What the project's entries are bound to."""
    rows = await decided(connection, project)
    said = {name: row.purposes for name, row in rows.items()}
    return bounds.bounds(await entries(connection, project), said)


async def of_run(connection: AsyncConnection, project: str) -> bounds.Bound | None:
    """What a run of the project is bound to, by what its plans read."""
    return bounds.of_run(await entries(connection, project), await bound(connection, project))


def version(project: str, entry: str, row: sa.Row[Any] | None) -> str:
    """Of what a person said: the same where nobody did."""
    return versions.of(project, entry, None if row is None else [row.purposes, row.decided_at])
