"""`/api/v1/projects/{project}/data-reads`."""

from __future__ import annotations

from litestar import post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from mainspring.core.contracts import data_reads
from mainspring.platform import plane as control_plane
from mainspring.platform.protection import reading_service


@post("/api/v1/projects/{project:str}/data-reads", tags=["data protection"], status_code=200)
async def read_data(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    data: JSONBody[data_reads.DataRead],
) -> data_reads.DataReadView:
    """May these tables be read in that environment, before anything is made of them. Roles: service, developer, admin."""
    return await reading_service.read(plane, credential, project, data)


HANDLERS = (read_data,)
