"""`/api/v1/environments`."""

from __future__ import annotations

from litestar import get
from litestar.di import NamedDependency

from mainspring.core.contracts import environments
from mainspring.platform import plane as control_plane
from mainspring.platform.environments import service


@get("/api/v1/environments", tags=["environments"])
async def list_environments(
    plane: NamedDependency[control_plane.ControlPlane], credential: NamedDependency[str]
) -> environments.EnvironmentList:
    """Environments, from where things are tried to where they count, with what each lets through as the policies in force say."""
    return await service.read(plane, credential)


HANDLERS = (list_environments,)
