"""Record usage once, and report what it costs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import cost, errors, identity
from mainspring.core.contracts import control, tags, training
from mainspring.core.cost import tagging
from mainspring.platform import access, mutation, reads
from mainspring.platform import plane as control_plane
from mainspring.platform.costs import stamping, store
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
            if not _is(known.record, usage):
                raise errors.Conflict(
                    f"usage key `{usage.usage_key}` is taken by another record; give each quantity its own key",
                    resource="usage",
                    name=usage.usage_key,
                )
            return mutation.Change(control.CostView.model_validate(known.view), resource, is_new=False)
        await project_store.find(connection, usage.project)
        (view,) = await stamping.stamped(connection, plane.book, [cost.price(usage, plane.book)])
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
    plane: control_plane.ControlPlane,
    credential: str,
    *,
    group_by: str,
    project: str,
    since: datetime | None = None,
    until: datetime | None = None,
) -> control.CostSummary:
    """Costs added up, of one project if it is named, or of those that the actor may know of.

    Of use that began in [`since`, `until`). The groups add up to the total to the billionth.
    Errors: NotFound; InvalidRequest for a period without an offset from UTC, or of no length, or a key that there is not.
    """
    check_period(since, until)
    async with reads.reading(plane, credential, action="cost.read") as reader:
        only = store.Only(await reader.projects(project), since, until)
        sums = await store.sums(reader.connection, group_by, plane.book.currency, only)
    return control.CostSummary(
        group_by=group_by,
        currency=plane.book.currency,
        total=cost.to_amount(sum(sums.values())),
        groups={name: cost.to_amount(nanos) for name, nanos in sums.items()},
    )


async def records(
    plane: control_plane.ControlPlane,
    credential: str,
    *,
    project: str,
    since: datetime | None,
    until: datetime | None,
    after: str,
    limit: int,
) -> control.Page:
    """A page of priced records by usage key; whose, of when, and errors as in :func:`summarise`."""
    check_period(since, until)
    async with reads.reading(plane, credential, action="cost.read") as reader:
        only = store.Only(await reader.projects(project), since, until)
        found = await store.page(reader.connection, only, after=after, limit=limit + 1)
    return control.Page(
        items=[view.model_dump(mode="json") for view in found[:limit]],
        next=found[limit - 1].usage_key if len(found) > limit else "",
    )


async def untagged(
    plane: control_plane.ControlPlane, credential: str, *, project: str, after: str, limit: int
) -> control.Page:
    """A page of projects by name that lack tags which settings ask for. Errors: NotFound for `project`."""
    found: list[tags.ProjectUntagged] = []
    async with reads.reading(plane, credential, action="cost.read") as reader:
        visible = await reader.projects(project)
        while len(found) <= limit:
            rows = await project_store.page(reader.connection, after=after, limit=limit + 1, visible=visible)
            for row in rows:
                if lacks := tagging.lacking(project_store.tags_of(row), plane.book):
                    found.append(tags.ProjectUntagged(project=row.name, owner=row.owner, lacks=lacks))
            if len(rows) <= limit:
                break
            after = rows[-1].name
    return control.Page(
        items=[one.model_dump(mode="json") for one in found[:limit]],
        next=found[limit - 1].project if len(found) > limit else "",
    )


def _is(kept: dict[str, Any], usage: training.UsageRecord) -> bool:
    """Whether that is what is kept; serving's and storage's records are of other kinds."""
    try:
        return training.UsageRecord.model_validate(kept) == usage
    except ValidationError:
        return False


def check_period(since: datetime | None, until: datetime | None) -> None:
    """Errors: InvalidRequest for a time without an offset from UTC, or a period of no length."""
    for name, at in (("since", since), ("until", until)):
        if at is not None and at.tzinfo is None:
            raise errors.InvalidRequest(f"`{name}` has no offset from UTC; add one, such as `Z`", field=name)
    if since is not None and until is not None and until <= since:
        raise errors.InvalidRequest("`until` is not after `since`; ask for a period", field="until")
