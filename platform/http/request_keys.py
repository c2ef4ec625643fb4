"""Rows of idempotency keys: reserved when a request comes, answered when it succeeded, forgotten otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import errors
from mainspring.platform import database

#: After so long a request that gave no answer has died with its process, and the next one takes its place.
ABANDONED_AFTER: Final = timedelta(seconds=60)
#: How long an answer is kept.
KEPT_FOR: Final = timedelta(days=7)

_table = database.request_keys


@dataclass(frozen=True)
class Answer:
    """What the first request of a key was told."""

    status: int
    media_type: str
    body: str


async def reserve(
    connection: AsyncConnection, actor: str, key: str, fingerprint: str, now: datetime
) -> Answer | None:
    """The answer to give again; None: the key is this request's now.

    Errors: Conflict if the key came with another request or a token narrowed otherwise, or if its request is still under way.
    """
    await connection.execute(sa.delete(_table).where(_table.c.reserved_at < (now - KEPT_FOR).isoformat()))
    mine = (_table.c.actor == actor, _table.c.key == key)
    row = (await connection.execute(sa.select(_table).where(*mine))).one_or_none()
    if row is None:
        values = {"actor": actor, "key": key, "fingerprint": fingerprint, "reserved_at": now.isoformat()}
        await connection.execute(sa.insert(_table).values(**values))
        return None
    if row.fingerprint != fingerprint:
        raise errors.Conflict(
            f"idempotency key `{key}` came with another request, or with a token of another scope; use a fresh key for each",
            resource="idempotency key",
            name=key,
        )
    if row.status is not None:
        return Answer(row.status, row.media_type, row.body)
    if row.reserved_at > (now - ABANDONED_AFTER).isoformat():
        raise errors.Conflict(
            f"the request of idempotency key `{key}` is under way; ask again for its answer",
            resource="idempotency key",
            name=key,
        )
    await connection.execute(sa.update(_table).where(*mine).values(reserved_at=now.isoformat()))
    return None


async def settle(connection: AsyncConnection, actor: str, key: str, answer: Answer | None) -> None:
    """Keep the answer; None: forget the key, so that the request may come again."""
    mine = (_table.c.actor == actor, _table.c.key == key)
    if answer is None:
        await connection.execute(sa.delete(_table).where(*mine))
    else:
        await connection.execute(sa.update(_table).where(*mine).values(**vars(answer)))
