"""May a run begin by its project's quotas: asked in the transaction that lets it in, so that starts at once cannot pass one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from mainspring.core import errors
from mainspring.core.contracts import base, control, quotas
from mainspring.core.pipelines.store import PipelineStore
from mainspring.platform import plane as control_plane
from mainspring.platform.endpoints import store as endpoint_store
from mainspring.platform.metering import storage
from mainspring.platform.quotas import store
from mainspring.platform.runs import requests

#: Those that `ray.train_workers` work for.
_WORKED_FOR: Final = (control.RunKind.TRAIN, control.RunKind.TUNE, control.RunKind.SCORE)
#: Those that make no files: an endpoint has its bundle already.
_MAKES_NOTHING: Final = (control.RunKind.DEPLOY, *requests.ENDS)
_MIB: Final = 1 << 20
_WHAT: Final[Mapping[quotas.Quota, str]] = {
    quotas.Quota.OPEN_RUNS: "{used} runs that have not ended; wait for one, or cancel one",
    quotas.Quota.WORKERS: "none at work for this run, which takes {wanted}; ask for less",
    quotas.Quota.ENDPOINTS: "{used} endpoints; deploy to one of them, or take one out of service and delete it",
    quotas.Quota.STORAGE: "{used} MiB on disks; have its process `retention` remove what is old",
}


async def in_force(
    plane: control_plane.ControlPlane, connection: AsyncConnection, project: str
) -> dict[quotas.Quota, int | None]:
    """The project's own where it has one, else the platform's; None: no limit."""
    own = store.own(await store.find(connection, project))
    return {q: getattr(plane.quotas, q) if (mine := getattr(own, q)) is None else mine for q in quotas.Quota}


async def require(
    plane: control_plane.ControlPlane, connection: AsyncConnection, request: control.RunCreate
) -> None:
    """Errors: QuotaExceeded with what there is, what was wanted and the limit. What is in the way of no budget is in none here."""
    if request.kind in requests.ENDS:
        return
    limits = await in_force(plane, connection, request.project)
    for quota, limit in limits.items():
        if limit is None:
            continue  # nothing is counted for nobody
        used, wanted = await _asked(plane, connection, request, quota)
        _within(request.project, quota, limit, used, wanted)


async def require_room(plane: control_plane.ControlPlane, connection: AsyncConnection, project: str) -> None:
    """That the project may make files. Errors: QuotaExceeded."""
    quota = quotas.Quota.STORAGE
    if (limit := (await in_force(plane, connection, project))[quota]) is not None:
        _within(project, quota, limit, await stored_mib(connection, project), 1)


def _within(project: str, quota: quotas.Quota, limit: int, used: int, wanted: int) -> None:
    """Errors: QuotaExceeded."""
    if wanted and used + wanted > limit:
        raise errors.QuotaExceeded(
            f"project `{project}` may have {quota} {limit}, and has {_WHAT[quota].format(used=used, wanted=wanted)},"
            f" or ask an admin of the platform for `mainspring quota set {project}`",
            project=project,
            quota=str(quota),
            limit=limit,
            used=used,
            wanted=wanted,
        )


async def _asked(
    plane: control_plane.ControlPlane,
    connection: AsyncConnection,
    request: control.RunCreate,
    quota: quotas.Quota,
) -> tuple[int, int]:
    """What is taken, and what the run would take of it."""
    if quota is quotas.Quota.OPEN_RUNS:
        return await store.open_runs(connection, request.project, base.utc_now()), 1
    if quota is quotas.Quota.WORKERS:
        return 0, workers(plane, request)
    if quota is quotas.Quota.STORAGE:
        return await stored_mib(connection, request.project), int(request.kind not in _MAKES_NOTHING)
    claims = bool(request.endpoint) and request.kind not in requests.CLAIM_NOTHING
    is_new = claims and await endpoint_store.find(connection, request.endpoint) is None
    return await store.endpoints(connection, request.project), int(is_new)


async def stored_mib(connection: AsyncConnection, project: str) -> int:
    """As measured last, rounded up."""
    return -(-(await storage.find(connection, project)).total_bytes // _MIB)


def workers(plane: control_plane.ControlPlane, request: control.RunCreate) -> int:
    """Cores that a run takes: a deployment none. A pipeline that is not there takes none, and is refused as such."""
    if request.kind in _WORKED_FOR:
        return plane.train_workers
    if request.pipeline is None or plane.state_dir is None:
        return 0
    kept = PipelineStore.of(plane.state_dir, request.project)
    if not kept.has_pack(request.pipeline.pack):
        return 0
    nodes = kept.pack(request.pipeline.pack).graph.nodes
    return max((math.ceil(node.resources.cpus) for node in nodes if node.function), default=0)
