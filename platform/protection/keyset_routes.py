"""`/api/v1/projects/{project}/keyset`."""

from __future__ import annotations

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from mainspring.core.contracts import keysets
from mainspring.platform import plane as control_plane
from mainspring.platform.protection import keyset_service

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


HANDLERS = (show_keyset, change_keyset)
