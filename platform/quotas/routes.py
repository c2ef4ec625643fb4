"""`/api/v1/projects/{project}/quota`."""

from __future__ import annotations

from litestar import Response, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from mainspring.core.contracts import quotas
from mainspring.platform import plane as control_plane
from mainspring.platform.http import versions
from mainspring.platform.quotas import service

_PATH = "/api/v1/projects/{project:str}/quota"
_TAGS = ["projects"]


@get(_PATH, tags=_TAGS)
async def show_quota(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
) -> Response[quotas.QuotaView]:
    """What a project may have at once, and what it has."""
    found = await service.show(plane, credential, project)
    return versions.tagged(found, found.version)


@put(_PATH, tags=_TAGS)
async def put_quota(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    data: JSONBody[quotas.QuotaPut],
    if_match: versions.IfMatch = "",
) -> Response[quotas.QuotaView]:
    """Set a project's own limits; those that were set are changed by the version in `If-Match`. Role: admin of the platform."""
    made = await service.put(plane, credential, project, data, if_match=if_match)
    return versions.tagged(made, made.version)


HANDLERS = (show_quota, put_quota)
