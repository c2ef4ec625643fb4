"""`/api/v1/policies:reads`."""

from __future__ import annotations

from typing import Annotated

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter

from mainspring.core.contracts import control
from mainspring.platform import plane as control_plane
from mainspring.platform.decisions import service, store


@get("/api/v1/policies:reads", tags=["policies"])
async def list_read_decisions(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromQuery[str] = "",
    actor: FromQuery[str] = "",
    action: FromQuery[str] = "",
    denied: FromQuery[bool] = False,
    before: FromQuery[str] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=500)] = 100,
) -> control.Page:
    """What the policies answered about reads, newest first: counted by the hour, `denied` alone. As the audit log is read."""
    return await service.read(
        plane,
        credential,
        project=project,
        wanted=store.Wanted(actor, action, denied),
        before=before,
        limit=limit,
    )


HANDLERS = (list_read_decisions,)
