"""Serving usage rows, and the charges that usage becomes in the ledger of all costs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import settings
from mainspring.core.contracts import control, metering
from mainspring.platform import database
from mainspring.platform.costs import stamping
from mainspring.platform.projects import store as project_store

GroupBy: TypeAlias = Literal["project", "endpoint", "model_version", "caller"]
Charges: TypeAlias = Sequence[tuple[control.CostView, int]]


async def find(connection: AsyncConnection, keys: Sequence[str]) -> dict[str, metering.ServingUsage]:
    """Those of the keys that are known."""
    table = database.serving_usage
    rows = await connection.execute(
        sa.select(table.c.usage_key, table.c.record).where(table.c.usage_key.in_(keys))
    )
    return {row.usage_key: metering.ServingUsage.model_validate(row.record) for row in rows}


async def require_projects(connection: AsyncConnection, names: set[str]) -> None:
    """Errors: NotFound, with close names."""
    for name in sorted(names):
        await project_store.find(connection, name)


async def insert(
    connection: AsyncConnection,
    records: Sequence[tuple[metering.ServingUsage, Charges]],
    book: settings.CostSettings,
) -> None:
    if not records:
        return
    await connection.execute(
        sa.insert(database.serving_usage),
        [
            {
                **r.model_dump(exclude={"started_at", "ended_at", "capacity"}),
                "cost_nanos": sum(nanos for _, nanos in charges),
                "started_at": r.started_at.isoformat(),
                "record": r.model_dump(mode="json"),
            }
            for r, charges in records
        ],
    )
    await charge(connection, [(r.model_dump(mode="json"), charges) for r, charges in records], book)


async def charge(
    connection: AsyncConnection,
    records: Sequence[tuple[Mapping[str, Any], Charges]],
    book: settings.CostSettings,
) -> None:
    """Put into the ledger of all costs what each record costs."""
    charged = [(record, view, nanos) for record, charges in records for view, nanos in charges]
    views = await stamping.stamped(connection, book, [view for _, view, _ in charged])
    rows = [
        {
            "usage_key": view.usage_key,
            "project": view.project,
            "run_id": view.run_id,
            "service": view.service_name,
            "started_at": view.charge_period_start.isoformat(),
            "cost_nanos": nanos,
            "currency": view.billing_currency,
            "record": record,
            "view": view.model_dump(mode="json"),
            "billed_in": view.billed_in or None,
        }
        for view, (record, _, nanos) in zip(views, charged, strict=True)
    ]
    await connection.execute(sa.insert(database.usage), rows)


async def sums(
    connection: AsyncConnection, group_by: GroupBy, projects: Collection[str] | None
) -> dict[str, tuple[int, int, int, int]]:
    """By group: requests, predictions, CPU microseconds, billionths of the currency; of `projects`, None: of all."""
    table = database.serving_usage
    units = (table.c.requests, table.c.predictions, table.c.cpu_microseconds, table.c.cost_nanos)
    key = table.c[group_by]
    query = sa.select(key, *(sa.func.sum(unit) for unit in units)).group_by(key).order_by(key)
    if projects is not None:
        query = query.where(table.c.project.in_(projects))
    rows = (await connection.execute(query)).all()
    return {name: (int(a), int(b), int(c), int(d)) for name, a, b, c, d in rows}
