"""Processes that run by the clock: what a project has scheduled, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationError

from mainspring.core import errors
from mainspring.core.contracts import base, drift_checks, idling, materialising, retention, retraining, skew

__all__ = [
    "GIVEN",
    "PROCESSES",
    "Process",
    "ScheduleCreate",
    "ScheduleView",
    "ScheduledOutcome",
    "ScheduledRun",
    "changed",
    "missing",
    "request_of",
    "schedule_id",
    "versioned",
]


class Process(StrEnum):
    """What can be scheduled. Only grows."""

    SKEW = "skew"
    RETRAIN = "retrain"
    RETENTION = "retention"
    MATERIALIZE = "materialize"
    STOP_IDLE = "stop-idle"
    DRIFT = "drift"


#: Workflow type and request of each process. A request has `project`, which comes from the schedule.
PROCESSES: Final[Mapping[Process, tuple[str, type[base.Message]]]] = {
    Process.SKEW: (skew.SKEW_WORKFLOW, skew.SkewRequest),
    Process.RETRAIN: (retraining.RETRAIN_WORKFLOW, retraining.RetrainRequest),
    Process.STOP_IDLE: (idling.STOP_IDLE_WORKFLOW, idling.StopIdleRequest),
    Process.RETENTION: (retention.RETENTION_WORKFLOW, retention.RetentionRequest),
    Process.MATERIALIZE: (materialising.MATERIALIZE_WORKFLOW, materialising.MaterializeRequest),
    Process.DRIFT: (drift_checks.CHECK_WORKFLOW, drift_checks.DriftCheckRequest),
}


class ScheduleCreate(base.Request):
    """One schedule of a project's process, made or changed to this."""

    every_minutes: Annotated[float, Field(gt=0, le=527_040)]
    """A run that is still at work when the next is due lets it pass by."""
    is_paused: bool = False
    request: dict[str, Any] = {}
    """The process's own options, such as `sample_fraction`; absent ones have their defaults."""
    cause: Annotated[str, Field(max_length=500)] = ""
    """Why, where a process puts it: the commit that wants it. It is on record, and no part of the schedule."""


class ScheduledRun(base.Message):
    """One execution; `run_id` is the Temporal workflow id."""

    run_id: str
    started_at: base.UtcTime


class ScheduleView(base.Message):
    """A schedule as the engine has it."""

    project: base.Slug
    process: Process
    every_minutes: float
    is_paused: bool
    request: dict[str, Any]
    on_behalf_of: str = ""
    """Who put it on record as it is, where it starts trainings: they are started in that name."""
    next_at: base.UtcTime | None = None
    """None while it is paused."""
    runs: tuple[ScheduledRun, ...] = ()
    """The last ten that were due, newest first."""
    version: str = ""
    """Of what was put, and not of what ran: its ETag, which a change names as `If-Match`."""


class ScheduledOutcome(base.Message):
    """Where an execution is, and what it answered or why it failed."""

    run_id: str
    state: Literal["running", "done", "failed", "cancelled"]
    result: dict[str, Any] = {}
    error: dict[str, Any] = {}
    """`errors.to_wire` of the failure, when there is one."""


def schedule_id(project: str, process: Process) -> str:
    """Each project has one schedule of a process."""
    return f"{process}-{project}"


def missing(project: str, process: Process) -> errors.NotFound:
    """What is said where a project has no schedule of a process."""
    return errors.NotFound(
        f"project `{project}` has no schedule of `{process}`; make one with `mainspring schedule put {project}"
        f" {process} --every-minutes 60`",
        resource="schedule",
        name=schedule_id(project, process),
    )


def changed(project: str, process: Process, current: str) -> errors.PreconditionFailed:
    """What is said where a schedule is not the one that somebody looked at; `current` is empty where there is none."""
    name = schedule_id(project, process)
    return errors.PreconditionFailed(
        f"schedule `{name}` was changed since; look at it again, then send its ETag",
        resource="schedule",
        name=name,
        current=current,
    )


def versioned(view: ScheduleView) -> ScheduleView:
    """The same with its version."""
    put = (
        view.project,
        str(view.process),
        view.every_minutes,
        view.is_paused,
        view.request,
        view.on_behalf_of,
    )
    return view.model_copy(update={"version": base.version_of(*put)})


#: Fields of a request that come from the schedule itself, or from who runs it beside its times.
GIVEN: Final = frozenset({"project", "on_behalf_of", "prompted_by", "alerts"})


def request_of(
    process: Process, project: str, options: Mapping[str, Any], *, put_by: str = ""
) -> base.Message:
    """The request that each run is started with, in the name of `put_by` where it starts something itself.

    Errors: InvalidRequest for an option that is none, or malformed.
    """
    _, kind = PROCESSES[process]
    known = sorted(set(kind.model_fields) - GIVEN)
    for name in options:
        if name not in known:
            raise errors.InvalidRequest(
                f"process `{process}` has no option `{name}`; it has {', '.join(f'`{n}`' for n in known)}",
                field=f"request.{name}",
            )
    try:
        # A message ignores what it does not know: only a process that starts something keeps the name.
        return kind.model_validate({**options, "project": project, "on_behalf_of": put_by})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(("request", *map(str, first["loc"])))
        raise errors.InvalidRequest(f"`{field}`: {first['msg'].lower()}", field=field) from error
