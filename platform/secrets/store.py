"""Rows of references to secrets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import errors
from mainspring.core.contracts import base, secrets
from mainspring.platform import database
from mainspring.platform.http import versions

_table = database.secret_refs


async def find(connection: AsyncConnection, project: str, name: str) -> sa.Row[Any] | None:
    query = sa.select(_table).where(_table.c.project == project, _table.c.name == name)
    return (await connection.execute(query)).one_or_none()


def unknown(project: str, name: str) -> errors.NotFound:
    return errors.NotFound(
        f"project `{project}` has no secret `{name[:80]}`; `mainspring secret list {project}` has them",
        resource="secret",
        name=name[:80],
    )


async def put(
    connection: AsyncConnection, project: str, name: str, wanted: secrets.SecretPut, by: str
) -> None:
    values = {**wanted.model_dump(mode="json"), "set_at": base.utc_now().isoformat(), "set_by": by}
    statement = database.insert(connection, _table).values(project=project, name=name, **values)
    await connection.execute(statement.on_conflict_do_update(index_elements=["project", "name"], set_=values))


async def remove(connection: AsyncConnection, project: str, name: str) -> None:
    await connection.execute(sa.delete(_table).where(_table.c.project == project, _table.c.name == name))


async def page(connection: AsyncConnection, project: str, *, after: str, limit: int) -> Sequence[sa.Row[Any]]:
    """By name."""
    query = sa.select(_table).where(_table.c.project == project, _table.c.name > after)
    return (await connection.execute(query.order_by(_table.c.name).limit(limit))).all()


def version(row: sa.Row[Any]) -> str:
    return versions.of(row.project, row.name, row.place, row.description, row.set_at)


def view(row: sa.Row[Any]) -> secrets.SecretView:
    return secrets.SecretView.model_validate({**row._mapping, "version": version(row)})
