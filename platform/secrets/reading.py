"""What a reference of a project leads to, for what the control API does in the project's name."""

from __future__ import annotations

import asyncio

from mainspring.core import secrets
from mainspring.platform import plane as control_plane
from mainspring.platform.secrets import store

__all__ = ["of_project"]


async def of_project(plane: control_plane.ControlPlane, project: str, name: str) -> secrets.Secret:
    """As it is at this moment, or was a little while ago (`secrets.cache_seconds`).

    Errors: NotFound for the reference, or where it leads to nothing; PermissionDenied where it leads beyond the project's own
    places; DependencyDown, Misconfigured.
    """
    async with plane.database.read() as connection:
        row = await store.find(connection, project, name)
    if row is None:
        raise store.unknown(project, name)
    return await asyncio.to_thread(plane.secrets.read_for, project, row.place)
