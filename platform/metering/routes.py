"""`/api/v1/serving-usage` and `/api/v1/projects/{project}/storage`."""

from __future__ import annotations

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody

from mainspring.core.contracts import metering
from mainspring.core.contracts import storage as storage_contracts
from mainspring.platform import plane as control_plane
from mainspring.platform.metering import service, storage, store


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


@post("/api/v1/projects/{project:str}/storage", tags=["costs"])
async def record_storage(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    data: JSONBody[storage_contracts.StorageMeasured],
) -> storage_contracts.StorageView:
    """Record what a project keeps, and charge what it kept since the last time. Role: service."""
    return await storage.record(plane, credential, project, data)


@get("/api/v1/projects/{project:str}/storage", tags=["costs"])
async def show_storage(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
) -> storage_contracts.StorageView:
    """What a project kept when it was last measured."""
    return await storage.show(plane, credential, project)


HANDLERS = (record_serving_usage, summarise_serving_usage, record_storage, show_storage)
