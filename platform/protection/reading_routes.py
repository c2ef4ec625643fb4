"""`/api/v1/projects/{project}/data-reads` and `/data-exports`: what is asked before data are read, and before they leave."""

from __future__ import annotations

from litestar import post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from mainspring.core.contracts import data_exports, data_reads
from mainspring.platform import plane as control_plane
from mainspring.platform.protection import exports, reading_service


@post("/api/v1/projects/{project:str}/data-reads", tags=["data protection"], status_code=200)
async def read_data(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    data: JSONBody[data_reads.DataRead],
) -> data_reads.DataReadView:
    """May these tables be read in that environment, before anything is made of them. Roles: service, developer, admin."""
    return await reading_service.read(plane, credential, project, data)


@post("/api/v1/projects/{project:str}/data-exports", tags=["data protection"], status_code=200)
async def export_data(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    data: JSONBody[data_exports.DataExport],
) -> data_exports.DataExportView:
    """May this leave for that place, before anything is written there. Roles: developer, service; of what is classified approver, admin."""
    return await exports.leave(plane, credential, project, data)


HANDLERS = (read_data, export_data)
