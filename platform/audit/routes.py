"""`/api/v1/audit`: pages of the log, and its verification."""

from __future__ import annotations

from typing import Annotated

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.response import Stream

from mainspring.core.contracts import control
from mainspring.platform import plane as control_plane
from mainspring.platform.audit import proofs, service, store


@get("/api/v1/audit", tags=["audit"])
async def list_audit(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    actor: FromQuery[str] = "",
    action: FromQuery[str] = "",
    resource: FromQuery[str] = "",
    outcome: FromQuery[str] = "",
    newest: FromQuery[bool] = False,
    after: FromQuery[str] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=500)] = 100,
) -> control.Page:
    """The audit log, oldest first; with `newest` the other way round. Filters are exact."""
    wanted = store.Wanted(actor, action, resource, outcome)
    return await service.read(plane, credential, wanted, newest=newest, after=after, limit=limit)


@get("/api/v1/audit:verify", tags=["audit"])
async def verify_audit(
    plane: NamedDependency[control_plane.ControlPlane], credential: NamedDependency[str]
) -> service.Verification:
    """Recompute the hash chain."""
    return await service.verify(plane, credential)


@get("/api/v1/audit/{sequence:int}/proof", tags=["audit"])
async def prove_audit(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    sequence: FromPath[int],
    since: Annotated[int, QueryParameter(ge=0)] = 0,
) -> proofs.Proof:
    """That this row is in the log, without the others: the row, its path in the Merkle tree, and a signed checkpoint that is taken now.

    For whoever may read the row. With `since` also what shows that the log only grew since it had that many rows.
    """
    return await service.prove(plane, credential, sequence, since=since)


@get("/api/v1/audit:export", tags=["audit"], media_type="application/x-ndjson")
async def export_audit(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromQuery[str] = "",
    after: Annotated[int, QueryParameter(ge=0)] = 0,
) -> Stream:
    """The whole log, up to a checkpoint that is taken now, as `mainspring audit verify --export` reads it.

    With `project` its rows alone, chained among themselves, and a signed statement of where they end. With `after` what follows that row
    of the whole log: what an archive has not yet.
    """
    return Stream(
        await service.export(plane, credential, project, after=after), media_type="application/x-ndjson"
    )


HANDLERS = (list_audit, verify_audit, prove_audit, export_audit)
