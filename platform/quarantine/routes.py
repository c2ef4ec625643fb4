"""`/api/v1/quarantine`."""

from __future__ import annotations

from typing import Annotated

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from mainspring.core.contracts import control, quality
from mainspring.platform import plane as control_plane
from mainspring.platform.quarantine import service


@get("/api/v1/quarantine/{project:str}", tags=["quarantine"])
async def list_quarantine(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    after: FromQuery[str] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=500)] = 100,
) -> control.Page:
    """Batches that failed their expectations, held or released, by name."""
    return await service.read(plane, credential, project, after=after, limit=limit)


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
