"""Sums over what is on record, for some projects (None: for all)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.platform import database

Projects: TypeAlias = Collection[str] | None
Rows: TypeAlias = Sequence[sa.Row[*tuple[Any, ...]]]


def _of(query: sa.Select[Any], table: sa.Table, projects: Projects) -> sa.Select[Any]:
    return query if projects is None else query.where(table.c.project.in_(projects))


async def _all(connection: AsyncConnection, query: sa.Select[Any]) -> Rows:
    found: Rows = (await connection.execute(query)).all()
    return found


async def runs(connection: AsyncConnection, projects: Projects) -> Rows:
    """Project, kind, stage, how many: by the stage that was last reported."""
    table = database.runs
    columns = (table.c.project, table.c.kind, table.c.stage)
    query = sa.select(*columns, sa.func.count()).group_by(*columns).order_by(*columns)
    return await _all(connection, _of(query, table, projects))


async def open_intents(connection: AsyncConnection, projects: Projects) -> Rows:
    """Project, kind, how many: what was asked of runs and the engine is not known to have done."""
    columns = (database.runs.c.project, database.intents.c.kind)
    query = (
        sa.select(*columns, sa.func.count())
        .join_from(database.intents, database.runs)
        .where(database.intents.c.state == "open")
        .group_by(*columns)
        .order_by(*columns)
    )
    return await _all(connection, _of(query, database.runs, projects))


async def spent(connection: AsyncConnection, projects: Projects, since: datetime) -> Rows:
    """Project, service, currency, billionths of it, for use that began at `since` or later."""
    table = database.usage
    columns = (table.c.project, table.c.service, table.c.currency)
    query = sa.select(*columns, sa.func.sum(table.c.cost_nanos)).where(
        table.c.started_at >= since.isoformat()
    )
    return await _all(connection, _of(query, table, projects).group_by(*columns).order_by(*columns))


async def budgets(connection: AsyncConnection, projects: Projects) -> Rows:
    """Project and the billionths that it may spend a month; none where there is no limit."""
    table = database.projects
    query = sa.select(table.c.name, table.c.monthly_budget_nanos).where(
        table.c.monthly_budget_nanos.is_not(None)
    )
    if projects is not None:
        query = query.where(table.c.name.in_(projects))
    return await _all(connection, query.order_by(table.c.name))


async def alerts(connection: AsyncConnection, projects: Projects) -> Rows:
    """Project, endpoint, kind, state, how many: those that are not resolved."""
    table = database.alerts
    columns = (table.c.project, table.c.endpoint, table.c.kind, table.c.state)
    query = sa.select(*columns, sa.func.count()).where(table.c.state != "resolved")
    return await _all(connection, _of(query, table, projects).group_by(*columns).order_by(*columns))


async def deliveries(connection: AsyncConnection, projects: Projects) -> Rows:
    """Project, channel, state, how many."""
    table = database.alert_deliveries
    columns = (table.c.project, table.c.channel, table.c.state)
    query = sa.select(*columns, sa.func.count())
    return await _all(connection, _of(query, table, projects).group_by(*columns).order_by(*columns))


async def newest_reports(connection: AsyncConnection, projects: Projects) -> Rows:
    """Project, endpoint and report: the last that was recorded of each endpoint."""
    table = database.monitor_reports
    newest = _of(sa.select(sa.func.max(table.c.report_id)), table, projects)
    newest = newest.group_by(table.c.project, table.c.endpoint)
    query = sa.select(table.c.project, table.c.endpoint, table.c.report).where(table.c.report_id.in_(newest))
    return await _all(connection, query.order_by(table.c.project, table.c.endpoint))
