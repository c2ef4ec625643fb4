"""Rows of answers about reads."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core.contracts import decisions
from mainspring.platform import database
from mainspring.platform.decisions import log

_table = database.read_decisions
#: Rows of one statement: SQLite takes some 32,000 values.
_AT_ONCE: Final = 500


@dataclass(frozen=True)
class Wanted:
    """What is asked for; empty: anything."""

    actor: str = ""
    action: str = ""
    denied_only: bool = False


async def add(connection: AsyncConnection, rows: Sequence[dict[str, object]]) -> None:
    """Count them beside what there is of the same hour, whichever process has written that."""
    for begin in range(0, len(rows), _AT_ONCE):
        new = database.insert(connection, _table).values(rows[begin : begin + _AT_ONCE])
        later = sa.case(
            (new.excluded.last_at > _table.c.last_at, new.excluded.last_at), else_=_table.c.last_at
        )
        await connection.execute(
            new.on_conflict_do_update(
                index_elements=[_table.c.decision_key],
                set_={"count": _table.c.count + new.excluded["count"], "last_at": later},
            )
        )


async def forget(connection: AsyncConnection, before: datetime) -> None:
    await connection.execute(sa.delete(_table).where(_table.c.last_at < before.isoformat()))


async def page(
    connection: AsyncConnection,
    *,
    projects: Collection[str] | None,
    wanted: Wanted,
    before: tuple[str, str] | None,
    limit: int,
) -> Sequence[sa.Row[Any]]:
    """Newest first, by when they began; `projects` None: of all, and of the platform."""
    query = sa.select(_table)
    if projects is not None:
        query = query.where(_table.c.project.in_(projects))
    if wanted.actor:
        query = query.where(_table.c.actor == wanted.actor)
    if wanted.action:
        query = query.where(_table.c.action == wanted.action)
    if wanted.denied_only:
        query = query.where(~_table.c.allowed)
    if before is not None:
        place = sa.tuple_(_table.c.first_at, _table.c.decision_key)
        query = query.where(place < sa.tuple_(*map(sa.literal, before)))
    order = (_table.c.first_at.desc(), _table.c.decision_key.desc())
    return (await connection.execute(query.order_by(*order).limit(limit))).all()


async def since(connection: AsyncConnection, at: datetime, limit: int) -> Sequence[sa.Row[Any]]:
    """Newest first; of what is told apart alone: what is counted together is no question."""
    query = sa.select(_table).where(_table.c.last_at >= at.isoformat(), _table.c.project != log.SEVERAL)
    return (await connection.execute(query.order_by(_table.c.last_at.desc()).limit(limit))).all()


def view(row: sa.Row[Any]) -> decisions.ReadDecision:
    return decisions.ReadDecision.model_validate(dict(row._mapping), extra="ignore")
