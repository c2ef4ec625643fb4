"""`/healthz`: the process answers. `/readyz`: so does its database."""

from __future__ import annotations

import sqlalchemy as sa
from litestar import get
from litestar.di import NamedDependency
from sqlalchemy import exc

from mainspring.core import errors
from mainspring.platform import plane as control_plane


@get("/healthz", tags=["health"])
async def healthz() -> dict[str, str]:
    """Is the process alive."""
    return {"status": "ok"}


@get("/readyz", tags=["health"])
async def readyz(plane: NamedDependency[control_plane.ControlPlane]) -> dict[str, str]:
    """Can it answer requests. `degraded`: it does, and audit checkpoints are late."""
    try:
        async with plane.database.read() as connection:
            await connection.execute(sa.text("SELECT count(*) FROM projects"))
    except exc.SQLAlchemyError as error:
        raise errors.DependencyDown(
            "the control database does not answer; look at `control.database_url`", name="database"
        ) from error
    try:
        if plane.checkpointer is not None:
            plane.checkpointer.require_timely()
    except errors.DependencyDown as late:
        return {"status": "degraded", "audit": late.message}
    return {"status": "ready"}


HANDLERS = (healthz, readyz)
