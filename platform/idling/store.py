"""When endpoints were asked last, by what serving reported; the newest notice of each, by the audit log; and whose budget is spent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core.contracts import base, idling
from mainspring.platform import database
from mainspring.platform.costs import budgets

NOTICE: Final = "endpoint.idle-notice"
STOP: Final = "endpoint.stop"
BUDGET_NOTICE: Final = "endpoint.budget-notice"
BUDGET_STOP: Final = "endpoint.budget-stop"


async def known(connection: AsyncConnection, rows: Sequence[sa.Row[Any]]) -> list[idling.IdleEndpoint]:
    """Of endpoint rows, in their order."""
    names = [row.name for row in rows]
    used, told = await _last_used(connection, names), await _told(connection, names)
    projects = sorted({row.project for row in rows})
    spent = await budgets.stopping(connection, projects, base.utc_now()) if projects else []

    def of(row: sa.Row[Any]) -> dict[str, Any]:
        over = next((one for one in spent if one.is_for(row.project, row.environment)), None)
        return {} if over is None else {"spent_budget": over.named.name, "spent_since": over.since}

    return [
        idling.IdleEndpoint(
            endpoint=row.name,
            project=row.project,
            environment=row.environment,
            claimed_at=row.claimed_at,
            last_used_at=used.get(row.name),
            noticed_at=told.get((f"endpoint/{row.name}", NOTICE)),
            stopped_at=told.get((f"endpoint/{row.name}", STOP)),
            budget_noticed_at=told.get((f"endpoint/{row.name}", BUDGET_NOTICE)),
            budget_stopped_at=told.get((f"endpoint/{row.name}", BUDGET_STOP)),
            **of(row),
        )
        for row in rows
    ]


async def _last_used(connection: AsyncConnection, names: Sequence[str]) -> dict[str, str]:
    """The end of the window that began last: all of one process are as long."""
    usage = database.serving_usage.c
    last = (
        sa.select(usage.endpoint, sa.func.max(usage.started_at).label("started_at"))
        .where(usage.endpoint.in_(names), usage.requests > 0)
        .group_by(usage.endpoint)
        .subquery()
    )
    query = sa.select(usage.endpoint, usage.record).join(
        last, (last.c.endpoint == usage.endpoint) & (last.c.started_at == usage.started_at)
    )
    found: dict[str, str] = {}
    for row in (await connection.execute(query)).all():
        found[row.endpoint] = max(found.get(row.endpoint, ""), str(row.record["ended_at"]))
    return found


async def _told(connection: AsyncConnection, names: Sequence[str]) -> dict[tuple[str, str], str]:
    audit = database.audit.c
    query = (
        sa.select(audit.resource, audit.action, sa.func.max(audit.at))
        .where(
            audit.resource.in_([f"endpoint/{name}" for name in names]),
            audit.action.in_((NOTICE, STOP, BUDGET_NOTICE, BUDGET_STOP)),
            audit.outcome == "done",
        )
        .group_by(audit.resource, audit.action)
    )
    return {(resource, action): at for resource, action, at in (await connection.execute(query)).all()}
