"""Create and show projects."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import errors, identity
from mainspring.core.contracts import base, control
from mainspring.core.cost import tagging
from mainspring.platform import access, mutation, reads
from mainspring.platform import plane as control_plane
from mainspring.platform.costs import reservations
from mainspring.platform.costs import store as cost_store
from mainspring.platform.http import versions
from mainspring.platform.projects import store


async def create(
    plane: control_plane.ControlPlane, credential: str, request: control.ProjectCreate
) -> control.ProjectView:
    """Errors: Conflict if the name is taken; InvalidRequest without the tags that settings ask for."""

    async def do(connection: AsyncConnection, actor: identity.Actor) -> mutation.Change[control.ProjectView]:
        tagging.require(request.name, request.tags, plane.book)
        await store.insert(connection, request, actor.name)
        view = store.view(await store.find(connection, request.name), 0)
        return mutation.Change(view, f"project/{request.name}", request.model_dump(mode="json"))

    return await mutation.mutate(
        plane,
        credential,
        action="project.create",
        resource=f"project/{request.name}",
        on=access.platform(name=request.name),
        do=do,
    )


async def update(
    plane: control_plane.ControlPlane,
    credential: str,
    name: str,
    patch: control.ProjectPatch,
    *,
    if_match: str,
) -> control.ProjectView:
    """Change what people set of a project, its budget too; the same again changes nothing. Role: admin.

    Errors: NotFound; PreconditionRequired without `if_match`, PreconditionFailed if it is not the one of that;
    InvalidRequest for an empty patch, a field that cannot be taken away, or a project that would be without tags that
    settings ask for; one that lacks them is changed in nothing else first, unless settings are to tell of it only.
    """
    wanted = store.columns(patch)
    empty = next((field for field in ("owner", "description", "tags") if wanted.get(field, "") is None), "")
    if not wanted or empty:
        problem = f"`{empty}` cannot be taken away" if empty else "the patch changes nothing"
        raise errors.InvalidRequest(f"{problem}; send the fields to set", field=empty)

    async def do(connection: AsyncConnection, _actor: identity.Actor) -> mutation.Change[control.ProjectView]:
        before = await store.find(connection, name)
        versions.require(if_match, store.version(before), resource="project", name=name)
        was = {**before._mapping, "tags": store.tags_of(before)}
        changed = {k: v for k, v in wanted.items() if was[k] != v}
        if changed and ("tags" in changed or plane.book.enforce_tags == "refuse"):
            tagging.require(name, wanted.get("tags", was["tags"]), plane.book)
        await store.update(connection, name, changed)
        view = await _view(connection, await store.find(connection, name), base.utc_now())
        detail = {k: {"from": was[k], "to": v} for k, v in changed.items()}
        return mutation.Change(view, f"project/{name}", detail, is_new=bool(changed))

    return await mutation.mutate(
        plane,
        credential,
        action="project.update",
        resource=f"project/{name}",
        on=access.project(name),
        do=do,
    )


async def show(plane: control_plane.ControlPlane, credential: str, name: str) -> control.ProjectView:
    """Errors: NotFound."""
    async with reads.reading(plane, credential, action="project.read") as reader:
        return await _view(reader.connection, await reader.project(name), base.utc_now())


async def read(plane: control_plane.ControlPlane, credential: str, *, after: str, limit: int) -> control.Page:
    """A page of the projects that the actor may know of, by name."""
    async with reads.reading(plane, credential, action="project.read") as reader:
        visible = await reader.projects()
        rows = await store.page(reader.connection, after=after, limit=limit + 1, visible=visible)
        now = base.utc_now()
        items = [(await _view(reader.connection, row, now)).model_dump(mode="json") for row in rows[:limit]]
    return control.Page(items=items, next=rows[limit - 1].name if len(rows) > limit else "")


async def _view(connection: AsyncConnection, row: sa.Row[Any], now: datetime) -> control.ProjectView:
    spent = await cost_store.spent_nanos(connection, row.name, now)
    return store.view(row, spent, await reservations.held_nanos(connection, row.name, now))
