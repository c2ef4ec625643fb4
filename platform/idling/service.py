"""What is known of endpoints' use, and notices of those that nobody asks."""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import errors, identity
from mainspring.core.contracts import control, idling
from mainspring.platform import access, mutation, reads
from mainspring.platform import plane as control_plane
from mainspring.platform.audit import store as audit_store
from mainspring.platform.endpoints import store as endpoint_store
from mainspring.platform.idling import store

_WORDS: Final = {
    idling.IdleKind.NOTICE: store.NOTICE,
    idling.IdleKind.STOP: store.STOP,
    idling.IdleKind.BUDGET_NOTICE: store.BUDGET_NOTICE,
    idling.IdleKind.BUDGET_STOP: store.BUDGET_STOP,
}


async def read(
    plane: control_plane.ControlPlane, credential: str, *, project: str, after: str, limit: int
) -> control.Page:
    """A page of endpoints by name. Errors: NotFound for `project`."""
    async with reads.reading(plane, credential, action="cost.read") as reader:
        projects = await reader.projects(project)
        rows = await endpoint_store.page(reader.connection, projects=projects, after=after, limit=limit + 1)
        found = await store.known(reader.connection, rows[:limit])
    return control.Page(
        items=[one.model_dump(mode="json") for one in found],
        next=rows[limit - 1].name if len(rows) > limit else "",
    )


async def report(
    plane: control_plane.ControlPlane, credential: str, name: str, event: idling.IdleEvent
) -> control.AuditView:
    """The same key again answers with the first row. Errors: NotFound; Conflict if the key is another event's."""
    action, resource = _WORDS[event.kind], f"endpoint/{name}"

    async def on(connection: AsyncConnection) -> access.Target:
        row = await endpoint_store.find(connection, name)
        if row is None:
            raise _unknown(name)
        return access.project(row.project)

    async def do(connection: AsyncConnection, _actor: identity.Actor) -> mutation.Change[None]:
        known = await audit_store.is_recorded(connection, event.event_key)
        if known is None:
            return mutation.Change(None, resource, event.detail, event_key=event.event_key)
        view = audit_store.view(known)
        if (view.action, view.resource) != (action, resource):
            raise errors.Conflict(
                f"event key `{event.event_key}` is taken by `{view.action}` of `{view.resource}`; give each its own",
                resource="event",
                name=event.event_key,
            )
        return mutation.Change(None, resource, is_new=False)

    try:
        await mutation.mutate(
            plane, credential, action=action, right="endpoint.report", resource=resource, on=on, do=do
        )
    except errors.NotFound as missing:
        # Whoever may not know of its project is told the same as of a name that nobody has.
        raise _unknown(name) from missing
    async with plane.database.read() as connection:
        row = await audit_store.is_recorded(connection, event.event_key)
    if row is None:
        raise errors.InvariantViolated("a recorded event is not in the log", where="platform.idling.report")
    return audit_store.view(row)


def _unknown(name: str) -> errors.NotFound:
    return errors.NotFound(f"no endpoint `{name}`; a deployment makes one", resource="endpoint", name=name)
