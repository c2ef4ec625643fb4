"""What leaves the platform in bulk: asked of the policies with what may be in it, where it goes and why."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core.contracts import control, masking
from mainspring.core.protection import exporting, reading
from mainspring.platform import access
from mainspring.platform import plane as control_plane
from mainspring.platform.policies import questions
from mainspring.platform.protection import reading_service


async def asked(
    plane: control_plane.ControlPlane, connection: AsyncConnection, request: control.RunCreate
) -> tuple[access.Target, ...]:
    """What else the policies are asked about a run that writes rows outside of `control.export_places`; nothing for any other.

    Which columns its input has is known when it is read. Until then it has the strictest of the project's.
    """
    places = tuple(one for one in plane.control.export_places.split(",") if one)
    if request.score is None or not places or exporting.is_inside(request.score.output, places):
        return ()
    known = await reading_service.known(connection, request.project)
    found = {
        f"{entry}.{column}": cls
        for entry, columns in sorted(known.items())
        for column, cls in sorted(columns.items())
        if cls in masking.CLASSES
    }
    target = access.project(
        request.project,
        request.environment,
        environment=request.environment[: questions.MAX_CHARACTERS],
        classification=reading.strictest(*found.values()),
        columns=", ".join(found)[: questions.MAX_CHARACTERS],
        destination=request.score.output[: questions.MAX_CHARACTERS],
        purpose=request.score.purpose.strip()[: questions.MAX_CHARACTERS],
    )
    return (access.by(target, action="data.export"),)
