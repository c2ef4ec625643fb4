"""Project rows."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import cost, errors
from mainspring.core.contracts import base, control
from mainspring.platform import database
from mainspring.platform.http import versions


async def insert(connection: AsyncConnection, request: control.ProjectCreate, created_by: str) -> None:
    """Errors: Conflict if the name is taken."""
    taken = sa.select(database.projects.c.name).where(database.projects.c.name == request.name)
    if (await connection.execute(taken)).one_or_none() is not None:
        raise errors.Conflict(
            f"project `{request.name}` exists; use it or choose another name",
            resource="project",
            name=request.name,
        )
    budget = request.monthly_budget
    await connection.execute(
        sa.insert(database.projects).values(
            name=request.name,
            owner=request.owner,
            description=request.description,
            monthly_budget_nanos=None if budget is None else cost.to_nanos(budget),
            created_at=base.utc_now().isoformat(),
            created_by=created_by,
            tags=request.tags,
        )
    )


async def find(connection: AsyncConnection, name: str) -> sa.Row[Any]:
    """Errors: NotFound, with close names."""
    row = await look_up(connection, name)
    if row is None:
        raise await unknown(connection, name)
    return row


async def look_up(connection: AsyncConnection, name: str) -> sa.Row[Any] | None:
    query = sa.select(database.projects).where(database.projects.c.name == name)
    return (await connection.execute(query)).one_or_none()


async def unknown(
    connection: AsyncConnection, name: str, visible: Collection[str] | None = None
) -> errors.NotFound:
    """What is said of a project that is not there, or that somebody may not know of; `visible`: names to suggest, None: all."""
    known = visible
    if known is None:
        known = (await connection.execute(sa.select(database.projects.c.name))).scalars().all()
    close = tuple(difflib.get_close_matches(name, sorted(known), n=3))
    hint = f"did you mean `{close[0]}`?" if close else f"create it with `mainspring project create {name}`"
    return errors.NotFound(f"no project `{name}`; {hint}", resource="project", name=name, did_you_mean=close)


async def update(connection: AsyncConnection, name: str, changed: Mapping[str, Any]) -> None:
    """Set columns of a project; nothing for none."""
    if changed:
        table = database.projects
        await connection.execute(sa.update(table).where(table.c.name == name).values(**changed))


def columns(patch: control.ProjectPatch) -> dict[str, Any]:
    """What a patch sets, by column. A limit that is written as null is one taken away."""
    values = patch.model_dump(exclude_unset=True)
    if "monthly_budget" in values:
        budget = values.pop("monthly_budget")
        values["monthly_budget_nanos"] = None if budget is None else cost.to_nanos(budget)
    return values


async def page(
    connection: AsyncConnection, *, after: str, limit: int, visible: Collection[str] | None = None
) -> Sequence[sa.Row[Any]]:
    """Projects by name; of those in `visible`, None: of all."""
    query = (
        sa.select(database.projects)
        .where(database.projects.c.name > after)
        .order_by(database.projects.c.name)
        .limit(limit)
    )
    if visible is not None:
        query = query.where(database.projects.c.name.in_(visible))
    return (await connection.execute(query)).all()


def view(row: sa.Row[Any], spent_nanos: int, held_nanos: int = 0) -> control.ProjectView:
    budget = row.monthly_budget_nanos
    return control.ProjectView(
        name=row.name,
        owner=row.owner,
        description=row.description,
        monthly_budget=None if budget is None else cost.to_amount(budget),
        spent_this_month=cost.to_amount(spent_nanos),
        reserved=cost.to_amount(held_nanos),
        created_at=row.created_at,
        created_by=row.created_by,
        tags=tags_of(row),
        version=version(row),
    )


def tags_of(row: sa.Row[Any]) -> dict[str, str]:
    """None are of a project that a release made which knew no tags."""
    return row.tags or {}


def version(row: sa.Row[Any]) -> str:
    tags = tags_of(row)
    # Without tags it is what it was before there were any.
    told = (tags,) if tags else ()
    return versions.of(row.name, row.owner, row.description, row.monthly_budget_nanos, row.created_at, *told)
