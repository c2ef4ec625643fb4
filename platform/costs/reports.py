"""Chargeback and showback: a month's costs for those who pay or used them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import cost
from mainspring.core.contracts import base
from mainspring.core.contracts import cost_reports as contracts
from mainspring.core.cost import closing, forecast, sharing
from mainspring.platform import database, reads
from mainspring.platform import plane as control_plane
from mainspring.platform.costs import month as months

__all__ = ["chargeback", "showback"]


async def chargeback(
    plane: control_plane.ControlPlane, credential: str, *, month: str, by: str, split: contracts.Split
) -> contracts.Chargeback:
    """What each receiver pays of a month, of all projects together: whoever is a member of some alone may not ask.

    Errors: Denied kinds; InvalidRequest for what is no month, no receiver, or in another currency.
    """
    async with reads.reading(plane, credential, action="cost.read") as reader:
        reader.require_platform()
        found = await months.billed(reader.connection, plane.book, month, by, None)
    lines = sharing.charge(found.direct, found.shared, split)
    return contracts.Chargeback(**_head(plane, month, by, found), split=split, lines=_lines(lines))


async def showback(
    plane: control_plane.ControlPlane, credential: str, *, month: str, by: str, project: str
) -> contracts.Showback:
    """What each receiver used in a month, of one project if it is named, or of those that the actor may know of.

    Errors: NotFound for the project; InvalidRequest as of :func:`chargeback`.
    """
    now = base.utc_now()
    async with reads.reading(plane, credential, action="cost.read") as reader:
        connection, visible = reader.connection, await reader.projects(project)
        found = await months.billed(connection, plane.book, month, by, visible)
        before = await months.billed(connection, plane.book, closing.month_before(month), by, visible)
        names = sorted({*found.direct, *before.direct})
        budgets = await _budgets(connection, by, names, month)
        expected = await _expected(plane, connection, found, month, by, visible, now)
    lines = sharing.charge(found.direct, found.shared, contracts.Split.NONE)
    return contracts.Showback(
        **_head(plane, month, by, found),
        total_before=cost.to_amount(before.total),
        receivers=[_receiver(name, found, before, budgets, expected) for name in names],
        lines=_lines(lines),
    )


def _head(plane: control_plane.ControlPlane, month: str, by: str, found: months.Billed) -> dict[str, Any]:
    begins, ends = closing.span_of(month)
    return {
        "month": month,
        "by": by,
        "currency": plane.book.currency,
        "begins": begins,
        "ends": ends,
        "is_closed": closing.is_closed(month, base.utc_now(), plane.book.close_days),
        "total": cost.to_amount(found.total),
        "shared": cost.to_amount(sum(found.shared.values())),
    }


def _lines(lines: Iterable[sharing.Line]) -> list[contracts.ReportLine]:
    return [
        contracts.ReportLine(
            receiver=one.receiver,
            is_share=one.is_share,
            service_name=one.of.service,
            sku_id=one.of.sku,
            capacity=one.of.capacity,
            is_correction=one.of.is_correction,
            billed_cost=cost.to_amount(one.nanos),
        )
        for one in lines
    ]


def _receiver(
    name: str,
    found: months.Billed,
    before: months.Billed,
    budgets: dict[str, int | None],
    expected: dict[str, int],
) -> contracts.ShowbackReceiver:
    spent, earlier, limit = found.of(name), before.of(name), budgets.get(name)
    return contracts.ShowbackReceiver(
        receiver=name,
        cost=cost.to_amount(spent),
        cost_before=cost.to_amount(earlier),
        change=cost.to_amount(spent - earlier),
        forecast=cost.to_amount(expected.get(name, spent)),
        budget=None if limit is None else cost.to_amount(limit),
    )


async def _budgets(
    connection: AsyncConnection, by: str, names: Collection[str], month: str
) -> dict[str, int | None]:
    if by != "project":
        return {}
    return await months.budgets_at(connection, names, closing.span_of(month)[1])


async def _expected(
    plane: control_plane.ControlPlane,
    connection: AsyncConnection,
    found: months.Billed,
    month: str,
    by: str,
    visible: Collection[str] | None,
    now: datetime,
) -> dict[str, int]:
    """Billionths that the month will have cost, by receiver; of a month that is not the present one nothing is to be expected."""
    begins, ends = closing.span_of(month)
    if not begins <= now < ends:
        return {}
    used = await months.recent(connection, plane.book, by, visible, now - forecast.WINDOW, now)
    windows = await _windows(connection, by, now)
    return {
        name: forecast.of(
            spent_nanos=found.of(name),
            recent_nanos=nanos,
            window=windows.get(name, forecast.WINDOW),
            limit_nanos=None,
            now=now,
            ends=ends,
        ).nanos
        for name, nanos in used.items()
        if name
    }


async def _windows(connection: AsyncConnection, by: str, now: datetime) -> dict[str, timedelta]:
    """Projects that are younger than others have existed for less."""
    if by != "project":
        return {}
    c = database.projects.c
    rows = (await connection.execute(sa.select(c.name, c.created_at))).all()
    return {row.name: forecast.window_of(datetime.fromisoformat(row.created_at), now) for row in rows}
