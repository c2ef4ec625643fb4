"""Intent rows: what somebody asked of a run and the engine was not yet known to have done."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import ids
from mainspring.core.contracts import base
from mainspring.platform import database


class Kind(StrEnum):
    """What is asked; the audit log calls it `run.<kind>`."""

    START = "start"
    DECIDE = "decide"
    CANCEL = "cancel"
    RESUME = "resume"
    STEER = "steer"


class State(StrEnum):
    OPEN = "open"
    DONE = "done"
    REFUSED = "refused"


async def insert(
    connection: AsyncConnection, run_id: str, kind: Kind, actor: str, request: dict[str, Any]
) -> sa.Row[Any]:
    """An open intent. The database refuses a second open one of the same kind and run."""
    intent_id = ids.new_id("intent")
    await connection.execute(
        sa.insert(database.intents).values(
            intent_id=intent_id,
            run_id=run_id,
            kind=str(kind),
            actor=actor,
            request=request,
            state=str(State.OPEN),
            created_at=base.utc_now().isoformat(),
        )
    )
    query = sa.select(database.intents).where(database.intents.c.intent_id == intent_id)
    return (await connection.execute(query)).one()


async def find_open(connection: AsyncConnection, run_id: str, kind: Kind) -> sa.Row[Any] | None:
    query = _of_state(State.OPEN).where(database.intents.c.run_id == run_id, database.intents.c.kind == kind)
    found: sa.Row[Any] | None = (await connection.execute(query)).one_or_none()
    return found


async def exists(connection: AsyncConnection, run_id: str, kind: Kind) -> bool:
    """Was it ever asked, settled or not."""
    query = sa.select(database.intents.c.intent_id).where(
        database.intents.c.run_id == run_id, database.intents.c.kind == kind
    )
    return (await connection.execute(query.limit(1))).one_or_none() is not None


async def open_until(connection: AsyncConnection, created_at: str) -> Sequence[sa.Row[Any]]:
    """Open intents of that time or before, oldest first."""
    query = _of_state(State.OPEN).where(database.intents.c.created_at <= created_at)
    found: Sequence[sa.Row[Any]] = (
        await connection.execute(query.order_by(database.intents.c.intent_id))
    ).all()
    return found


async def settle(connection: AsyncConnection, intent_id: str, state: State) -> bool:
    """Close an open intent; False if somebody else did."""
    changed = await connection.execute(
        sa.update(database.intents)
        .where(database.intents.c.intent_id == intent_id, database.intents.c.state == str(State.OPEN))
        .values(state=str(state), settled_at=base.utc_now().isoformat())
    )
    return changed.rowcount == 1


def _of_state(state: State) -> sa.Select[Any]:
    return sa.select(database.intents).where(database.intents.c.state == str(state))
