"""`/api/v1/models`."""

from __future__ import annotations

from typing import Annotated

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter

from mainspring.core.contracts import control
from mainspring.platform import plane as control_plane
from mainspring.platform.models import service


@get("/api/v1/models", tags=["models"])
async def list_models(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromQuery[str] = "",
    before: FromQuery[str] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=200)] = 50,
) -> control.Page:
    """Versions that trainings made, newest first."""
    return await service.read(plane, credential, project=project, before=before, limit=limit)


@get("/api/v1/models/{project:str}/{digest:str}", tags=["models"])
async def show_model(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    digest: FromPath[str],
) -> control.ModelView:
    """One version with its card, its signature and what it reads."""
    return await service.show(plane, credential, project, digest)


HANDLERS = (list_models, show_model)
