"""An endpoint's name is given back: whoever asks for it next has it. What was done there stays on record."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import errors, identity
from mainspring.core.contracts import deployment
from mainspring.platform import access, mutation
from mainspring.platform import plane as control_plane
from mainspring.platform.endpoints import live, store

__all__ = ["delete"]


async def delete(plane: control_plane.ControlPlane, credential: str, name: str) -> None:
    """Errors: NotFound; PermissionDenied; Conflict while somebody answers there, or a run that may deploy there has not ended;
    DependencyDown where serving does not say.
    """

    async def on(connection: AsyncConnection) -> access.Target:
        row = await store.find(connection, name)
        if row is None:
            raise store.unknown(name)
        return access.project(row.project, row.environment)

    # Not in the transaction: serving may be slow. What deploys there meanwhile is a run, and those are looked for in it.
    away: errors.Unavailable | None = None
    table: deployment.TrafficTable | None = None
    try:
        table = await live.traffic(plane, credential, name)
    except errors.Unavailable as error:
        away = error

    async def do(connection: AsyncConnection, _actor: identity.Actor) -> mutation.Change[None]:
        row = await store.find(connection, name)
        if row is None:
            raise store.unknown(name)
        # Only who may delete it learns what serving says of it.
        if away is not None:
            raise away
        if table is not None:
            raise errors.Conflict(
                f"bundle `{table.stable}` answers at endpoint `{name}`; take it out of service with `mainspring endpoint"
                f" release {name} --reason ...`, then delete it",
                resource="endpoint",
                name=name,
            )
        await store.require_free(connection, name, row.project)
        await store.delete(connection, name)
        return mutation.Change(None, f"endpoint/{name}", store.view(row).model_dump(mode="json"))

    await mutation.mutate(
        plane, credential, action="endpoint.delete", resource=f"endpoint/{name}", on=on, do=do
    )
