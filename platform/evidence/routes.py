"""`/api/v1/projects/{project}/evidence`."""

from __future__ import annotations

from litestar import post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from mainspring.core.contracts import evidence
from mainspring.platform import plane as control_plane
from mainspring.platform.evidence import service


@post("/api/v1/projects/{project:str}/evidence", tags=["evidence"], status_code=200)
async def export_evidence(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromPath[str],
    data: JSONBody[evidence.EvidenceCreate],
) -> evidence.EvidencePack:
    """What is on record of a model and a time, as a signed zip file that is verified offline. Roles: approver, admin."""
    return await service.export(plane, credential, project, data)


HANDLERS = (export_evidence,)
