"""`/api/v1/usage` and `/api/v1/costs`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery, JSONBody, QueryParameter

from mainspring.core.contracts import budgets, control, cost_reports, training, unit_costs
from mainspring.platform import plane as control_plane
from mainspring.platform.costs import reports, service, standing, units


@post("/api/v1/usage", tags=["costs"])
async def record_usage(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    data: JSONBody[training.UsageRecord],
) -> control.CostView:
    """Record one metered quantity; idempotent by `usage_key`. Role: service."""
    return await service.record(plane, credential, data)


@get("/api/v1/costs", tags=["costs"])
async def summarise_costs(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    group_by: Annotated[str, QueryParameter(max_length=100)] = "project",
    project: FromQuery[str] = "",
    since: FromQuery[datetime | None] = None,
    until: FromQuery[datetime | None] = None,
) -> control.CostSummary:
    """Costs per `project`, `run`, `service`, `environment`, `sku`, `capacity` or `tag:KEY`, of use that began in [`since`, `until`)."""
    return await service.summarise(
        plane, credential, group_by=group_by, project=project, since=since, until=until
    )


@get("/api/v1/costs:records", tags=["costs"])
async def list_cost_records(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromQuery[str] = "",
    since: FromQuery[datetime | None] = None,
    until: FromQuery[datetime | None] = None,
    after: FromQuery[str] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=1000)] = 500,
) -> control.Page:
    """Priced records one by one: what `costs` adds up, and what a FOCUS export is made of."""
    return await service.records(
        plane, credential, project=project, since=since, until=until, after=after, limit=limit
    )


@get("/api/v1/costs:units", tags=["costs"])
async def show_unit_costs(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromQuery[str] = "",
    since: FromQuery[datetime | None] = None,
    until: FromQuery[datetime | None] = None,
) -> unit_costs.UnitCosts:
    """Costs of a run by kind, and of a thousand predictions by endpoint and model version; with the rest, the total."""
    return await units.unit_costs_of(plane, credential, project=project, since=since, until=until)


@get("/api/v1/costs:forecast", tags=["costs"])
async def forecast_budgets(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromQuery[str] = "",
    after: FromQuery[str] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=200)] = 100,
) -> control.Page:
    """What the month will have cost by project, at the mean of the last seven days, and when a budget runs out."""
    return await units.forecasts(plane, credential, project=project, after=after, limit=limit)


@get("/api/v1/costs:untagged", tags=["costs"])
async def list_untagged_projects(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromQuery[str] = "",
    after: FromQuery[str] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=500)] = 100,
) -> control.Page:
    """Projects by name that lack tags which settings ask for, and what each lacks."""
    return await service.untagged(plane, credential, project=project, after=after, limit=limit)


@get("/api/v1/costs:chargeback", tags=["costs"])
async def charge_costs_back(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    month: Annotated[str, QueryParameter(max_length=40)],
    by: Annotated[str, QueryParameter(max_length=100)] = "project",
    split: FromQuery[cost_reports.Split] = cost_reports.Split.PROPORTIONAL,
) -> cost_reports.Chargeback:
    """What each `project`, `environment` or value of `tag:KEY` pays of a month such as `2026-11`, with its share of what is of all.

    A role of the whole platform is needed.
    """
    return await reports.chargeback(plane, credential, month=month, by=by, split=split)


@get("/api/v1/costs:showback", tags=["costs"])
async def show_costs_back(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    month: Annotated[str, QueryParameter(max_length=40)],
    by: Annotated[str, QueryParameter(max_length=100)] = "project",
    project: FromQuery[str] = "",
) -> cost_reports.Showback:
    """What each `project`, `environment` or value of `tag:KEY` used in a month, beside the month before, its forecast and its budget."""
    return await reports.showback(plane, credential, month=month, by=by, project=project)


@get("/api/v1/costs:oversize", tags=["costs"])
async def list_oversize_runs(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromQuery[str] = "",
    below: Annotated[float, QueryParameter(gt=0, le=1)] = 0.25,
    before: FromQuery[str] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=200)] = 50,
) -> control.Page:
    """Runs, newest first, that used less than the share `below` of the `max_cost` that they kept free."""
    return await units.oversize(plane, credential, project=project, below=below, before=before, limit=limit)


@get("/api/v1/costs:standing", tags=["costs"])
async def show_standing(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    run: Annotated[list[str] | None, QueryParameter(max_items=200)] = None,
    project: Annotated[list[str] | None, QueryParameter(max_items=200)] = None,
) -> budgets.Standing:
    """What runs and projects have spent of what they may; those that may not be known of are left out."""
    return await standing.standing(plane, credential, runs=run or (), projects=project or ())


HANDLERS = (
    record_usage,
    summarise_costs,
    list_cost_records,
    show_unit_costs,
    forecast_budgets,
    list_untagged_projects,
    charge_costs_back,
    show_costs_back,
    list_oversize_runs,
    show_standing,
)
