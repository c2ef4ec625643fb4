"""Make, change, show and remove members."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import errors, identity
from mainspring.core.contracts import control, members
from mainspring.platform import access, mutation, reads
from mainspring.platform import plane as control_plane
from mainspring.platform.http import versions
from mainspring.platform.members import store
from mainspring.platform.projects import store as project_store
from mainspring.platform.service_accounts import store as account_store

_MAX_NAME = 200


async def put(
    plane: control_plane.ControlPlane,
    credential: str,
    project: str,
    actor: str,
    wanted: members.MemberPut,
    *,
    if_match: str,
) -> members.MemberView:
    """Give an actor exactly these roles; the same again changes nothing. Role: admin, in all environments.

    Errors: NotFound for the project; InvalidRequest for a name that no actor has, or a service account of elsewhere; PreconditionRequired if a member is
    changed without `if_match`; PreconditionFailed if it is not the one of that.
    """
    _check_name(actor)

    async def do(connection: AsyncConnection, by: identity.Actor) -> mutation.Change[members.MemberView]:
        await project_store.find(connection, project)
        await account_store.require_own(connection, project, actor)
        before = await store.find(connection, project, actor)
        roles: dict[str, list[str]] = {place: sorted(given) for place, given in wanted.roles.items()}
        if before is not None and before.roles == roles:
            return mutation.Change(store.view(before), _resource(project, actor), is_new=False)
        if before is not None:
            versions.require(if_match, store.version(before), resource="member", name=actor)
        elif if_match.strip():
            await store.require(connection, project, actor)
        await store.put(connection, project, actor, roles, by.name)
        view = store.view(await store.require(connection, project, actor))
        detail = {"from": {} if before is None else before.roles, "to": roles}
        return mutation.Change(view, _resource(project, actor), detail)

    return await mutation.mutate(
        plane,
        credential,
        action="member.set",
        resource=_resource(project, actor),
        on=access.project(project, member=actor),
        do=do,
    )


async def remove(
    plane: control_plane.ControlPlane, credential: str, project: str, actor: str, *, if_match: str
) -> None:
    """Take an actor's roles away. Role: admin, in all environments. Errors: as :func:`put`; NotFound for the member."""
    _check_name(actor)

    async def do(connection: AsyncConnection, _by: identity.Actor) -> mutation.Change[None]:
        before = await store.require(connection, project, actor)
        versions.require(if_match, store.version(before), resource="member", name=actor)
        await store.remove(connection, project, actor)
        detail: dict[str, Any] = {"from": before.roles, "to": {}}
        return mutation.Change(None, _resource(project, actor), detail)

    await mutation.mutate(
        plane,
        credential,
        action="member.remove",
        resource=_resource(project, actor),
        on=access.project(project, member=actor),
        do=do,
    )


async def show(
    plane: control_plane.ControlPlane, credential: str, project: str, actor: str
) -> members.MemberView:
    """Errors: NotFound."""
    async with reads.reading(plane, credential, action="member.read") as reader:
        await reader.project(project)
        return store.view(await store.require(reader.connection, project, actor))


async def read(
    plane: control_plane.ControlPlane, credential: str, project: str, *, after: str, limit: int
) -> control.Page:
    """A page of a project's members by name. Errors: NotFound for the project."""
    async with reads.reading(plane, credential, action="member.read") as reader:
        await reader.project(project)
        rows = await store.page(reader.connection, project, after=after, limit=limit + 1)
    items = [store.view(row).model_dump(mode="json") for row in rows[:limit]]
    return control.Page(items=items, next=rows[limit - 1].actor if len(rows) > limit else "")


def _resource(project: str, actor: str) -> str:
    return f"member/{project}/{actor}"


def _check_name(actor: str) -> None:
    if not actor.strip() or not actor.isprintable() or len(actor) > _MAX_NAME:
        raise errors.InvalidRequest(
            f"an actor's name has 1 to {_MAX_NAME} printable characters; write it as the token has it",
            field="actor",
        )
