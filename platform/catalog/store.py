"""Catalog rows: one entry each, and the text that a search looks into."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core.contracts import base, catalog
from mainspring.platform import database

_table = database.catalog


@dataclass(frozen=True)
class Wanted:
    """What a list is narrowed to; empty: everything. `words` are all found somewhere in an entry."""

    project: str = ""
    kind: str = ""
    classification: str = ""
    owner: str = ""
    pii: bool | None = None
    words: tuple[str, ...] = ()


async def entries(connection: AsyncConnection, project: str) -> dict[tuple[str, str], dict[str, Any]]:
    """A project's entries as they were put, by kind and name."""
    query = sa.select(_table.c.kind, _table.c.name, _table.c.entry).where(_table.c.project == project)
    return {(row.kind, row.name): row.entry for row in (await connection.execute(query)).all()}


async def put(connection: AsyncConnection, project: str, new: Sequence[catalog.CatalogEntry]) -> None:
    """Put entries in the place of those of their kind and name."""
    now = base.utc_now().isoformat()
    for entry in new:
        await remove(connection, project, [(entry.kind, entry.name)])
    if new:
        await connection.execute(
            sa.insert(_table),
            [
                {
                    "project": project,
                    "kind": entry.kind,
                    "name": entry.name,
                    "owner": entry.owner,
                    "classification": entry.classification,
                    "has_pii": entry.has_pii,
                    "searched": _searched(project, entry),
                    "updated_at": now,
                    "entry": entry.model_dump(mode="json"),
                }
                for entry in new
            ],
        )


async def remove(connection: AsyncConnection, project: str, gone: Sequence[tuple[str, str]]) -> None:
    for kind, name in gone:
        await connection.execute(
            sa.delete(_table).where(_table.c.project == project, _table.c.kind == kind, _table.c.name == name)
        )


async def find(connection: AsyncConnection, project: str, name: str) -> sa.Row[Any] | None:
    """Names are unique within a project: each kind's begin in its own way."""
    query = sa.select(_table).where(_table.c.project == project, _table.c.name == name)
    return (await connection.execute(query)).one_or_none()


async def page(
    connection: AsyncConnection,
    wanted: Wanted,
    *,
    after: tuple[str, str],
    limit: int,
    visible: Collection[str] | None,
) -> Sequence[sa.Row[Any]]:
    """Entries by project and name, those after `after`; of the projects in `visible`, None: of all."""
    key = sa.tuple_(_table.c.project, _table.c.name)
    query = sa.select(_table).where(key > sa.tuple_(*map(sa.literal, after)))
    if visible is not None:
        query = query.where(_table.c.project.in_(visible))
    for column in ("project", "kind", "classification", "owner"):
        if value := getattr(wanted, column):
            query = query.where(_table.c[column] == value)
    if wanted.pii is not None:
        query = query.where(_table.c.has_pii == wanted.pii)
    for word in wanted.words:
        query = query.where(_table.c.searched.contains(word.casefold(), autoescape=True))
    return (await connection.execute(query.order_by(_table.c.project, _table.c.name).limit(limit))).all()


async def names(connection: AsyncConnection, project: str) -> list[str]:
    query = sa.select(_table.c.name).where(_table.c.project == project).order_by(_table.c.name)
    return list((await connection.execute(query)).scalars())


def _searched(project: str, entry: catalog.CatalogEntry) -> str:
    parts = [project, entry.kind, entry.name, entry.owner, entry.description]
    parts += [f"{key}={value}" for key, value in sorted(entry.tags.items())]
    parts += [f"{c.name} {c.description}" for c in entry.columns]
    return "\n".join(parts).casefold()
