"""`/api/v1/serving-usage`."""

from __future__ import annotations

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery, JSONBody

from mainspring.core.contracts import metering
from mainspring.platform import plane as control_plane
from mainspring.platform.metering import service, store


@post("/api/v1/serving-usage", tags=["costs"])
async def record_serving_usage(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    data: JSONBody[metering.ServingUsageBatch],
) -> metering.ServingUsageReceipt:
    """Record what serving used: the whole batch or nothing, each record once by `usage_key`. Role: service."""
    return await service.record(plane, credential, data.records)


@get("/api/v1/serving-usage", tags=["costs"])
async def summarise_serving_usage(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    group_by: FromQuery[store.GroupBy] = "model_version",
    project: FromQuery[str] = "",
) -> metering.ServingUsageSummary:
    """Requests, predictions, CPU time and cost per project, endpoint, model version or caller."""
    return await service.summarise(plane, credential, group_by=group_by, project=project)


HANDLERS = (record_serving_usage, summarise_serving_usage)
