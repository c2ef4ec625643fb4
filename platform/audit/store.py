"""Audit rows: each carries the hash of the one before, over canonical JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import canonical, ids
from mainspring.core.contracts import base, control
from mainspring.platform import database

#: What the first row follows.
GENESIS: Final = "sha256:" + "0" * 64


async def append(
    connection: AsyncConnection,
    *,
    actor: str,
    action: str,
    resource: str,
    outcome: str,
    detail: dict[str, Any],
    event_key: str | None = None,
) -> str:
    """Append one fact to the log within the caller's writing transaction; returns its hash."""
    last = (
        await connection.execute(
            sa.select(database.audit.c.sequence, database.audit.c.hash)
            .order_by(database.audit.c.sequence.desc())
            .limit(1)
        )
    ).one_or_none()
    body = {
        "sequence": 1 if last is None else last.sequence + 1,
        "event_id": ids.new_id("evt"),
        "at": base.utc_now().isoformat(),
        "actor": actor,
        "action": action,
        "resource": resource,
        "outcome": outcome,
        "detail": detail,
        "previous_hash": GENESIS if last is None else last.hash,
    }
    hashed = canonical.digest(body)
    row = {**body, "detail": canonical.dumps(detail).decode(), "hash": hashed, "event_key": event_key}
    await connection.execute(sa.insert(database.audit).values(row))
    return hashed


def recompute(row: sa.Row[Any]) -> str:
    """The hash that the row's content should have."""
    names = ("sequence", "event_id", "at", "actor", "action", "resource", "outcome", "previous_hash")
    return canonical.digest({**{n: getattr(row, n) for n in names}, "detail": json.loads(row.detail)})


async def page(connection: AsyncConnection, *, after: int, limit: int) -> Sequence[sa.Row[Any]]:
    """Up to `limit` rows after a sequence number, oldest first."""
    query = (
        sa.select(database.audit)
        .where(database.audit.c.sequence > after)
        .order_by(database.audit.c.sequence)
        .limit(limit)
    )
    return (await connection.execute(query)).all()


async def is_recorded(connection: AsyncConnection, event_key: str) -> sa.Row[Any] | None:
    """The row of an event that was reported before."""
    query = sa.select(database.audit).where(database.audit.c.event_key == event_key)
    return (await connection.execute(query)).one_or_none()


async def details(connection: AsyncConnection, *, resource: str, action: str) -> list[dict[str, Any]]:
    """The details of every such fact, oldest first."""
    query = (
        sa.select(database.audit.c.detail)
        .where(database.audit.c.resource == resource, database.audit.c.action == action)
        .order_by(database.audit.c.sequence)
    )
    return [json.loads(text) for text in (await connection.execute(query)).scalars()]


def view(row: sa.Row[Any]) -> control.AuditView:
    fields = {**row._mapping, "detail": json.loads(row.detail)}
    return control.AuditView.model_validate(fields)
