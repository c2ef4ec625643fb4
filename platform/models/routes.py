"""`/api/v1/models`."""

from __future__ import annotations

from typing import Annotated

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from mainspring.core.contracts import control
from mainspring.platform import plane as control_plane
from mainspring.platform.models import imports, service


@get("/api/v1/models", tags=["models"])
async def list_models(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromQuery[str] = "",
    before: FromQuery[str] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=200)] = 50,
) -> control.Page:
    """Versions that trainings made or that were imported, newest first."""
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


@post("/api/v1/projects/{project:str}/models", tags=["models"])
async def import_model(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    data: JSONBody[control.ModelImport],
) -> control.ModelVersionView:
    """Put an imported bundle among the project's models, with what its provenance says. Roles: developer, admin."""
    return await imports.register(plane, credential, project, data)


HANDLERS = (list_models, show_model, import_model)
