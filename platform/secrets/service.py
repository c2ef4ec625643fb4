"""Say where a secret of a project lies, list that, and take it back. What it is stays where it is."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import identity, ids
from mainspring.core.contracts import control, secrets
from mainspring.platform import access, mutation, reads
from mainspring.platform import plane as control_plane
from mainspring.platform.audit import store as audit_store
from mainspring.platform.http import versions
from mainspring.platform.projects import store as project_store
from mainspring.platform.runs import store as run_store
from mainspring.platform.secrets import store


async def put(
    plane: control_plane.ControlPlane,
    credential: str,
    project: str,
    name: str,
    wanted: secrets.SecretPut,
    *,
    if_match: str = "",
) -> secrets.SecretView:
    """Role: admin. One that is there is changed by its version; the same again changes nothing.

    Errors: NotFound for the project; InvalidRequest for a name that is none; PreconditionFailed, PreconditionRequired.
    """
    ids.check_slug(name, "secret")

    async def do(connection: AsyncConnection, by: identity.Actor) -> mutation.Change[secrets.SecretView]:
        await project_store.find(connection, project)
        before = await store.find(connection, project, name)
        is_new = before is None or (before.place, before.description) != (wanted.place, wanted.description)
        if before is not None and is_new:
            versions.require(if_match, store.version(before), resource="secret", name=name)
        elif before is None and if_match.strip():
            raise store.unknown(project, name)
        if is_new:
            await store.put(connection, project, name, wanted, by.name)
        row = await store.find(connection, project, name)
        assert row is not None  # it was there or is now
        detail = {"place": wanted.place, "was": None if before is None else before.place}
        return mutation.Change(store.view(row), _resource(project, name), detail, is_new=is_new)

    return await mutation.mutate(
        plane,
        credential,
        action="secret.set",
        resource=_resource(project, name),
        on=access.project(project),
        do=do,
    )


async def remove(
    plane: control_plane.ControlPlane, credential: str, project: str, name: str, *, if_match: str = ""
) -> None:
    """Role: admin. Errors: NotFound; PreconditionFailed, PreconditionRequired."""

    async def do(connection: AsyncConnection, _: identity.Actor) -> mutation.Change[None]:
        await project_store.find(connection, project)
        row = await store.find(connection, project, name)
        if row is None:
            raise store.unknown(project, name)
        versions.require(if_match, store.version(row), resource="secret", name=name)
        await store.remove(connection, project, name)
        return mutation.Change(None, _resource(project, name), {"was": row.place})

    await mutation.mutate(
        plane,
        credential,
        action="secret.remove",
        resource=_resource(project, name),
        on=access.project(project),
        do=do,
    )


async def use(
    plane: control_plane.ControlPlane, credential: str, project: str, name: str, asked: secrets.SecretUse
) -> secrets.SecretUsed:
    """Role: service. The same step again changes nothing.

    Errors: NotFound for the project, the reference, or the run, which must be the project's; PermissionDenied, PolicyDenied.
    """
    event_key = f"{asked.run_id}/secret/{name}/{asked.step}"

    async def run_of(connection: AsyncConnection) -> sa.Row[Any]:
        await project_store.find(connection, project)
        row = await run_store.find(connection, asked.run_id)
        if row.project != project:
            raise run_store.unknown(asked.run_id)
        return row

    async def on(connection: AsyncConnection) -> access.Target:
        run = await run_of(connection)
        return access.project(
            project, run.environment, environment=run.environment, name=name, requested_by=run.requested_by
        )

    async def do(connection: AsyncConnection, _: identity.Actor) -> mutation.Change[secrets.SecretUsed]:
        run = await run_of(connection)
        row = await store.find(connection, project, name)
        if row is None:
            raise store.unknown(project, name)
        detail = {
            "run_id": asked.run_id,
            "step": asked.step,
            "environment": run.environment,
            "requested_by": run.requested_by,
            "place": row.place,
        }
        known = await audit_store.is_recorded(connection, event_key)
        used = secrets.SecretUsed(project=project, name=name, place=row.place)
        resource = _resource(project, name)
        return mutation.Change(used, resource, detail, is_new=known is None, event_key=event_key)

    return await mutation.mutate(
        plane, credential, action="secret.use", resource=_resource(project, name), on=on, do=do
    )


async def read(
    plane: control_plane.ControlPlane, credential: str, project: str, *, after: str, limit: int
) -> control.Page:
    """References by name. Errors: NotFound for the project."""
    async with reads.reading(plane, credential, action="secret.read") as reader:
        await reader.project(project)
        rows = await store.page(reader.connection, project, after=after, limit=limit + 1)
    items = [store.view(row).model_dump(mode="json") for row in rows[:limit]]
    return control.Page(items=items, next=rows[limit - 1].name if len(rows) > limit else "")


async def show(
    plane: control_plane.ControlPlane, credential: str, project: str, name: str
) -> secrets.SecretView:
    """Errors: NotFound."""
    async with reads.reading(plane, credential, action="secret.read") as reader:
        await reader.project(project)
        row = await store.find(reader.connection, project, name)
    if row is None:
        raise store.unknown(project, name)
    return store.view(row)


def _resource(project: str, name: str) -> str:
    return f"secret/{project}/{name[:80]}"
