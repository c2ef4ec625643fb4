"""What runs and projects have spent of what they may: asked again and again by whoever has their work under way."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import cost, settings
from mainspring.core.contracts import base, budgets
from mainspring.platform import database, reads
from mainspring.platform import plane as control_plane
from mainspring.platform.costs import store
from mainspring.platform.runs import store as run_store

__all__ = ["standing"]


async def standing(
    plane: control_plane.ControlPlane, credential: str, *, runs: Sequence[str], projects: Sequence[str]
) -> budgets.Standing:
    """Of those that there are and that the actor may know of, and of the runs' projects. Nothing is written.

    A run's limit is what it was started or resumed with; a project's is of this month.
    """
    async with reads.reading(plane, credential, action="cost.read") as reader:
        found = await _runs(reader.connection, runs, await reader.projects())
        wanted = sorted({*projects, *(project for project, _ in found.values())})
        return budgets.Standing(
            currency=plane.book.currency,
            prices=_prices(plane.book),
            runs={run: spending for run, (_, spending) in found.items()},
            projects=await _projects(reader.connection, [one for one in wanted if reader.may(one)]),
        )


def _prices(book: settings.CostSettings) -> dict[str, float]:
    return {sku: float(getattr(book, sku)) for sku in cost.UNITS}


async def _runs(
    connection: AsyncConnection, wanted: Sequence[str], visible: Collection[str] | None
) -> dict[str, tuple[str, budgets.Spending]]:
    rows = (
        await connection.execute(sa.select(database.runs).where(database.runs.c.run_id.in_(wanted)))
    ).all()
    spent = await store.run_costs(connection, wanted)
    return {
        row.run_id: (
            row.project,
            budgets.Spending(limit=run_store.max_cost(row), spent=spent.get(row.run_id, 0.0)),
        )
        for row in rows
        if visible is None or row.project in visible
    }


async def _projects(connection: AsyncConnection, wanted: Sequence[str]) -> dict[str, budgets.Spending]:
    table, now = database.projects.c, base.utc_now()
    rows = await connection.execute(
        sa.select(table.name, table.monthly_budget_nanos).where(table.name.in_(wanted))
    )
    return {
        row.name: budgets.Spending(
            limit=None if row.monthly_budget_nanos is None else cost.to_amount(row.monthly_budget_nanos),
            spent=cost.to_amount(await store.spent_nanos(connection, row.name, now)),
        )
        for row in rows.all()
    }
