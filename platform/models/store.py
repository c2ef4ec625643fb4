"""Versions of models are what ended trainings reported: there is no table of their own."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core.contracts import control
from mainspring.platform import database

_runs = database.runs
_digest = _runs.c.result["bundle_digest"].as_string()


def _versions() -> sa.Select[Any]:
    kinds = [str(control.RunKind.TRAIN)]
    return (
        sa.select(_runs).where(_runs.c.kind.in_(kinds), _digest.is_not(None)).order_by(_runs.c.run_id.desc())
    )


async def page(
    connection: AsyncConnection, *, projects: Collection[str] | None, before: str, limit: int
) -> Sequence[sa.Row[Any]]:
    """Up to `limit` trainings that made a bundle, of `projects` (None: of all), newest first."""
    query = _versions().limit(limit)
    if projects is not None:
        query = query.where(_runs.c.project.in_(projects))
    if before:
        query = query.where(_runs.c.run_id < before)
    found: Sequence[sa.Row[Any]] = (await connection.execute(query)).all()
    return found


async def find(connection: AsyncConnection, project: str, digest: str) -> sa.Row[Any] | None:
    """The newest training of the project that made this bundle."""
    query = _versions().where(_runs.c.project == project, _digest == digest).limit(1)
    found: sa.Row[Any] | None = (await connection.execute(query)).one_or_none()
    return found


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
        }
    )
