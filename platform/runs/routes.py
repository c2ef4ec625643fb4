"""`/api/v1/runs`."""

from __future__ import annotations

from typing import Annotated

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from mainspring.core.contracts import canaries, control, run_logs, training
from mainspring.platform import plane as control_plane
from mainspring.platform.http import versions
from mainspring.platform.runs import job_logs, resuming, service, steering


@post("/api/v1/runs", tags=["runs"])
async def create_run(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    data: JSONBody[control.RunCreate],
) -> control.RunView:
    """Start a training, a deployment or a batch scoring; idempotent by `idempotency_key`."""
    return await service.create(plane, credential, data)


@get("/api/v1/runs", tags=["runs"])
async def list_runs(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    project: FromQuery[str] = "",
    only_open: Annotated[bool, QueryParameter(name="open")] = False,
    before: FromQuery[str] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=200)] = 50,
) -> control.Page:
    """Runs, newest first; `open`: those alone that have not ended."""
    return await service.read(
        plane, credential, project=project, only_open=only_open, before=before, limit=limit
    )


@get("/api/v1/runs/{run_id:str}", tags=["runs"])
async def show_run(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    run_id: FromPath[str],
) -> Response[control.RunView]:
    """One run with its present status and cost."""
    found = await service.show(plane, credential, run_id)
    return versions.tagged(found, found.version)


@get("/api/v1/runs/{run_id:str}/logs", tags=["runs"])
async def show_run_log(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    run_id: FromPath[str],
    job: FromQuery[str] = "",
    start: Annotated[int, QueryParameter(ge=-1)] = -1,
    limit: Annotated[int, QueryParameter(ge=1, le=5000)] = 500,
) -> run_logs.RunLog:
    """Lines of a job of the run, as Ray has them or as they were kept when it ended, without credentials: from number `start` on, or
    the last ones."""
    return await job_logs.show(plane, credential, run_id, job=job, start=start, limit=limit)


@post("/api/v1/runs/{run_id:str}/decision", tags=["runs"], status_code=200)
async def decide_run(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    run_id: FromPath[str],
    data: JSONBody[control.DecisionCreate],
    if_match: versions.IfMatch = "",
) -> Response[control.RunView]:
    """Approve or reject a waiting run, as it was looked at where `If-Match` says so. Role: approver."""
    found = await service.decide(plane, credential, run_id, data, if_match=if_match)
    return versions.tagged(found, found.version)


@post("/api/v1/runs/{run_id:str}/cancel", tags=["runs"], status_code=200)
async def cancel_run(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    run_id: FromPath[str],
    if_match: versions.IfMatch = "",
) -> Response[control.RunView]:
    """Ask a run to stop."""
    found = await service.cancel(plane, credential, run_id, if_match=if_match)
    return versions.tagged(found, found.version)


@post("/api/v1/runs/{run_id:str}/resume", tags=["runs"], status_code=200)
async def resume_run(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    run_id: FromPath[str],
    data: JSONBody[control.ResumeCreate],
    if_match: versions.IfMatch = "",
) -> Response[control.RunView]:
    """A run that failed goes on from what it has, under its id; `max_cost` is what it may cost in all."""
    found = await resuming.resume(plane, credential, run_id, data, if_match=if_match)
    return versions.tagged(found, found.version)


@get("/api/v1/runs/{run_id:str}/canary", tags=["runs"])
async def show_canary(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    run_id: FromPath[str],
) -> Response[canaries.CanaryView]:
    """The canary that the run's deployment judges now, and who paused it; `percent` 0: none."""
    found = await steering.show(plane, credential, run_id)
    return versions.tagged(found, found.version)


@post("/api/v1/runs/{run_id:str}/canary", tags=["runs"], status_code=200)
async def steer_canary(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    run_id: FromPath[str],
    data: JSONBody[canaries.CanaryCreate],
    if_match: versions.IfMatch = "",
) -> Response[canaries.CanaryView]:
    """Pause, resume, promote or abort it, as it was looked at where `If-Match` says so. Past a gate: role approver."""
    found = await steering.steer(plane, credential, run_id, data, if_match=if_match)
    return versions.tagged(found, found.version)


@post("/api/v1/runs/{run_id:str}/events", tags=["runs"])
async def report_event(
    plane: NamedDependency[control_plane.ControlPlane],
    credential: NamedDependency[str],
    run_id: FromPath[str],
    data: JSONBody[training.RunEvent],
) -> control.AuditView:
    """Put on record what a workflow did; idempotent by `event_key`. Role: service."""
    return await service.report(plane, credential, run_id, data)


HANDLERS = (
    create_run,
    list_runs,
    show_run,
    show_run_log,
    decide_run,
    cancel_run,
    resume_run,
    show_canary,
    steer_canary,
    report_event,
)
