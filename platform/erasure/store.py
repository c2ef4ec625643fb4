"""Rows of erasures. None has a subject's key: its keyed hash stands for it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import errors, ids
from mainspring.core.contracts import control, erasure, scoring
from mainspring.core.contracts.erasure import ErasureState
from mainspring.platform import database

_table = database.erasures

#: Of one subject at most one erasure is in one of these.
UNDER_WAY: Final = (ErasureState.OPEN, ErasureState.ERASING)


async def insert(
    connection: AsyncConnection,
    project: str,
    asked: erasure.ErasureCreate,
    subject_hash: str,
    *,
    by: str,
    now: datetime,
) -> sa.Row[Any]:
    erasure_id = ids.new_id("era")
    await connection.execute(
        sa.insert(_table).values(
            erasure_id=erasure_id,
            project=project,
            entity=asked.entity,
            subject_hash=subject_hash,
            ground=str(asked.ground),
            reason=asked.reason,
            state=str(ErasureState.OPEN),
            requested_at=now.isoformat(),
            requested_by=by,
            decided_by="",
            decision_reason="",
            message="",
            rows_erased=0,
            certificate="",
        )
    )
    return await find(connection, project, erasure_id)


async def under_way(
    connection: AsyncConnection, project: str, entity: str, subject_hash: str
) -> sa.Row[Any] | None:
    query = sa.select(_table).where(
        _table.c.project == project,
        _table.c.entity == entity,
        _table.c.subject_hash == subject_hash,
        _table.c.state.in_([str(state) for state in UNDER_WAY]),
    )
    return (await connection.execute(query)).one_or_none()


async def all_under_way(connection: AsyncConnection, project: str) -> list[str]:
    """Ids of a project's."""
    query = sa.select(_table.c.erasure_id).where(
        _table.c.project == project, _table.c.state.in_([str(state) for state in UNDER_WAY])
    )
    return list((await connection.execute(query.order_by(_table.c.erasure_id))).scalars())


async def refused_by(connection: AsyncConnection, project: str, message: str) -> list[str]:
    """Erasures that were refused with that message."""
    query = sa.select(_table.c.erasure_id).where(
        _table.c.project == project,
        _table.c.state == str(ErasureState.REFUSED),
        _table.c.message == message,
    )
    return list((await connection.execute(query)).scalars())


async def find(connection: AsyncConnection, project: str, erasure_id: str) -> sa.Row[Any]:
    """Errors: NotFound, also for one of another project."""
    query = sa.select(_table).where(_table.c.erasure_id == erasure_id, _table.c.project == project)
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise errors.NotFound(
            f"project `{project}` has no erasure `{erasure_id}`; list them with `mainspring erasure list {project}`",
            resource="erasure",
            name=erasure_id,
        )
    return row


async def update(connection: AsyncConnection, erasure_id: str, **values: Any) -> None:
    await connection.execute(sa.update(_table).where(_table.c.erasure_id == erasure_id).values(**values))


async def page(
    connection: AsyncConnection, project: str, *, before: str, limit: int
) -> Sequence[sa.Row[Any]]:
    """Newest first: ids sort by time."""
    query = sa.select(_table).where(_table.c.project == project)
    if before:
        query = query.where(_table.c.erasure_id < before)
    return (await connection.execute(query.order_by(_table.c.erasure_id.desc()).limit(limit))).all()


async def scorings(connection: AsyncConnection, project: str) -> list[scoring.ScoreOptions]:
    """What the project's batch scorings read, and where they wrote."""
    runs = database.runs
    query = sa.select(runs.c.request).where(
        runs.c.project == project, runs.c.kind == str(control.RunKind.SCORE)
    )
    found = (await connection.execute(query)).scalars().all()
    return [scoring.ScoreOptions.model_validate(request["score"]) for request in found]


def view(row: sa.Row[Any], *, with_certificate: bool = False) -> erasure.ErasureView:
    told = dict(row._mapping)
    return erasure.ErasureView.model_validate(told if with_certificate else told | {"certificate": ""})
