"""Create and show projects."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import identity
from mainspring.core.contracts import base, control
from mainspring.platform import mutation
from mainspring.platform import plane as control_plane
from mainspring.platform.costs import reservations
from mainspring.platform.costs import store as cost_store
from mainspring.platform.projects import store


async def create(
    plane: control_plane.ControlPlane, credential: str, request: control.ProjectCreate
) -> control.ProjectView:
    """Errors: Conflict if the name is taken."""

    async def do(connection: AsyncConnection, actor: identity.Actor) -> mutation.Change[control.ProjectView]:
        await store.insert(connection, request, actor.name)
        view = store.view(await store.find(connection, request.name), 0)
        return mutation.Change(view, f"project/{request.name}", request.model_dump(mode="json"))

    return await mutation.mutate(
        plane,
        credential,
        action="project.create",
        resource=f"project/{request.name}",
        roles=("developer",),
        do=do,
    )


async def show(plane: control_plane.ControlPlane, credential: str, name: str) -> control.ProjectView:
    plane.issuer.authenticate(credential)
    async with plane.database.read() as connection:
        return await _view(connection, await store.find(connection, name), base.utc_now())


async def read(plane: control_plane.ControlPlane, credential: str, *, after: str, limit: int) -> control.Page:
    """A page of projects by name."""
    plane.issuer.authenticate(credential)
    async with plane.database.read() as connection:
        rows = await store.page(connection, after=after, limit=limit + 1)
        now = base.utc_now()
        items = [(await _view(connection, row, now)).model_dump(mode="json") for row in rows[:limit]]
    return control.Page(items=items, next=rows[limit - 1].name if len(rows) > limit else "")


async def _view(connection: AsyncConnection, row: sa.Row[Any], now: datetime) -> control.ProjectView:
    spent = await cost_store.spent_nanos(connection, row.name, now)
    return store.view(row, spent, await reservations.held_nanos(connection, row.name, now))
