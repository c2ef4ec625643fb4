"""Rows of quotas, and what is counted against them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core.contracts import base, quotas
from mainspring.platform import database
from mainspring.platform.http import versions
from mainspring.platform.runs import requests

_table = database.quotas


async def find(connection: AsyncConnection, project: str) -> sa.Row[Any] | None:
    """None: the platform's settings are in force."""
    return (await connection.execute(sa.select(_table).where(_table.c.project == project))).one_or_none()


async def put(connection: AsyncConnection, project: str, wanted: quotas.QuotaPut, by: str) -> None:
    values = {**wanted.model_dump(), "set_at": base.utc_now().isoformat(), "set_by": by}
    statement = database.insert(connection, _table).values(project=project, **values)
    await connection.execute(statement.on_conflict_do_update(index_elements=["project"], set_=values))


async def open_runs(connection: AsyncConnection, project: str, now: datetime) -> int:
    """Those that money is kept free for: one whose end nobody reports is let go of with its reservation."""
    kept, runs = database.reservations.c, database.runs.c
    query = (
        sa.select(sa.func.count())
        .select_from(database.reservations.join(database.runs, kept.run_id == runs.run_id))
        .where(
            kept.project == project,
            kept.lapses_at > now.isoformat(),
            runs.kind.not_in([str(kind) for kind in requests.ENDS]),
        )
    )
    return int((await connection.execute(query)).scalar_one())


async def endpoints(connection: AsyncConnection, project: str) -> int:
    query = sa.select(sa.func.count()).where(database.endpoints.c.project == project)
    return int((await connection.execute(query)).scalar_one())


def own(row: sa.Row[Any] | None) -> quotas.QuotaPut:
    """What was set for a project; nothing for None."""
    return (
        quotas.QuotaPut(**{q: row._mapping[q] for q in quotas.Quota})
        if row is not None
        else quotas.QuotaPut()
    )


def version(project: str, row: sa.Row[Any] | None) -> str:
    return versions.of(project, *([] if row is None else [*own(row).model_dump().values(), row.set_at]))
