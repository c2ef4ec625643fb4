"""Usage rows with their price."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import cost
from mainspring.core.contracts import control, training
from mainspring.platform import database


async def insert(
    connection: AsyncConnection, record: training.UsageRecord, view: control.CostView, nanos: int
) -> None:
    await connection.execute(
        sa.insert(database.usage).values(
            usage_key=record.usage_key,
            project=record.project,
            run_id=record.run_id,
            service=record.service,
            started_at=record.started_at.isoformat(),
            cost_nanos=nanos,
            currency=view.billing_currency,
            record=record.model_dump(mode="json"),
            view=view.model_dump(mode="json"),
        )
    )


async def find(connection: AsyncConnection, usage_key: str) -> sa.Row[Any] | None:
    query = sa.select(database.usage).where(database.usage.c.usage_key == usage_key)
    return (await connection.execute(query)).one_or_none()


async def spent_nanos(connection: AsyncConnection, project: str, now: datetime) -> int:
    """What the project used since the month of `now` (UTC) began, by start of use."""
    month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0).isoformat()
    query = sa.select(sa.func.coalesce(sa.func.sum(database.usage.c.cost_nanos), 0)).where(
        database.usage.c.project == project, database.usage.c.started_at >= month
    )
    return int((await connection.execute(query)).scalar_one())


async def run_costs(connection: AsyncConnection, run_ids: Sequence[str]) -> dict[str, float]:
    """Cost by run; runs without usage are absent."""
    query = (
        sa.select(database.usage.c.run_id, sa.func.sum(database.usage.c.cost_nanos))
        .where(database.usage.c.run_id.in_(run_ids))
        .group_by(database.usage.c.run_id)
    )
    return {run_id: cost.to_amount(int(nanos)) for run_id, nanos in (await connection.execute(query)).all()}


async def views(connection: AsyncConnection, projects: Collection[str] | None) -> list[control.CostView]:
    """Every priced record of `projects`; None: of all."""
    query = sa.select(database.usage.c.view)
    if projects is not None:
        query = query.where(database.usage.c.project.in_(projects))
    return [control.CostView.model_validate(v) for v in (await connection.execute(query)).scalars()]
