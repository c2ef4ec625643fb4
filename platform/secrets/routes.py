"""`/api/v1/projects/{project}/secrets`: references only."""

from __future__ import annotations

from typing import Annotated

from litestar import Response, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from mainspring.core.contracts import control, secrets
from mainspring.platform import plane as control_plane
from mainspring.platform.http import versions
from mainspring.platform.secrets import service

_PATH = "/api/v1/projects/{project:str}/secrets"
_ONE = _PATH + "/{name:str}"
_TAGS = ["secrets"]


@get(_PATH, tags=_TAGS)
async def list_secrets(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    after: FromQuery[str] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=500)] = 100,
) -> control.Page:
    """Where a project's secrets lie, by name; never what they are."""
    return await service.read(plane, credential, project, after=after, limit=limit)


@get(_ONE, tags=_TAGS)
async def show_secret(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    name: FromPath[str],
) -> Response[secrets.SecretView]:
    """One reference, with its version as ETag."""
    found = await service.show(plane, credential, project, name)
    return versions.tagged(found, found.version)


@put(_ONE, tags=_TAGS)
async def put_secret(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    name: FromPath[str],
    data: JSONBody[secrets.SecretPut],
    if_match: versions.IfMatch = "",
) -> Response[secrets.SecretView]:
    """Say where a secret lies; a reference is changed by the version in `If-Match`. Role: admin."""
    made = await service.put(plane, credential, project, name, data, if_match=if_match)
    return versions.tagged(made, made.version)


@delete(_ONE, tags=_TAGS, status_code=204)
async def remove_secret(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    name: FromPath[str],
    if_match: versions.IfMatch = "",
) -> None:
    """Take a reference back, by the version in `If-Match`; what it is about stays where it is. Role: admin."""
    await service.remove(plane, credential, project, name, if_match=if_match)


@post(_ONE + "/use", tags=_TAGS, status_code=200)
async def use_secret(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    name: FromPath[str],
    data: JSONBody[secrets.SecretUse],
) -> secrets.SecretUsed:
    """May this step of a run read it; on record. Where it lies is answered, never what it is. Role: service."""
    return await service.use(plane, credential, project, name, data)


HANDLERS = (list_secrets, show_secret, put_secret, remove_secret, use_secret)
