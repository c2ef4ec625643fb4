"""The one way in which state is read: authenticate, take a snapshot, and ask the policies of which projects.

The counterpart of `mutation`: every GET goes through :func:`reading`, and a test walks the route table and proves it.
Whoever may not read a project is answered as if it were not there, in lists, by name, and in what is added up.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.platform import access
from mainspring.platform import plane as control_plane
from mainspring.platform.policies import engine
from mainspring.platform.projects import store as project_store


@dataclass(frozen=True)
class Reader:
    """Somebody who asks for something, on one snapshot of the database."""

    connection: AsyncConnection
    who: access.Who
    action: str
    _policies: engine.PolicyEngine

    def by(self, action: str) -> Reader:
        """The same, by another right: for what several nouns' rows are in."""
        return dataclasses.replace(self, action=action)

    def may(self, project: str) -> bool:
        return self._policies.decide(access.to_read(self.who, self.action, project)).allowed

    async def project(self, name: str) -> sa.Row[Any]:
        """A project's row. Errors: NotFound, also for one that must not be known of, with close names that may."""
        row = await project_store.look_up(self.connection, name) if self.may(name) else None
        if row is None:
            raise await project_store.unknown(self.connection, name, await self.projects())
        return row

    async def projects(self, only: str = "") -> frozenset[str] | None:
        """Whose part of a list is shown; None: everybody's. Errors: NotFound for `only`, as in :meth:`project`."""
        if only:
            await self.project(only)
            return frozenset({only})
        return await access.readable(self._policies, self.connection, self.who, self.action)

    def require_platform(self) -> None:
        """For what is of all projects together. Errors: Denied kinds."""
        engine.require(self._policies, access.to_read(self.who, self.action))


@asynccontextmanager
async def reading(
    plane: control_plane.ControlPlane, credential: str, *, action: str
) -> AsyncIterator[Reader]:
    """Errors: Unauthenticated."""
    actor = plane.issuer.authenticate(credential)
    async with plane.database.read() as connection:
        yield Reader(connection, await access.identify(connection, actor), action, plane.policies)
