"""`/api/v1/endpoints`."""

from __future__ import annotations

from typing import Annotated

from litestar import delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from mainspring.core.contracts import control, prediction
from mainspring.platform import plane as control_plane
from mainspring.platform.endpoints import deleting, history, live, service


@get("/api/v1/endpoints", tags=["endpoints"])
async def list_endpoints(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromQuery[str] = "",
    after: FromQuery[str] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=500)] = 100,
) -> control.Page:
    """Endpoints by name, with the project that each belongs to."""
    return await service.read(plane, credential, project=project, after=after, limit=limit)


@get("/api/v1/endpoints/{name:str}", tags=["endpoints"])
async def show_endpoint(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    name: FromPath[str],
) -> control.EndpointClaim:
    """Whose an endpoint is."""
    return await service.show(plane, credential, name)


@get("/api/v1/endpoints/{name:str}/live", tags=["endpoints"])
async def show_endpoint_live(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    name: FromPath[str],
) -> control.EndpointLive:
    """An endpoint with its traffic, statistics and bundles as serving has them now; answers without them where it is away."""
    return await live.show(plane, credential, name)


@get("/api/v1/endpoints/{name:str}/history", tags=["endpoints"])
async def list_endpoint_history(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    name: FromPath[str],
    after: Annotated[int, QueryParameter(ge=0, le=2**62)] = 0,
    limit: Annotated[int, QueryParameter(ge=1, le=500)] = 100,
) -> control.Page:
    """What it served, from when on, by which run and whose approval: newest first, `after` being the page's cursor."""
    return await history.read(plane, credential, name, before=after, limit=limit)


@delete("/api/v1/endpoints/{name:str}", tags=["endpoints"], status_code=204)
async def delete_endpoint(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    name: FromPath[str],
) -> None:
    """Give the name back, once nobody answers there and no run may deploy there. Roles: approver, admin. What is on record stays."""
    await deleting.delete(plane, credential, name)


@post("/api/v1/endpoints/{name:str}/predict", tags=["endpoints"], status_code=200)
async def predict_at_endpoint(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    name: FromPath[str],
    data: JSONBody[prediction.PredictRequest],
) -> prediction.PredictResponse:
    """Ask the endpoint, as serving's own `:predict` with the same token; for trying it out. Any role in the project."""
    return await live.predict(plane, credential, name, data)


@post("/api/v1/endpoints/{name:str}/explain", tags=["endpoints"], status_code=200)
async def explain_at_endpoint(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    name: FromPath[str],
    data: JSONBody[prediction.PredictRequest],
) -> prediction.ExplainResponse:
    """As predict, with what each input column added."""
    return await live.explain(plane, credential, name, data)


HANDLERS = (
    list_endpoints,
    show_endpoint,
    show_endpoint_live,
    list_endpoint_history,
    delete_endpoint,
    predict_at_endpoint,
    explain_at_endpoint,
)
