"""`/api/v1/quarantine`."""

from __future__ import annotations

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from mainspring.core.contracts import quality
from mainspring.platform import plane as control_plane
from mainspring.platform.quarantine import service


@get("/api/v1/quarantine/{project:str}", tags=["quarantine"])
async def list_quarantine(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
) -> list[quality.HeldBatch]:
    """Batches that failed their expectations, held or released."""
    return await service.read(plane, credential, project)


@get("/api/v1/quarantine/{project:str}/{name:str}", tags=["quarantine"])
async def show_quarantine(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    name: FromPath[str],
) -> quality.HeldBatch:
    """One batch with its reports."""
    return await service.show(plane, credential, project, name)


@post("/api/v1/quarantine/{project:str}/{name:str}/release", tags=["quarantine"])
async def release_quarantine(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    name: FromPath[str],
    data: JSONBody[quality.ReleaseCreate],
) -> quality.HeldBatch:
    """Let a batch in although it failed. Role: approver, with a reason."""
    return await service.release(plane, credential, project, name, data.reason)


HANDLERS = (list_quarantine, show_quarantine, release_quarantine)
