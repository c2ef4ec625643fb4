"""Rows of impact assessments, and whether a project needs one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import ids
from mainspring.core.contracts import catalog, dpia
from mainspring.core.contracts.dpia import DpiaState
from mainspring.core.protection import dpia as risks
from mainspring.platform import database

_table = database.dpias

#: A signature counts for a year: what is processed, and what is known of it, changes.
VALID_FOR: Final = timedelta(days=365)


async def insert(
    connection: AsyncConnection,
    project: str,
    answers: dpia.DpiaAnswers,
    digest: str,
    *,
    by: str,
    now: datetime,
) -> sa.Row[Any]:
    """An open one, in the place of one that nobody has decided on."""
    await connection.execute(
        sa.update(_table)
        .where(_table.c.project == project, _table.c.state == str(DpiaState.OPEN))
        .values(state=str(DpiaState.SUPERSEDED))
    )
    found = risks.assess(answers)
    dpia_id = ids.new_id("dpia")
    await connection.execute(
        sa.insert(_table).values(
            dpia_id=dpia_id,
            project=project,
            digest=digest,
            answers=answers.model_dump(mode="json"),
            risk=found.risk,
            score=found.score,
            findings=list(found.findings),
            state=str(DpiaState.OPEN),
            submitted_at=now.isoformat(),
            submitted_by=by,
            decided_by="",
            decision_reason="",
        )
    )
    return (await connection.execute(sa.select(_table).where(_table.c.dpia_id == dpia_id))).one()


async def open_one(connection: AsyncConnection, project: str) -> sa.Row[Any] | None:
    query = sa.select(_table).where(_table.c.project == project, _table.c.state == str(DpiaState.OPEN))
    return (await connection.execute(query)).one_or_none()


async def in_force(connection: AsyncConnection, project: str, now: datetime) -> sa.Row[Any] | None:
    """The signed one that has not ended."""
    query = sa.select(_table).where(
        _table.c.project == project,
        _table.c.state == str(DpiaState.SIGNED),
        _table.c.valid_until > now.isoformat(),
    )
    return (await connection.execute(query)).one_or_none()


async def latest_decided(connection: AsyncConnection, project: str) -> sa.Row[Any] | None:
    query = (
        sa.select(_table)
        .where(_table.c.project == project, _table.c.decided_at.is_not(None))
        .order_by(_table.c.decided_at.desc(), _table.c.dpia_id.desc())
        .limit(1)
    )
    return (await connection.execute(query)).one_or_none()


async def decide(
    connection: AsyncConnection, row: sa.Row[Any], decision: dpia.DpiaDecision, *, by: str, now: datetime
) -> sa.Row[Any]:
    """A signature takes the place of the one before."""
    if decision.sign:
        await connection.execute(
            sa.update(_table)
            .where(_table.c.project == row.project, _table.c.state == str(DpiaState.SIGNED))
            .values(state=str(DpiaState.SUPERSEDED))
        )
    await connection.execute(
        sa.update(_table)
        .where(_table.c.dpia_id == row.dpia_id)
        .values(
            state=str(DpiaState.SIGNED if decision.sign else DpiaState.REJECTED),
            decided_at=now.isoformat(),
            decided_by=by,
            decision_reason=decision.reason,
            valid_until=(now + VALID_FOR).isoformat() if decision.sign else None,
        )
    )
    return (await connection.execute(sa.select(_table).where(_table.c.dpia_id == row.dpia_id))).one()


async def page(
    connection: AsyncConnection, project: str, *, before: str, limit: int
) -> Sequence[sa.Row[Any]]:
    """Newest first: ids sort by time."""
    query = sa.select(_table).where(_table.c.project == project)
    if before:
        query = query.where(_table.c.dpia_id < before)
    return (await connection.execute(query.order_by(_table.c.dpia_id.desc()).limit(limit))).all()


async def restricted_columns(connection: AsyncConnection, project: str) -> list[str]:
    """Columns of the project's catalog that tell of persons and are of the highest class, `entry.column`."""
    table = database.catalog
    query = sa.select(table.c.name, table.c.entry).where(table.c.project == project, table.c.has_pii)
    found = []
    for row in (await connection.execute(query.order_by(table.c.name))).all():
        entry = catalog.CatalogEntry.model_validate(row.entry)
        found += [
            f"{row.name}.{c.name}" for c in entry.columns if c.is_pii and c.classification == "restricted"
        ]
    return found


def view(row: sa.Row[Any], now: datetime) -> dpia.DpiaView:
    counts = (
        row.state == DpiaState.SIGNED and row.valid_until is not None and row.valid_until > now.isoformat()
    )
    return dpia.DpiaView.model_validate({**row._mapping, "is_in_force": counts})
