"""`/api/v1/keys` and `/api/v1/key-changes`."""

from __future__ import annotations

from typing import Annotated

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from mainspring.core.contracts import control, keys, training
from mainspring.platform import plane as control_plane
from mainspring.platform.keys import service

_CHANGES = "/api/v1/key-changes"
_TAGS = ["keys"]


@get("/api/v1/keys", tags=_TAGS)
async def list_keys(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    after: FromQuery[str] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=500)] = 200,
) -> control.Page:
    """The keys that this control API knows of, by kind and id: of bundles their public halves, of payloads the ids."""
    return await service.read(plane, credential, after=after, limit=limit)


@post(_CHANGES, tags=_TAGS, status_code=202)
async def change_keys(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    data: JSONBody[keys.KeyChange],
) -> training.RunStatus:
    """Rotate keys, deny one that is compromised, or sign again what it signed. Role: admin of the platform."""
    return await service.change(plane, credential, data)


@get(_CHANGES + "/{change_id:str}", tags=_TAGS)
async def show_key_change(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    change_id: FromPath[str],
) -> training.RunStatus:
    """Where a change of keys is, or how it ended; of rotations of a kind the last one."""
    return await service.show(plane, credential, change_id)


@post(_CHANGES + "/{change_id:str}/events", tags=_TAGS)
async def report_key_event(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    change_id: FromPath[str],
    data: JSONBody[training.RunEvent],
) -> control.AuditView:
    """Put on record what a change of keys did; idempotent by `event_key`. Role: service."""
    return await service.report(plane, credential, change_id, data)


HANDLERS = (list_keys, change_keys, show_key_change, report_key_event)
