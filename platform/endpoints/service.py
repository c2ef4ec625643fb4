"""Show which endpoints there are, and whose they are. What is served there now is serving's to say."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from mainspring.core.contracts import control
from mainspring.platform import plane as control_plane
from mainspring.platform import reads
from mainspring.platform.endpoints import store


async def show(plane: control_plane.ControlPlane, credential: str, name: str) -> control.EndpointClaim:
    """Errors: NotFound, also for one that must not be known of."""
    async with reads.reading(plane, credential, action="endpoint.read") as reader:
        return store.view(await _find(reader, name))


async def project_of(reader: reads.Reader, name: str) -> str:
    """Whose the endpoint is. Errors: NotFound, also for one that must not be known of."""
    return str((await _find(reader, name)).project)


async def _find(reader: reads.Reader, name: str) -> sa.Row[Any]:
    row = await store.find(reader.connection, name)
    if row is None or not reader.may(row.project):
        raise store.unknown(name)
    return row


async def read(
    plane: control_plane.ControlPlane, credential: str, *, project: str, after: str, limit: int
) -> control.Page:
    """A page of endpoints by name. Errors: NotFound for `project`."""
    async with reads.reading(plane, credential, action="endpoint.read") as reader:
        projects = await reader.projects(project)
        rows = await store.page(reader.connection, projects=projects, after=after, limit=limit + 1)
    items = [store.view(row).model_dump(mode="json") for row in rows[:limit]]
    return control.Page(items=items, next=rows[limit - 1].name if len(rows) > limit else "")
