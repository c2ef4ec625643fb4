"""Rows of legal holds. None has a subject's key: its keyed hash stands for it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import errors, ids
from mainspring.core.contracts import base, holds, retention
from mainspring.core.contracts.holds import HoldState
from mainspring.platform import database
from mainspring.platform.http import versions

_table: Final = database.holds

#: How long somebody may decide on a lifting that was asked for.
LIFT_OPEN: Final = timedelta(days=7)
#: What of a view is no column of ours.
_NOT_COLUMNS: Final = {"stopped", "state", "version"}
#: What a hold in force says of a lifting that was refused or has lapsed: nothing; the log and the list of approvals do.
_UNDECIDED: Final = {"lifted_by": "", "decision_reason": ""}
_NOBODY: Final = {
    **_UNDECIDED,
    "lift_asked_at": None,
    "lift_asked_by": "",
    "lift_reason": "",
    "lift_due_at": None,
}


async def insert(
    connection: AsyncConnection, project: str, asked: holds.HoldCreate, *, subject_hash: str, by: str
) -> sa.Row[Any]:
    """`subject_hash` is of the subject, empty where there is none."""
    view = holds.HoldView(
        hold_id=ids.new_id("hold"),
        project=project,
        kinds=tuple(sorted(set(asked.kinds))),
        since=asked.since,
        until=asked.until,
        entity="" if asked.subject is None else asked.subject.entity,
        subject_hash=subject_hash,
        matter=asked.matter,
        reason=asked.reason,
        placed_at=base.utc_now(),
        placed_by=by,
    )
    await put_back(connection, view)
    return await find(connection, project, view.hold_id)


async def put_back(connection: AsyncConnection, hold: holds.HoldView) -> None:
    """A hold as it is said."""
    told = hold.model_dump(exclude=_NOT_COLUMNS)
    values = {name: v.isoformat() if isinstance(v, datetime) else v for name, v in told.items()}
    await connection.execute(
        sa.insert(_table).values({**values, "kinds": [str(kind) for kind in hold.kinds]})
    )


async def on_subject(
    connection: AsyncConnection, project: str, entity: str, subject_hash: str
) -> sa.Row[Any] | None:
    """The hold on a subject; None: there is none, or it was lifted."""
    query = sa.select(_table).where(
        _table.c.project == project,
        _table.c.entity == entity,
        _table.c.subject_hash == subject_hash,
        _table.c.lifted_at.is_(None),
    )
    return (await connection.execute(query)).one_or_none()


async def on_project(connection: AsyncConnection, project: str) -> Sequence[sa.Row[Any]]:
    """Holds in force on what was written in a time, oldest first."""
    query = sa.select(_table).where(
        _table.c.project == project, _table.c.subject_hash == "", _table.c.lifted_at.is_(None)
    )
    return (await connection.execute(query.order_by(_table.c.hold_id))).all()


async def of_retention(connection: AsyncConnection, project: str) -> tuple[retention.LegalHold, ...]:
    """What a retention of the project keeps, whatever its schedule says."""
    rows = await on_project(connection, project)
    return tuple(hold for row in rows for hold in view(row).of_retention())


async def taken_over(connection: AsyncConnection, project: str) -> set[str]:
    """Digests of holds that schedules of the project had, lifted ones too."""
    query = sa.select(_table.c.origin).where(_table.c.project == project, _table.c.origin != "")
    return set((await connection.execute(query)).scalars())


async def find(connection: AsyncConnection, project: str, hold_id: str) -> sa.Row[Any]:
    """Errors: NotFound, also for one of another project."""
    query = sa.select(_table).where(_table.c.hold_id == hold_id, _table.c.project == project)
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise errors.NotFound(
            f"project `{project}` has no hold `{hold_id}`; list them with `mainspring hold list {project}`",
            resource="hold",
            name=hold_id,
        )
    return row


async def ask_lift(connection: AsyncConnection, hold_id: str, *, by: str, reason: str, now: datetime) -> None:
    await _update(
        connection,
        hold_id,
        lift_asked_at=now.isoformat(),
        lift_asked_by=by,
        lift_reason=reason,
        lift_due_at=(now + LIFT_OPEN).isoformat(),
        **_UNDECIDED,
    )


async def refuse_lift(
    connection: AsyncConnection, hold_id: str, *, by: str, reason: str, now: datetime
) -> None:
    """It stays, and nobody may decide on that any more."""
    await _update(connection, hold_id, lift_due_at=now.isoformat(), lifted_by=by, decision_reason=reason)


async def lift(connection: AsyncConnection, hold_id: str, *, by: str, reason: str, now: datetime) -> None:
    await _update(connection, hold_id, lifted_at=now.isoformat(), lifted_by=by, decision_reason=reason)


async def lift_as_told(connection: AsyncConnection, told: holds.HoldView) -> None:
    """Lifted as it was said."""
    assert told.lifted_at is not None  # whoever asks has looked
    times = (told.lift_asked_at, told.lift_due_at)
    asked_at, due_at = (None if at is None else at.isoformat() for at in times)
    await _update(
        connection,
        told.hold_id,
        lift_asked_at=asked_at,
        lift_asked_by=told.lift_asked_by,
        lift_reason=told.lift_reason,
        lift_due_at=due_at,
        lifted_at=told.lifted_at.isoformat(),
        lifted_by=told.lifted_by,
        decision_reason=told.decision_reason,
    )


async def page(
    connection: AsyncConnection, project: str, *, in_force_only: bool, before: str, limit: int
) -> Sequence[sa.Row[Any]]:
    """Newest first: ids sort by time."""
    query = sa.select(_table).where(_table.c.project == project)
    if in_force_only:
        query = query.where(_table.c.lifted_at.is_(None))
    if before:
        query = query.where(_table.c.hold_id < before)
    return (await connection.execute(query.order_by(_table.c.hold_id.desc()).limit(limit))).all()


def state_of(row: sa.Row[Any], now: datetime) -> HoldState:
    """At `now`: what nobody decided on in its time is not asked for any more."""
    if row.lifted_at is not None:
        return HoldState.LIFTED
    is_asked = row.lift_due_at is not None and row.lift_due_at > now.isoformat()
    return HoldState.LIFT_ASKED if is_asked else HoldState.IN_FORCE


def view(row: sa.Row[Any], *, stopped: Sequence[str] = ()) -> holds.HoldView:
    state = state_of(row, base.utc_now())
    told = {**row._mapping, **(_NOBODY if state is HoldState.IN_FORCE else {})}
    return holds.HoldView.model_validate(
        {**told, "state": state, "version": version(row, state), "stopped": list(stopped)}
    )


def version(row: sa.Row[Any], state: HoldState) -> str:
    return versions.of(row.hold_id, str(state), row.lift_asked_at if state is HoldState.LIFT_ASKED else "")


async def _update(connection: AsyncConnection, hold_id: str, **values: Any) -> None:
    await connection.execute(sa.update(_table).where(_table.c.hold_id == hold_id).values(**values))
