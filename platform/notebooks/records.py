"""What the control API puts on record of workspaces, which run elsewhere: changes are asked of the policies and the budget first."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import cost, identity
from mainspring.core.contracts import base, notebooks
from mainspring.platform import access, mutation
from mainspring.platform import plane as control_plane
from mainspring.platform.audit import store as audit_store
from mainspring.platform.costs import holding, reservations
from mainspring.platform.notebooks import metering
from mainspring.platform.projects import store as project_store
from mainspring.platform.quotas import limits
from mainspring.platform.runs import service as runs

__all__ = ["change", "end"]

_ENDS_IN: Final = timedelta(minutes=1)


async def change(
    plane: control_plane.ControlPlane, credential: str, project: str, asked: notebooks.NotebookChange
) -> notebooks.NotebookRecorded:
    """Let somebody start, extend or stop one; what a start or an extension may cost has to be free in the budget, and the first hour of
    it is kept free from here on.

    Roles: developer or admin in any environment of the project. Errors: NotFound for the project; PermissionDenied, PolicyDenied;
    BudgetExceeded; QuotaExceeded for a start without room on disks.
    """
    action, resource = f"notebook.{asked.change}", _resource(project, asked.notebook_id)

    async def can_afford(connection: AsyncConnection, _: identity.Actor) -> None:
        if asked.change != "stop":
            await runs.untagged(plane, connection, project)
            wanted = metering.cost(plane.book, asked.cores, asked.memory_gib, asked.hours)
            await runs.afford(connection, project, metering.ENVIRONMENT, cost.to_nanos(wanted))
        if asked.change == "start":
            await limits.require_room(plane, connection, project)

    async def do(connection: AsyncConnection, _: identity.Actor) -> mutation.Change[notebooks.NotebookRecorded]:  # fmt: skip
        await project_store.find(connection, project)
        if asked.change == "start":
            first = metering.cost(plane.book, asked.cores, asked.memory_gib, min(asked.hours, 1.0))
            await reservations.put_work(
                connection,
                asked.notebook_id,
                project,
                metering.ENVIRONMENT,
                cost.to_nanos(first),
                base.utc_now() + holding.LASTS,
            )
        if asked.change == "stop":
            # Its keeper has yet to tell what it used last; of one that never began nobody tells anything.
            await reservations.lapse_work(connection, asked.notebook_id, base.utc_now() + _ENDS_IN)
        detail = asked.model_dump(mode="json", include={"cores", "memory_gib", "hours"})
        made = notebooks.NotebookRecorded(project=project, notebook_id=asked.notebook_id, action=action)
        return mutation.Change(made, resource, {} if asked.change == "stop" else detail)

    return await mutation.mutate(
        plane,
        credential,
        action=action,
        right="notebook.change",
        resource=resource,
        on=access.project_anywhere(project, change=asked.change),
        afford=can_afford,
        do=do,
    )


async def end(
    plane: control_plane.ControlPlane, credential: str, project: str, asked: notebooks.NotebookEnd
) -> notebooks.NotebookRecorded:
    """Put an end on record; the same again changes nothing. Role: service. Errors: NotFound for the project."""
    resource, event_key = _resource(project, asked.notebook_id), f"{asked.notebook_id}/end"

    async def do(connection: AsyncConnection, _: identity.Actor) -> mutation.Change[notebooks.NotebookRecorded]:  # fmt: skip
        await project_store.find(connection, project)
        known = await audit_store.is_recorded(connection, event_key)
        if known is None:
            await reservations.release_work(connection, asked.notebook_id, project)
        made = notebooks.NotebookRecorded(
            project=project, notebook_id=asked.notebook_id, action="notebook.end"
        )
        return mutation.Change(
            made, resource, {"words": asked.reason}, is_new=known is None, event_key=event_key
        )

    return await mutation.mutate(
        plane,
        credential,
        action="notebook.end",
        resource=resource,
        on=access.project(project),
        do=do,
    )


def _resource(project: str, notebook_id: str) -> str:
    return f"notebook/{project}/{notebook_id}"
