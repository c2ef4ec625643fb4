"""Make, change and delete service accounts, and read them."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import errors, identity
from mainspring.core.contracts import base, control, service_accounts
from mainspring.platform import access, mutation, reads
from mainspring.platform import plane as control_plane
from mainspring.platform.http import versions
from mainspring.platform.members import store as member_store
from mainspring.platform.projects import store as project_store
from mainspring.platform.service_accounts import store


async def create(
    plane: control_plane.ControlPlane,
    credential: str,
    project: str,
    wanted: service_accounts.ServiceAccountCreate,
) -> service_accounts.ServiceAccountIssued:
    """Role: admin, in all environments. Errors: NotFound for the project; Conflict for a name that is taken; InvalidRequest for
    an owner who is no member.
    """
    actor, resource = store.actor_of(project, wanted.name), _resource(project, wanted.name)

    async def do(
        connection: AsyncConnection, by: identity.Actor
    ) -> mutation.Change[service_accounts.ServiceAccountIssued]:
        await project_store.find(connection, project)
        if await store.find(connection, actor) is not None:
            raise errors.Conflict(
                f"project `{project}` has a service account `{wanted.name}`; choose another name, or rotate its secret",
                resource="service-account",
                name=wanted.name,
            )
        await _require_owner(connection, project, wanted.owner)
        made, kept = store.fresh(store.SECRET_PREFIX)
        await store.add(connection, project, wanted, kept, by.name)
        roles: dict[str, list[str]] = {place: sorted(given) for place, given in wanted.roles.items()}
        await member_store.put(connection, project, actor, roles, by.name)
        view = store.view(await store.require(connection, project, wanted.name))
        issued = service_accounts.ServiceAccountIssued(account=view, client_id=actor, client_secret=made)
        return mutation.Change(issued, resource, {"owner": wanted.owner, "roles": roles})

    return await mutation.mutate(
        plane,
        credential,
        action="service-account.create",
        resource=resource,
        on=access.project(project),
        do=do,
    )


async def change(
    plane: control_plane.ControlPlane,
    credential: str,
    project: str,
    name: str,
    wanted: service_accounts.ServiceAccountPatch,
    *,
    if_match: str,
) -> service_accounts.ServiceAccountView:
    """Role: admin, in all environments. Who disables it ends its tokens.

    Errors: NotFound; InvalidRequest for an owner who is no member; PreconditionFailed, PreconditionRequired.
    """

    async def do(
        connection: AsyncConnection, _: identity.Actor
    ) -> mutation.Change[service_accounts.ServiceAccountView]:
        row = await store.require(connection, project, name)
        before = store.view(row)
        versions.require(if_match, before.version, resource="service-account", name=name)
        asked = {k: v for k, v in wanted.model_dump(exclude_none=True).items() if getattr(before, k) != v}
        if "owner" in asked:
            await _require_owner(connection, project, asked["owner"])
        values = dict(asked)
        if "disabled" in values:
            values["disabled_at"] = base.utc_now().isoformat() if values.pop("disabled") else None
            await store.end_tokens(connection, row.actor)
        if values:
            await store.change(connection, row.actor, **values)
        view = store.view(await store.require(connection, project, name))
        detail = {k: {"from": getattr(before, k), "to": v} for k, v in asked.items()}
        return mutation.Change(view, _resource(project, name), detail, is_new=bool(asked))

    return await mutation.mutate(
        plane,
        credential,
        action="service-account.change",
        resource=_resource(project, name),
        on=access.project(project),
        do=do,
    )


async def rotate(
    plane: control_plane.ControlPlane, credential: str, project: str, name: str, *, if_match: str
) -> service_accounts.ServiceAccountIssued:
    """A new secret; the old one and every token count no more. Role: admin, in all environments.

    Errors: NotFound; PreconditionFailed, PreconditionRequired.
    """

    async def do(
        connection: AsyncConnection, _: identity.Actor
    ) -> mutation.Change[service_accounts.ServiceAccountIssued]:
        row = await store.require(connection, project, name)
        versions.require(if_match, store.version(row), resource="service-account", name=name)
        made, kept = store.fresh(store.SECRET_PREFIX)
        now = base.utc_now().isoformat()
        await store.change(connection, row.actor, secret_sha256=kept, rotated_at=now)
        await store.end_tokens(connection, row.actor)
        view = store.view(await store.require(connection, project, name))
        issued = service_accounts.ServiceAccountIssued(account=view, client_id=row.actor, client_secret=made)
        return mutation.Change(issued, _resource(project, name), {"was_of": row.rotated_at})

    return await mutation.mutate(
        plane,
        credential,
        action="service-account.rotate",
        resource=_resource(project, name),
        on=access.project(project),
        do=do,
    )


async def remove(
    plane: control_plane.ControlPlane, credential: str, project: str, name: str, *, if_match: str
) -> None:
    """With its tokens and roles. Role: admin, in all environments. Errors: NotFound; PreconditionFailed, PreconditionRequired."""

    async def do(connection: AsyncConnection, _: identity.Actor) -> mutation.Change[None]:
        row = await store.require(connection, project, name)
        versions.require(if_match, store.version(row), resource="service-account", name=name)
        await member_store.remove(connection, project, row.actor)
        await store.remove(connection, row.actor)
        return mutation.Change(None, _resource(project, name), {"owner": row.owner, "roles": row.roles or {}})

    await mutation.mutate(
        plane,
        credential,
        action="service-account.delete",
        resource=_resource(project, name),
        on=access.project(project),
        do=do,
    )


async def read(
    plane: control_plane.ControlPlane, credential: str, project: str, *, after: str, limit: int
) -> control.Page:
    """By name. Errors: NotFound for the project."""
    async with reads.reading(plane, credential, action="service-account.read") as reader:
        await reader.project(project)
        rows = await store.page(reader.connection, project, after=after, limit=limit + 1)
    items = [store.view(row).model_dump(mode="json") for row in rows[:limit]]
    return control.Page(items=items, next=rows[limit - 1].name if len(rows) > limit else "")


async def show(
    plane: control_plane.ControlPlane, credential: str, project: str, name: str
) -> service_accounts.ServiceAccountView:
    """Errors: NotFound."""
    async with reads.reading(plane, credential, action="service-account.read") as reader:
        await reader.project(project)
        return store.view(await store.require(reader.connection, project, name))


async def _require_owner(connection: AsyncConnection, project: str, owner: str) -> None:
    if identity.is_account(owner) or await member_store.find(connection, project, owner) is None:
        raise errors.InvalidRequest(
            f"`{owner}` cannot own a service account: whoever answers for it is a person, and a member of project `{project}`;"
            f" see `mainspring member list {project}`",
            field="owner",
        )


def _resource(project: str, name: str) -> str:
    return f"service-account/{project}/{name[:80]}"
