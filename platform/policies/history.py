"""Which sets of policies were in force, as the audit log has it: by the first decision, and by each change since."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core.contracts import policies
from mainspring.platform import database, mutation

#: What a change of the set is on record as, and its resource.
ACTION: Final = "policy.reload"
RESOURCE: Final = "policies"
#: Rows that are looked at for one: the first nearly always is, and others only have its word in their text.
_LOOKS: Final = 50

_table = database.audit
_columns: Final[tuple[sa.ColumnElement[Any], ...]] = (_table.c.sequence, _table.c.at, _table.c.detail)
_is_change = sa.and_(_table.c.resource == RESOURCE, _table.c.action == ACTION, _table.c.outcome == "done")
_is_decision = _table.c.detail.contains(f'"{mutation.AUTHORISATION}"')


async def last(connection: AsyncConnection) -> str:
    """The version that the log last speaks of; empty: of none."""
    for row in await _rows(connection, sa.or_(_is_change, _is_decision), _table.c.sequence.desc()):
        if found := _changed_to(row) or _decided_by(row):
            return found
    return ""


async def page(
    connection: AsyncConnection, in_force: str, *, before: int | None, limit: int
) -> list[policies.PolicyVersion]:
    """Newest first, those before that row. Where nothing is on record, that which is in force."""
    within = _table.c.sequence < before if before is not None else sa.true()
    query = sa.select(*_columns).where(_is_change, within).order_by(_table.c.sequence.desc())
    rows = (await connection.execute(query.limit(limit))).all()
    found = [
        policies.PolicyVersion(
            version=_changed_to(row),
            since=row.at,
            sequence=row.sequence,
            how="start" if json.loads(row.detail).get("when") == "start" else "reload",
        )
        for row in rows
    ]
    if len(rows) < limit and (first := await _first(connection, before)) is not None:
        found.append(first)
    if before is None:
        newest = found[0] if found else policies.PolicyVersion(version=in_force, how="first")
        # Where several control APIs share the database, another one's may be the newest.
        found[:1] = [newest.model_copy(update={"is_in_force": newest.version == in_force})]
    return found[:limit]


async def _first(connection: AsyncConnection, before: int | None) -> policies.PolicyVersion | None:
    """By the first decision on record, where no change came before it."""
    for row in await _rows(connection, sa.or_(_is_change, _is_decision), _table.c.sequence.asc()):
        if _changed_to(row) or (before is not None and row.sequence >= before):
            return None
        if version := _decided_by(row):
            return policies.PolicyVersion(version=version, since=row.at, sequence=row.sequence, how="first")
    return None


async def _rows(
    connection: AsyncConnection, wanted: sa.ColumnElement[bool], order: sa.ColumnElement[Any]
) -> Sequence[sa.Row[Any]]:
    return (await connection.execute(sa.select(*_columns).where(wanted).order_by(order).limit(_LOOKS))).all()


def _changed_to(row: sa.Row[Any]) -> str:
    found = json.loads(row.detail).get("to")
    return found if isinstance(found, str) else ""


def _decided_by(row: sa.Row[Any]) -> str:
    asked = json.loads(row.detail).get(mutation.AUTHORISATION)
    found = asked.get("policies") if isinstance(asked, dict) else None
    return found if isinstance(found, str) else ""
