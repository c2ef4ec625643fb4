"""Unit costs and forecasts: sums over the one ledger of usage."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from fractions import Fraction
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import cost, settings
from mainspring.core.contracts import base, control, training, unit_costs
from mainspring.core.cost import forecast
from mainspring.core.cost import serving as serving_cost
from mainspring.platform import database, reads
from mainspring.platform import plane as control_plane
from mainspring.platform.costs import reservations, service, store
from mainspring.platform.projects import store as project_store

_usage, _served, _runs = database.usage.c, database.serving_usage.c, database.runs.c


async def unit_costs_of(
    plane: control_plane.ControlPlane,
    credential: str,
    *,
    project: str,
    since: datetime | None,
    until: datetime | None,
) -> unit_costs.UnitCosts:
    """Of use that began in [`since`, `until`), of one project if it is named, or of those that the actor may know of.

    Errors: NotFound; InvalidRequest for a period as of `service.summarise`, or for costs in another currency.
    """
    service.check_period(since, until)
    async with reads.reading(plane, credential, action="cost.read") as reader:
        only = store.Only(await reader.projects(project), since, until)
        # It refuses what is billed in another currency.
        total = sum((await store.sums(reader.connection, "service", plane.book.currency, only)).values())
        runs, other = await _by_kind(reader.connection, only)
        serving = await _by_version(reader.connection, only)
    return unit_costs.UnitCosts(
        currency=plane.book.currency,
        runs=runs,
        serving=serving,
        other=cost.to_amount(other),
        total=cost.to_amount(total),
    )


async def _by_kind(connection: AsyncConnection, only: store.Only) -> tuple[list[unit_costs.RunCost], int]:
    """By kind of run; and the billionths of what is no run's and not serving's."""
    query = only.of(
        sa.select(
            _runs.kind,
            sa.func.count(sa.distinct(_usage.run_id)),
            sa.func.sum(_usage.cost_nanos),
        )
        .select_from(database.usage.outerjoin(database.runs, _runs.run_id == _usage.run_id))
        .where(_usage.service != serving_cost.SERVICE)
        .group_by(_runs.kind)
    )
    found, other = [], 0
    for kind, runs, nanos in (await connection.execute(query)).all():
        if kind is None:
            other += int(nanos)
            continue
        one = unit_costs.RunCost(
            kind=kind,
            runs=runs,
            cost=cost.to_amount(int(nanos)),
            cost_per_run=cost.to_amount(round(Fraction(int(nanos), runs))),
        )
        found.append(one)
    return sorted(found, key=lambda one: one.kind), other


async def _by_version(connection: AsyncConnection, only: store.Only) -> list[unit_costs.ServedCost]:
    # The charges of serving are in the ledger by their own keys; their sums are in its own table, by version.
    query = sa.select(
        _served.endpoint,
        _served.model_version,
        sa.func.sum(_served.requests),
        sa.func.sum(_served.predictions),
        sa.func.sum(_served.cost_nanos),
    ).group_by(_served.endpoint, _served.model_version)
    rows = (await connection.execute(only.of(query, database.serving_usage))).all()
    found = [_served_cost(*row) for row in rows]
    return sorted(found, key=lambda one: (-(one.cost_per_thousand or 0.0), one.endpoint, one.model_version))


def _served_cost(
    endpoint: str, version: str, requests: Any, predictions: Any, nanos: Any
) -> unit_costs.ServedCost:
    spent, scored = int(nanos), int(predictions)
    return unit_costs.ServedCost(
        endpoint=endpoint,
        model_version=version,
        requests=int(requests),
        predictions=scored,
        cost=cost.to_amount(spent),
        cost_per_thousand=cost.to_amount(round(Fraction(spent * 1000, scored))) if scored else None,
    )


async def oversize(
    plane: control_plane.ControlPlane, credential: str, *, project: str, below: float, before: str, limit: int
) -> control.Page:
    """A page of runs, newest first, that said a `max_cost` and used less than the share `below` of it. Errors: NotFound."""
    async with reads.reading(plane, credential, action="cost.read") as reader:
        rows = await _oversize(reader.connection, await reader.projects(project), below, before, limit + 1)
    items = [
        unit_costs.OversizeRun(
            run_id=row.run_id,
            project=row.project,
            kind=row.kind,
            requested_by=row.requested_by,
            max_cost=row.max_cost,
            cost=cost.to_amount(int(row.nanos)),
        ).model_dump(mode="json")
        for row in rows[:limit]
    ]
    return control.Page(items=items, next=rows[limit - 1].run_id if len(rows) > limit else "")


async def _oversize(
    connection: AsyncConnection, projects: Collection[str] | None, below: float, before: str, limit: int
) -> Sequence[sa.Row[*tuple[Any, ...]]]:
    used = (
        sa.select(sa.func.coalesce(sa.func.sum(_usage.cost_nanos), 0))
        .where(_usage.run_id == _runs.run_id)
        .scalar_subquery()
    )
    wanted = _runs.request["max_cost"].as_float()
    query = (
        sa.select(
            _runs.run_id,
            _runs.project,
            _runs.kind,
            _runs.requested_by,
            wanted.label("max_cost"),
            used.label("nanos"),
        )
        .where(_runs.stage == str(training.Stage.DONE), wanted > 0, used < wanted * below * 10**9)
        .order_by(_runs.run_id.desc())
        .limit(limit)
    )
    if before:
        query = query.where(_runs.run_id < before)
    if projects is not None:
        query = query.where(_runs.project.in_(projects))
    found: Sequence[sa.Row[*tuple[Any, ...]]] = (await connection.execute(query)).all()
    return found


async def forecasts(
    plane: control_plane.ControlPlane, credential: str, *, project: str, after: str, limit: int
) -> control.Page:
    """A page of projects by name. Errors: NotFound for `project`."""
    now = base.utc_now()
    async with reads.reading(plane, credential, action="cost.read") as reader:
        visible = await reader.projects(project)
        rows = await project_store.page(reader.connection, after=after, limit=limit + 1, visible=visible)
        found = [await _forecast(reader.connection, plane.book, row, now) for row in rows[:limit]]
    return control.Page(
        items=[one.model_dump(mode="json") for one in found],
        next=rows[limit - 1].name if len(rows) > limit else "",
    )


async def _forecast(
    connection: AsyncConnection, book: settings.CostSettings, row: sa.Row[Any], now: datetime
) -> unit_costs.BudgetForecast:
    window = forecast.window_of(datetime.fromisoformat(row.created_at), now)
    recent = store.Only(frozenset({row.name}), now - window, now)
    spent = await store.spent_nanos(connection, row.name, now)
    held = await reservations.held_nanos(connection, row.name, now)
    limit = row.monthly_budget_nanos
    told = forecast.of(
        spent_nanos=spent,
        recent_nanos=sum((await store.sums(connection, "project", book.currency, recent)).values()),
        window=window,
        limit_nanos=limit,
        now=now,
    )
    return unit_costs.BudgetForecast(
        project=row.name,
        currency=book.currency,
        limit=None if limit is None else cost.to_amount(limit),
        spent=cost.to_amount(spent),
        held=cost.to_amount(held),
        per_day=cost.to_amount(told.per_day_nanos),
        forecast=cost.to_amount(told.nanos),
        is_over=limit is not None and told.nanos > limit,
        runs_out_at=told.runs_out_at,
    )
