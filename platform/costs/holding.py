"""Money that is kept free for work that is no run: asked for by its process before it begins, renewed while it works."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import cost, errors, identity, policy, settings
from mainspring.core.contracts import base
from mainspring.core.contracts import budgets as contracts
from mainspring.core.contracts.capacity import Capacity
from mainspring.core.cost import pricing
from mainspring.platform import access, mutation
from mainspring.platform import plane as control_plane
from mainspring.platform.costs import reservations
from mainspring.platform.projects import store as project_store
from mainspring.platform.runs import service as runs

__all__ = ["LASTS", "end", "renew"]

#: What nobody renews is let go of: its process is gone.
LASTS = timedelta(hours=1, minutes=15)


async def renew(
    plane: control_plane.ControlPlane, credential: str, project: str, asked: contracts.ReservationRenewal
) -> contracts.Reservation:
    """Keep free what the work may use from here on, in place of what was kept for it; refused, that stays.

    Whoever may record usage may. Errors: NotFound for the project; BudgetExceeded; InvalidRequest for an environment or a SKU that there
    is not; Conflict for another project's work.
    """
    if asked.environment not in policy.ENVIRONMENTS:
        raise errors.InvalidRequest(
            f"`{asked.environment}` is no environment; use one of {', '.join(f'`{one}`' for one in policy.ENVIRONMENTS)}",
            field="environment",
        )
    wanted = cost.to_nanos(price(plane.book, asked.ahead))
    resource = f"reservation/{project}/{asked.work_id}"

    async def can_afford(connection: AsyncConnection, _: identity.Actor) -> None:
        await project_store.find(connection, project)
        # Its own is not in its way. Of the transaction: a refusal undoes it.
        await reservations.release_work(connection, asked.work_id, project)
        await runs.afford(connection, project, asked.environment, wanted)

    async def do(connection: AsyncConnection, _: identity.Actor) -> mutation.Change[contracts.Reservation]:
        until = base.utc_now() + LASTS
        await reservations.put_work(connection, asked.work_id, project, asked.environment, wanted, until)
        made = contracts.Reservation(
            project=project, work_id=asked.work_id, amount=cost.to_amount(wanted), lapses_at=until
        )
        detail = asked.model_dump(mode="json", exclude={"work_id"})
        return mutation.Change(made, resource, {**detail, "amount": made.amount})

    return await mutation.mutate(
        plane,
        credential,
        action="reservation.renew",
        right="usage.record",
        resource=resource,
        on=access.project(project),
        afford=can_afford,
        do=do,
    )


async def end(
    plane: control_plane.ControlPlane, credential: str, project: str, asked: contracts.ReservationEnd
) -> contracts.Reservation:
    """The work has ended, and what it used is on record; the same again changes nothing. Errors: as of :func:`renew`."""
    resource = f"reservation/{project}/{asked.work_id}"

    async def do(connection: AsyncConnection, _: identity.Actor) -> mutation.Change[contracts.Reservation]:
        await project_store.find(connection, project)
        is_new = await reservations.release_work(connection, asked.work_id, project)
        made = contracts.Reservation(project=project, work_id=asked.work_id, amount=0.0)
        return mutation.Change(made, resource, is_new=is_new)

    return await mutation.mutate(
        plane,
        credential,
        action="reservation.end",
        right="usage.record",
        resource=resource,
        on=access.project(project),
        do=do,
    )


def price(book: settings.CostSettings, ahead: Mapping[str, float]) -> float:
    """Of units on demand, in the book's currency. Errors: InvalidRequest for a SKU that the book has not."""
    for sku in ahead:
        if sku not in cost.UNITS:
            raise errors.InvalidRequest(
                f"`{sku[:80]}` is no SKU of the price book; use one of {', '.join(f'`{one}`' for one in cost.UNITS)}",
                field="ahead",
            )
    amount = sum(cost.unit_price(book, sku, Capacity.ON_DEMAND) * units for sku, units in ahead.items())
    if amount >= pricing.EXACT_BELOW:
        raise errors.InvalidRequest(
            f"`ahead` would cost {amount:.6g} {book.currency}, and less than {pricing.EXACT_BELOW:.6g} can be kept free; ask for less at once",
            field="ahead",
        )
    return amount
