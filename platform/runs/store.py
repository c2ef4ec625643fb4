"""Run rows. The stage kept here is the last one a workflow reported; the launcher knows the present one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import cost, errors
from mainspring.core.contracts import base, control, training
from mainspring.platform import database
from mainspring.platform.http import versions

TERMINAL: Final = frozenset(
    {
        training.Stage.DONE,
        training.Stage.ROLLED_BACK,
        training.Stage.REJECTED,
        training.Stage.CANCELLED,
        training.Stage.FAILED,
    }
)


async def insert(
    connection: AsyncConnection, run_id: str, request: control.RunCreate, requested_by: str
) -> None:
    await connection.execute(
        sa.insert(database.runs).values(
            run_id=run_id,
            project=request.project,
            kind=str(request.kind),
            environment=request.environment,
            stage=str(training.Stage.PENDING),
            requested_by=requested_by,
            created_at=base.utc_now().isoformat(),
            request=request.model_dump(mode="json"),
            result={},
            idempotency_key=request.idempotency_key or None,
        )
    )


async def look_up(connection: AsyncConnection, run_id: str) -> sa.Row[Any] | None:
    query = sa.select(database.runs).where(database.runs.c.run_id == run_id)
    return (await connection.execute(query)).one_or_none()


async def find(connection: AsyncConnection, run_id: str) -> sa.Row[Any]:
    """Errors: NotFound."""
    row = await look_up(connection, run_id)
    if row is None:
        raise unknown(run_id)
    return row


def unknown(run_id: str) -> errors.NotFound:
    """What is said of a run that is not there, or that somebody may not know of."""
    return errors.NotFound(
        f"no run `{run_id}`; see `mainspring run list` for those there are", resource="run", name=run_id
    )


async def find_by_key(connection: AsyncConnection, requested_by: str, key: str) -> sa.Row[Any] | None:
    """The run that an actor started with this idempotency key."""
    if not key:
        return None
    query = sa.select(database.runs).where(
        database.runs.c.requested_by == requested_by, database.runs.c.idempotency_key == key
    )
    return (await connection.execute(query)).one_or_none()


async def set_stage(
    connection: AsyncConnection, run_id: str, stage: training.Stage, result: dict[str, Any]
) -> None:
    """Keep what a workflow reported; a terminal stage also ends the run."""
    values: dict[str, Any] = {"stage": str(stage)}
    if stage in TERMINAL:
        values["ended_at"] = base.utc_now().isoformat()
    if result:
        values["result"] = result
    await connection.execute(
        sa.update(database.runs).where(database.runs.c.run_id == run_id).values(**values)
    )


def max_cost(row: sa.Row[Any]) -> float | None:
    """What it may cost at most, with what it has cost so far."""
    if row.max_cost_nanos is not None:
        return cost.to_amount(row.max_cost_nanos)
    started_with: float | None = row.request.get("max_cost")
    return started_with


async def begin_again(connection: AsyncConnection, run_id: str, max_cost_nanos: int | None) -> None:
    """As it was before the engine took it, under its id."""
    await connection.execute(
        sa.update(database.runs)
        .where(database.runs.c.run_id == run_id)
        .values(stage=str(training.Stage.PENDING), ended_at=None, result={}, max_cost_nanos=max_cost_nanos)
    )


async def end_again(connection: AsyncConnection, run_id: str, ended_at: str, result: dict[str, Any]) -> None:
    """As it was before :func:`begin_again`, but for what it may cost."""
    await connection.execute(
        sa.update(database.runs)
        .where(database.runs.c.run_id == run_id)
        .values(stage=str(training.Stage.FAILED), ended_at=ended_at, result=result)
    )


async def page(
    connection: AsyncConnection,
    *,
    projects: Collection[str] | None,
    before: str,
    limit: int,
    only_open: bool = False,
) -> Sequence[sa.Row[Any]]:
    """Up to `limit` runs of `projects` (None: of all), newest first: run ids sort by creation.

    `only_open`: those whose end nobody has reported.
    """
    query = sa.select(database.runs).order_by(database.runs.c.run_id.desc()).limit(limit)
    if projects is not None:
        query = query.where(database.runs.c.project.in_(projects))
    if only_open:
        query = query.where(database.runs.c.stage.not_in([str(stage) for stage in TERMINAL]))
    if before:
        query = query.where(database.runs.c.run_id < before)
    return (await connection.execute(query)).all()


def view(row: sa.Row[Any], spent: float, status: training.RunStatus | None) -> control.RunView:
    """The run as it is now: a live status goes before the stored stage, unless that one is final."""
    return control.RunView(
        run_id=row.run_id,
        project=row.project,
        kind=control.RunKind(row.kind),
        environment=row.environment,
        stage=stage_of(row, status),
        requested_by=row.requested_by,
        cause=row.request.get("cause", ""),
        on_behalf_of=row.request.get("on_behalf_of", ""),
        purpose=row.request.get("purpose", ""),
        prompted_by=row.request.get("prompted_by", ""),
        pack=(row.request.get("pipeline") or {}).get("pack", ""),
        endpoint=row.request.get("endpoint", ""),
        bundle_digest=row.request.get("bundle_digest") or row.result.get("bundle_digest") or "",
        created_at=row.created_at,
        ended_at=row.ended_at,
        cost=spent,
        status=status,
        result=row.result,
        version=version(row, status),
    )


def stage_of(row: sa.Row[Any], status: training.RunStatus | None) -> training.Stage:
    stored = training.Stage(row.stage)
    return status.stage if status is not None and stored not in TERMINAL else stored


def version(row: sa.Row[Any], status: training.RunStatus | None) -> str:
    """Of what a decision is about: the stage, what it awaits, and what came of the run so far. Not of progress or cost."""
    stage = stage_of(row, status)
    awaits = status.message if status is not None and stage is training.Stage.APPROVAL else ""
    return versions.of(row.run_id, str(stage), awaits, row.result)
