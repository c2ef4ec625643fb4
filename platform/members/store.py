"""Member rows: an actor's roles in a project, by environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import errors
from mainspring.core.contracts import base, members
from mainspring.platform import database
from mainspring.platform.http import versions

_table = database.members


async def find(connection: AsyncConnection, project: str, actor: str) -> sa.Row[Any] | None:
    query = sa.select(_table).where(_table.c.project == project, _table.c.actor == actor)
    return (await connection.execute(query)).one_or_none()


async def require(connection: AsyncConnection, project: str, actor: str) -> sa.Row[Any]:
    """Errors: NotFound."""
    row = await find(connection, project, actor)
    if row is None:
        raise errors.NotFound(
            f"`{actor}` is no member of project `{project}`; see `mainspring member list {project}`",
            resource="member",
            name=actor,
        )
    return row


async def put(
    connection: AsyncConnection, project: str, actor: str, roles: Mapping[str, Sequence[str]], set_by: str
) -> None:
    """In the place of what the actor had."""
    await remove(connection, project, actor)
    await connection.execute(
        sa.insert(_table).values(
            project=project,
            actor=actor,
            roles={place: list(roles[place]) for place in sorted(roles)},
            set_at=base.utc_now().isoformat(),
            set_by=set_by,
        )
    )


async def remove(connection: AsyncConnection, project: str, actor: str) -> None:
    await connection.execute(sa.delete(_table).where(_table.c.project == project, _table.c.actor == actor))


async def page(connection: AsyncConnection, project: str, *, after: str, limit: int) -> Sequence[sa.Row[Any]]:
    query = (
        sa.select(_table)
        .where(_table.c.project == project, _table.c.actor > after)
        .order_by(_table.c.actor)
        .limit(limit)
    )
    return (await connection.execute(query)).all()


def view(row: sa.Row[Any]) -> members.MemberView:
    return members.MemberView.model_validate({**row._mapping, "version": version(row)})


def version(row: sa.Row[Any]) -> str:
    return versions.of(row.project, row.actor, row.roles)
