"""What runs and projects have spent of what they may: asked again and again by whoever has their work under way."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import cost, settings
from mainspring.core.contracts import base
from mainspring.core.contracts import budgets as contracts
from mainspring.core.contracts.capacity import Capacity
from mainspring.platform import database, reads
from mainspring.platform import plane as control_plane
from mainspring.platform.costs import budgets as period_budgets
from mainspring.platform.costs import store
from mainspring.platform.runs import store as run_store

__all__ = ["standing"]


async def standing(
    plane: control_plane.ControlPlane, credential: str, *, runs: Sequence[str], projects: Sequence[str]
) -> contracts.Standing:
    """Of those that there are and that the actor may know of, and of the runs' projects. Nothing is written.

    A run's limit is what it was started or resumed with; a project's is of this month.
    """
    async with reads.reading(plane, credential, action="cost.read") as reader:
        found = await _runs(reader.connection, runs, await reader.projects())
        wanted = sorted({*projects, *(project for project, _ in found.values())})
        return contracts.Standing(
            currency=plane.book.currency,
            prices=_prices(plane.book, Capacity.ON_DEMAND),
            rates={str(one): _prices(plane.book, one) for one in Capacity if one is not Capacity.ON_DEMAND},
            runs={run: spending for run, (_, spending) in found.items()},
            projects=await _projects(reader.connection, known := [one for one in wanted if reader.may(one)]),
            budgets=await _budgets(reader.connection, known),
        )


def _prices(book: settings.CostSettings, capacity: Capacity) -> dict[str, float]:
    return {sku: cost.unit_price(book, sku, capacity) for sku in cost.UNITS}


async def _runs(
    connection: AsyncConnection, wanted: Sequence[str], visible: Collection[str] | None
) -> dict[str, tuple[str, contracts.Spending]]:
    rows = (
        await connection.execute(sa.select(database.runs).where(database.runs.c.run_id.in_(wanted)))
    ).all()
    spent = await store.run_costs(connection, wanted)
    return {
        row.run_id: (
            row.project,
            contracts.Spending(limit=run_store.max_cost(row), spent=spent.get(row.run_id, 0.0)),
        )
        for row in rows
        if visible is None or row.project in visible
    }


async def _budgets(
    connection: AsyncConnection, wanted: Sequence[str]
) -> tuple[contracts.PeriodSpending, ...]:
    now = base.utc_now()
    return tuple(
        [
            contracts.PeriodSpending(
                project=row.project,
                environment=row.environment,
                period=contracts.Period(row.period),
                limit=cost.to_amount(row.amount_nanos),
                spent=cost.to_amount(await period_budgets.spent_of(connection, row, now)),
            )
            for row in await period_budgets.rows_of(connection, wanted)
            if row.is_hard
        ]
    )


async def _projects(connection: AsyncConnection, wanted: Sequence[str]) -> dict[str, contracts.Spending]:
    table, now = database.projects.c, base.utc_now()
    rows = await connection.execute(
        sa.select(table.name, table.monthly_budget_nanos).where(table.name.in_(wanted))
    )
    return {
        row.name: contracts.Spending(
            limit=None if row.monthly_budget_nanos is None else cost.to_amount(row.monthly_budget_nanos),
            spent=cost.to_amount(await store.spent_nanos(connection, row.name, now)),
        )
        for row in rows.all()
    }
