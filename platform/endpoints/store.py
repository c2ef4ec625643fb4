"""Endpoint rows: a name belongs to the project that first asked for it, whatever is served there later."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import errors
from mainspring.core.contracts import base, control
from mainspring.platform import database
from mainspring.platform.runs import store as run_store

_table = database.endpoints


async def find(connection: AsyncConnection, name: str) -> sa.Row[Any] | None:
    return (await connection.execute(sa.select(_table).where(_table.c.name == name))).one_or_none()


async def check_not_foreign(connection: AsyncConnection, name: str, project: str) -> bool:
    """Is there a row already. Errors: Conflict if the endpoint is another project's."""
    known = await find(connection, name)
    if known is not None and known.project != project:
        # Names are of the whole platform, so that one is taken cannot be hidden; by whom can.
        raise errors.Conflict(
            f"endpoint `{name}` is not of project `{project}`; choose another name",
            resource="endpoint",
            name=name,
        )
    return known is not None


async def claim(connection: AsyncConnection, name: str, project: str, environment: str, by: str) -> None:
    """From now on the endpoint is the project's. Errors: Conflict if it is another's."""
    if await check_not_foreign(connection, name, project):
        return
    await connection.execute(
        sa.insert(_table).values(
            name=name,
            project=project,
            environment=environment,
            claimed_at=base.utc_now().isoformat(),
            claimed_by=by,
        )
    )


async def require_free(connection: AsyncConnection, name: str, project: str) -> None:
    """The endpoint is the project's, and no run that has not ended may deploy there. Errors: NotFound, Conflict."""
    if not await check_not_foreign(connection, name, project):
        raise unknown(name)
    runs = database.runs
    query = sa.select(runs.c.run_id, runs.c.request).where(
        runs.c.project == project, runs.c.stage.not_in([str(stage) for stage in run_store.TERMINAL])
    )
    for row in await connection.execute(query):
        if row.request.get("endpoint") == name:
            raise errors.Conflict(
                f"run `{row.run_id}` has not ended, and may bring a bundle to endpoint `{name}`; wait for it, or cancel it first",
                resource="endpoint",
                name=name,
            )


async def delete(connection: AsyncConnection, name: str) -> None:
    """Nobody has the name any more."""
    await connection.execute(sa.delete(_table).where(_table.c.name == name))


def unknown(name: str) -> errors.NotFound:
    """What is said of one that is not there, or that must not be known of."""
    return errors.NotFound(f"no endpoint `{name}`; a deployment makes one", resource="endpoint", name=name)


async def page(
    connection: AsyncConnection, *, projects: Collection[str] | None, after: str, limit: int
) -> Sequence[sa.Row[Any]]:
    """Up to `limit` endpoints of `projects` (None: of all), by name."""
    query = sa.select(_table).where(_table.c.name > after).order_by(_table.c.name).limit(limit)
    if projects is not None:
        query = query.where(_table.c.project.in_(projects))
    return (await connection.execute(query)).all()


def view(row: sa.Row[Any]) -> control.EndpointClaim:
    return control.EndpointClaim.model_validate(row._mapping)
