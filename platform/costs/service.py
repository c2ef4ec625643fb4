"""Record usage once, and report what it costs."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import cost, errors, identity
from mainspring.core.contracts import control, training
from mainspring.core.cost import pricing
from mainspring.platform import access, mutation, reads
from mainspring.platform import plane as control_plane
from mainspring.platform.costs import store
from mainspring.platform.projects import store as project_store


async def record(
    plane: control_plane.ControlPlane, credential: str, usage: training.UsageRecord
) -> control.CostView:
    """Price and keep one usage record; the same key again answers with the first.

    Errors: NotFound for the project, InvalidRequest for what the book cannot price, Conflict if the key came with
    other content.
    """

    async def do(connection: AsyncConnection, _actor: identity.Actor) -> mutation.Change[control.CostView]:
        resource = f"usage/{usage.usage_key}"
        if (known := await store.find(connection, usage.usage_key)) is not None:
            if training.UsageRecord.model_validate(known.record) != usage:
                raise errors.Conflict(
                    f"usage key `{usage.usage_key}` is taken by another record; give each quantity its own key",
                    resource="usage",
                    name=usage.usage_key,
                )
            return mutation.Change(control.CostView.model_validate(known.view), resource, is_new=False)
        await project_store.find(connection, usage.project)
        view = cost.price(usage, plane.book)
        await store.insert(connection, usage, view, cost.cost_nanos(usage, plane.book))
        return mutation.Change(view, resource, view.model_dump(mode="json"))

    return await mutation.mutate(
        plane,
        credential,
        action="usage.record",
        resource=f"usage/{usage.usage_key}",
        on=access.project(usage.project),
        do=do,
    )


async def summarise(
    plane: control_plane.ControlPlane, credential: str, *, group_by: pricing.GroupBy, project: str
) -> control.CostSummary:
    """Costs added up, of one project if it is named, or of those that the actor may know of. Errors: NotFound."""
    async with reads.reading(plane, credential, action="cost.read") as reader:
        views = await store.views(reader.connection, await reader.projects(project))
    return cost.summarise(views, group_by, plane.book.currency)
