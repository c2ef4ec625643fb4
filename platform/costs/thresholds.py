"""Shares of budgets that are spent are put on record, said in the log, and posted to `control.alert_url`: once each in a period.

Each control API looks; of several one puts it on record. Delivered at least once: what was not taken is sent again while its period lasts.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import cost
from mainspring.core.contracts import base
from mainspring.core.contracts.budgets import Period
from mainspring.core.cost import periods
from mainspring.platform import alarms, database, loops, mutation
from mainspring.platform import plane as control_plane
from mainspring.platform.costs import budgets

__all__ = ["LOOK_SECONDS", "look", "look_forever"]

_LOG: Final = logging.getLogger(__name__)

#: What is spent is stopped by whoever asks; this is for telling.
LOOK_SECONDS: Final = 15.0

_table = database.budgets


async def look_forever(plane: control_plane.ControlPlane) -> None:
    """At once, and again and again."""
    await loops.again_forever(
        lambda: look(plane, now=base.utc_now()),
        every_seconds=LOOK_SECONDS,
        failed="looking through budgets failed",
        log=_LOG,
    )


async def look(plane: control_plane.ControlPlane, *, now: datetime) -> None:
    """Put on record what is newly reached by `now`, and tell what nobody has been told of."""
    async with plane.database.read() as connection:
        found = [
            (row, await budgets.spent_of(connection, row, now))
            for row in await budgets.rows_of(connection, None)
        ]
    for row, spent in found:
        begins = periods.span(Period(row.period), now)[0].isoformat()
        reached = max((t for t in row.thresholds if spent >= t * row.amount_nanos), default=0.0)
        is_same = row.began == begins
        if reached > (row.reached if is_same else 0.0):
            told = {
                "threshold": reached,
                "spent": cost.to_amount(spent),
                "amount": cost.to_amount(row.amount_nanos),
            }
            do = _changed(row, "reached", reached, begins, told)
            if await mutation.settle(plane, actor=row.set_by, action="budget.reach", do=do):
                _LOG.warning(
                    "project %s has spent %.6g of the %.6g that it may in %s this %s",
                    *(row.project, told["spent"], told["amount"], row.environment, row.period),
                )
        if reached > (row.told if is_same else 0.0):
            await _tell(plane, row, reached, begins, spent)


async def _tell(
    plane: control_plane.ControlPlane, row: sa.Row[Any], reached: float, begins: str, spent: int
) -> None:
    body = {
        "kind": "budget.reach",
        **{
            name: row._mapping[name]
            for name in ("project", "environment", "period", "is_hard", "stop_endpoints")
        },
        "begins": begins,
        "threshold": reached,
        "amount": cost.to_amount(row.amount_nanos),
        "spent": cost.to_amount(spent),
        "currency": plane.book.currency,
    }
    if await alarms.post(plane, body, f"the budget {row.environment}/{row.period} of {row.project}"):
        do = _changed(row, "told", reached, begins, {"threshold": reached})
        await mutation.settle(plane, actor=row.set_by, action="budget.alarm", do=do)


def _changed(
    row: sa.Row[Any], what: str, reached: float, begins: str, detail: dict[str, Any]
) -> Callable[[AsyncConnection], Awaitable[mutation.Change[bool]]]:
    """`what` is `reached` or `told`: is it news, for the budget as it was looked at?"""
    named = budgets.Named(row.project, row.environment, Period(row.period))

    async def do(connection: AsyncConnection) -> mutation.Change[bool]:
        now = (await connection.execute(sa.select(_table).where(named.where))).one_or_none()
        before = 0.0 if now is None or now.began != begins else now._mapping[what]
        if now is None or now.set_at != row.set_at or before >= reached:
            return mutation.Change(False, named.resource, is_new=False)
        other = "told" if what == "reached" else "reached"
        kept = {} if now.began == begins else {other: 0.0}
        await connection.execute(
            sa.update(_table).where(named.where).values(**{what: reached, "began": begins, **kept})
        )
        return mutation.Change(True, named.resource, {"period": begins, **detail})

    return do
