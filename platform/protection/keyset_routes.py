"""`/api/v1/projects/{project}/keyset`, `.../masking` and `.../sealed:open`."""

from __future__ import annotations

from typing import Annotated

from litestar import get, post
from litestar.datastructures import CacheControlHeader
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from mainspring.core.contracts import keysets, masking
from mainspring.platform import plane as control_plane
from mainspring.platform.protection import keyset_service, masking_service

_PATH = "/api/v1/projects/{project:str}/keyset"
_TAGS = ["data protection"]


@get(_PATH, tags=_TAGS)
async def show_keyset(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
) -> keysets.KeysetView:
    """The data keys of a project by id, and what they are wrapped by; never a key."""
    return await keyset_service.show(plane, credential, project)


@post(_PATH + ":change", tags=_TAGS, status_code=200)
async def change_keyset(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    data: JSONBody[keysets.KeysetChange],
) -> keysets.KeysetView:
    """Rotate the ring, wrap the data keys anew, add one, or forget one. Role: admin."""
    return await keyset_service.change(plane, credential, project, data)


@get("/api/v1/projects/{project:str}/masking", tags=_TAGS)
async def show_masking(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    purpose: Annotated[list[str] | None, QueryParameter(name="purpose", max_items=20)] = None,
    environment: FromQuery[str] = "",
) -> masking.MaskingSection:
    """What serving of `environment` is to show of the project's views, by class, role and each `purpose`, as the policies say."""
    return await masking_service.section(plane, credential, project, purpose or (), environment)


@post(
    "/api/v1/projects/{project:str}/sealed:open",
    tags=_TAGS,
    status_code=200,
    cache_control=CacheControlHeader(no_store=True),
)
async def open_sealed(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    data: JSONBody[masking.OpenRequest],
) -> masking.Opened:
    """Open sealed values for a purpose, on record. Roles: approver, admin, as policies say for the column's class."""
    return await masking_service.open_sealed(plane, credential, project, data)


HANDLERS = (show_keyset, change_keyset, show_masking, open_sealed)
