"""What a priced record gets when it is put on record, and keeps: its project's tags, and the month that it is billed in."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import settings
from mainspring.core.contracts import base, control
from mainspring.core.cost import closing
from mainspring.platform import database

__all__ = ["stamped"]


async def stamped(
    connection: AsyncConnection, book: settings.CostSettings, views: Sequence[control.CostView]
) -> list[control.CostView]:
    """The records in their order, as the ledger keeps them."""
    table, now = database.projects, base.utc_now()
    query = sa.select(table.c.name, table.c.tags).where(table.c.name.in_({one.project for one in views}))
    tags = {row.name: row.tags or {} for row in (await connection.execute(query)).all()}
    return [
        one.model_copy(
            update={
                "tags": tags.get(one.project, {}),
                "billed_in": closing.billed_in(one.charge_period_start, now, book.close_days),
            }
        )
        for one in views
    ]
