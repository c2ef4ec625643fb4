"""Show and set a project's quotas. What is under way stays when a limit is lowered; what would begin is refused."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import identity
from mainspring.core.contracts import base, control, quotas
from mainspring.platform import access, mutation, reads
from mainspring.platform import plane as control_plane
from mainspring.platform.http import versions
from mainspring.platform.projects import store as project_store
from mainspring.platform.quotas import limits, store


async def put(
    plane: control_plane.ControlPlane,
    credential: str,
    project: str,
    wanted: quotas.QuotaPut,
    *,
    if_match: str = "",
) -> quotas.QuotaView:
    """Role: admin of the platform. What was set is changed by its version; the same again changes nothing.

    Errors: NotFound for the project; PreconditionFailed, PreconditionRequired.
    """

    async def do(connection: AsyncConnection, by: identity.Actor) -> mutation.Change[quotas.QuotaView]:
        await project_store.find(connection, project)
        before = await store.find(connection, project)
        was = store.own(before)
        if is_new := before is None or was != wanted:
            ask = versions.check if before is None else versions.require
            ask(if_match, store.version(project, before), resource="quota", name=project)
            await store.put(connection, project, wanted, by.name)
        view = await _view(plane, connection, project, await store.find(connection, project), base.utc_now())
        detail = {**wanted.model_dump(), "was": was.model_dump()}
        return mutation.Change(view, _resource(project), detail, is_new=is_new)

    return await mutation.mutate(
        plane,
        credential,
        action="quota.set",
        resource=_resource(project),
        on=access.project(project),
        do=do,
    )


async def show(plane: control_plane.ControlPlane, credential: str, project: str) -> quotas.QuotaView:
    """Limits in force and what is taken of them. Errors: NotFound for the project."""
    async with reads.reading(plane, credential, action="quota.read") as reader:
        await reader.project(project)
        row = await store.find(reader.connection, project)
        return await _view(plane, reader.connection, project, row, base.utc_now())


async def _view(
    plane: control_plane.ControlPlane,
    connection: AsyncConnection,
    project: str,
    row: sa.Row[Any] | None,
    now: datetime,
) -> quotas.QuotaView:
    used = {
        quotas.Quota.OPEN_RUNS: await store.open_runs(connection, project, now),
        quotas.Quota.WORKERS: limits.workers(plane, control.RunCreate(project=project)),
        quotas.Quota.ENDPOINTS: await store.endpoints(connection, project),
        quotas.Quota.STORAGE: await limits.stored_mib(connection, project),
    }
    own, found = store.own(row), await limits.in_force(plane, connection, project)
    return quotas.QuotaView(
        project=project,
        quotas={
            q: quotas.QuotaLine(limit=found[q], is_own=getattr(own, q) is not None, used=used[q])
            for q in used
        },
        version=store.version(project, row),
        set_at=None if row is None else row.set_at,
        set_by="" if row is None else row.set_by,
    )


def _resource(project: str) -> str:
    return f"quota/{project}"
