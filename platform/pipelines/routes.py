"""`/api/v1/projects/{project}/pipelines/{digest}`."""

from __future__ import annotations

from litestar import get, put
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody

from mainspring.core.contracts import pipelines
from mainspring.platform import plane as control_plane
from mainspring.platform.pipelines import service

_PATH = "/api/v1/projects/{project:str}/pipelines/{digest:str}"


@put(_PATH, tags=["pipelines"])
async def put_pipeline(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    digest: FromPath[str],
    data: JSONBody[pipelines.Pack],
    environment: FromQuery[str] = "dev",
) -> pipelines.PackReceipt:
    """Keep a built pipeline with its sources; the same again changes nothing. Role: developer in the environment."""
    return await service.put(plane, credential, project, digest, data, environment)


@get(_PATH, tags=["pipelines"])
async def show_pipeline(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    digest: FromPath[str],
) -> pipelines.Pack:
    """A pipeline as it was sent: its graph, its parameters and its sources."""
    return await service.show(plane, credential, project, digest)


HANDLERS = (put_pipeline, show_pipeline)
