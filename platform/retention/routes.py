"""`/api/v1/projects/{name}/retentions`."""

from __future__ import annotations

from litestar import post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from mainspring.core.contracts import retention
from mainspring.platform import plane as control_plane
from mainspring.platform.retention import service


@post("/api/v1/projects/{name:str}/retentions", tags=["projects"])
async def record_retention(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    name: FromPath[str],
    data: JSONBody[retention.RetentionRecord],
) -> retention.RetentionRecorded:
    """Put on record what a retention removes, and remove what it has of lineage; idempotent by `event_key`. Role: service."""
    return await service.record(plane, credential, name, data)


HANDLERS = (record_retention,)
