"""Versions of models are what trainings that ended reported, and imports, which are runs that ended as they began: there is no table of their own."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import ids
from mainspring.core.contracts import control, training
from mainspring.platform import database
from mainspring.platform.runs import store as run_store

_runs = database.runs
_digest = _runs.c.result["bundle_digest"].as_string()


def _versions() -> sa.Select[Any]:
    kinds = [str(control.RunKind.TRAIN), str(control.RunKind.IMPORT)]
    return (
        sa.select(_runs).where(_runs.c.kind.in_(kinds), _digest.is_not(None)).order_by(_runs.c.run_id.desc())
    )


async def page(
    connection: AsyncConnection, *, projects: Collection[str] | None, before: str, limit: int
) -> Sequence[sa.Row[Any]]:
    """Up to `limit` trainings and imports that made a bundle, of `projects` (None: of all), newest first."""
    query = _versions().limit(limit)
    if projects is not None:
        query = query.where(_runs.c.project.in_(projects))
    if before:
        query = query.where(_runs.c.run_id < before)
    found: Sequence[sa.Row[Any]] = (await connection.execute(query)).all()
    return found


async def find(connection: AsyncConnection, project: str, digest: str) -> sa.Row[Any] | None:
    """The newest training or import of the project that made this bundle."""
    query = _versions().where(_runs.c.project == project, _digest == digest).limit(1)
    found: sa.Row[Any] | None = (await connection.execute(query)).one_or_none()
    return found


async def find_import(connection: AsyncConnection, project: str, digest: str) -> sa.Row[Any] | None:
    query = _versions().where(
        _runs.c.kind == str(control.RunKind.IMPORT), _runs.c.project == project, _digest == digest
    )
    found: sa.Row[Any] | None = (await connection.execute(query.limit(1))).one_or_none()
    return found


async def put_import(
    connection: AsyncConnection, project: str, told: dict[str, Any], *, by: str
) -> sa.Row[Any]:
    """The import of `told["bundle_digest"]`: one, however often it is told of; the last that is told stands."""
    known = await find_import(connection, project, told["bundle_digest"])
    run_id = ids.new_id("run") if known is None else known.run_id
    if known is None:
        digest = told["bundle_digest"]
        request = control.RunCreate(project=project, kind=control.RunKind.IMPORT, bundle_digest=digest)
        await run_store.insert(connection, run_id, request, by)
    await run_store.set_stage(connection, run_id, training.Stage.DONE, told)
    return await run_store.find(connection, run_id)


def view(row: sa.Row[Any]) -> control.ModelVersionView:
    result = row.result
    return control.ModelVersionView.model_validate(
        {
            "project": row.project,
            "name": result.get("model_name") or row.project,
            "version": str(result.get("model_version") or ""),
            "bundle_digest": result["bundle_digest"],
            "run_id": row.run_id,
            "environment": row.environment,
            "stage": row.stage,
            "trained_at": row.ended_at or row.created_at,
            "trained_by": row.requested_by,
            "metrics": result.get("metrics") or {},
            "imported": result.get("imported"),
        }
    )
