"""Rows of privacy budgets and of what was charged to them, in whole billionths of epsilon."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core.contracts import base, privacy
from mainspring.platform import database
from mainspring.platform.http import versions

_budgets, _spends = database.privacy_budgets, database.privacy_spends


async def budget(connection: AsyncConnection, project: str, dataset: str) -> sa.Row[Any] | None:
    query = sa.select(_budgets).where(_budgets.c.project == project, _budgets.c.dataset == dataset)
    return (await connection.execute(query)).one_or_none()


async def put_budget(connection: AsyncConnection, project: str, dataset: str, nanos: int, by: str) -> None:
    values = {"nanos": nanos, "set_at": base.utc_now().isoformat(), "set_by": by}
    statement = database.insert(connection, _budgets).values(project=project, dataset=dataset, **values)
    await connection.execute(
        statement.on_conflict_do_update(index_elements=["project", "dataset"], set_=values)
    )


async def spent(connection: AsyncConnection, project: str, dataset: str) -> tuple[int, int]:
    """Billionths of epsilon, and by how many answers."""
    query = sa.select(sa.func.coalesce(sa.func.sum(_spends.c.nanos), 0), sa.func.count()).where(
        _spends.c.project == project, _spends.c.dataset == dataset
    )
    nanos, answers = (await connection.execute(query)).one()
    return int(nanos), int(answers)


async def find_spend(connection: AsyncConnection, project: str, spend_key: str) -> sa.Row[Any] | None:
    query = sa.select(_spends).where(_spends.c.project == project, _spends.c.spend_key == spend_key)
    return (await connection.execute(query)).one_or_none()


async def spend(
    connection: AsyncConnection, project: str, dataset: str, asked: privacy.PrivacySpend, by: str
) -> None:
    await connection.execute(
        sa.insert(_spends).values(
            project=project,
            spend_key=asked.spend_key,
            dataset=dataset,
            nanos=privacy.to_nanos(asked.epsilon),
            question=asked.question,
            column_name=asked.column,
            spent_at=base.utc_now().isoformat(),
            spent_by=by,
        )
    )


async def page(connection: AsyncConnection, project: str, *, after: str, limit: int) -> Sequence[sa.Row[Any]]:
    """Budgets by dataset."""
    query = sa.select(_budgets).where(_budgets.c.project == project, _budgets.c.dataset > after)
    return (await connection.execute(query.order_by(_budgets.c.dataset).limit(limit))).all()


def version(row: sa.Row[Any]) -> str:
    return versions.of(row.project, row.dataset, row.nanos, row.set_at)


async def view(connection: AsyncConnection, row: sa.Row[Any]) -> privacy.PrivacyBudgetView:
    nanos, answers = await spent(connection, row.project, row.dataset)
    return privacy.PrivacyBudgetView(
        project=row.project,
        dataset=row.dataset,
        epsilon=row.nanos / privacy.NANOS,
        spent=nanos / privacy.NANOS,
        left=(row.nanos - nanos) / privacy.NANOS,
        answers=answers,
        version=version(row),
        set_at=row.set_at,
        set_by=row.set_by,
    )
