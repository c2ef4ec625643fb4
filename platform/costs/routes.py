"""`/api/v1/usage` and `/api/v1/costs`."""

from __future__ import annotations

from typing import Literal

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery, JSONBody

from mainspring.core.contracts import control, training
from mainspring.platform import plane as control_plane
from mainspring.platform.costs import service


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
    group_by: FromQuery[Literal["project", "run", "service"]] = "project",
    project: FromQuery[str] = "",
) -> control.CostSummary:
    """Costs per project, run or service."""
    return await service.summarise(plane, credential, group_by=group_by, project=project)


HANDLERS = (record_usage, summarise_costs)
