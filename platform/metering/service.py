"""Take what serving used once, charge it, and add it up to the last unit."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import canonical, cost, errors, identity
from mainspring.core.contracts import metering
from mainspring.platform import access, mutation, reads
from mainspring.platform import plane as control_plane
from mainspring.platform.metering import store


async def record(
    plane: control_plane.ControlPlane, credential: str, records: Sequence[metering.ServingUsage]
) -> metering.ServingUsageReceipt:
    """Keep and charge the records that are new, all or none; one audit row names them by count and digest.

    Errors: NotFound for a project, Conflict if a key came with other content, InvalidRequest for a window that ends
    before it starts. Then none of the batch is kept.
    """

    async def do(
        connection: AsyncConnection, _actor: identity.Actor
    ) -> mutation.Change[metering.ServingUsageReceipt]:
        known = await store.find(connection, [r.usage_key for r in records])
        new: dict[str, metering.ServingUsage] = {}
        for one in records:
            before = new.get(one.usage_key) or known.get(one.usage_key)
            if before is None:
                new[one.usage_key] = one
            elif before != one:
                raise errors.Conflict(
                    f"usage key `{one.usage_key}` is taken by another record; give each window, model version and"
                    " caller its own key",
                    resource="usage",
                    name=one.usage_key,
                )
        await store.require_projects(connection, {r.project for r in new.values()})
        await store.insert(
            connection, [(r, cost.price_serving(r, plane.book)) for r in new.values()], plane.book
        )
        return mutation.Change(
            metering.ServingUsageReceipt(received=len(records), new=len(new)),
            "usage/serving",
            {
                "records": len(new),
                "requests": sum(r.requests for r in new.values()),
                "predictions": sum(r.predictions for r in new.values()),
                "cpu_microseconds": sum(r.cpu_microseconds for r in new.values()),
                "digest": canonical.digest([r.model_dump(mode="json") for r in new.values()]),
            },
            is_new=bool(new),
        )

    return await mutation.mutate(
        plane,
        credential,
        action="usage.record-serving",
        resource="usage/serving",
        on=access.platform(),
        do=do,
    )


async def summarise(
    plane: control_plane.ControlPlane, credential: str, *, group_by: store.GroupBy, project: str
) -> metering.ServingUsageSummary:
    """Serving usage added up, of one project if it is named, or of those that the actor may know of.

    Errors: NotFound for the project.
    """
    async with reads.reading(plane, credential, action="cost.read") as reader:
        sums = await store.sums(reader.connection, group_by, await reader.projects(project))
    total = [sum(column) for column in zip(*sums.values(), strict=True)] or [0, 0, 0, 0]
    return metering.ServingUsageSummary(
        group_by=group_by,
        currency=plane.book.currency,
        total=_metered(total),
        groups={name: _metered(units) for name, units in sums.items()},
    )


def _metered(units: Sequence[int]) -> metering.Metered:
    requests, predictions, cpu_microseconds, nanos = units
    return metering.Metered(
        requests=requests,
        predictions=predictions,
        cpu_microseconds=cpu_microseconds,
        cost=cost.to_amount(nanos),
    )
