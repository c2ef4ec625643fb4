"""Scheduled processes: put on the clock, and run once now. The skew check runs over what serving recorded of the demo's reads."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any, Final

from mainspring.core import errors
from mainspring.core.client import control as control_client
from mainspring.core.contracts import schedules, skew

_SKEW: Final = schedules.Process.SKEW
_EVERY_MINUTES: Final = 60.0
#: Serving writes what it recorded every ten seconds; a check takes one or two.
_TIMEOUT_SECONDS: Final = 120.0
_POLL_SECONDS: Final = 0.25
_AGAIN_SECONDS: Final = 3.0


def check_skew(
    developer: control_client.ControlClient,
    project: str,
    sample_fraction: float,
    *,
    since: datetime,
    at_least: int,
) -> skew.SkewOutcome:
    """What the check finds once `at_least` rows that were read since then are on record; it stays scheduled.

    A deployment's canary asks a store that has no features yet in the demo: before `since`, what was served is missing.
    Errors: the check's own; DeadlineExceeded if the reads do not come on record.
    """
    options = {"sample_fraction": sample_fraction, "since": since.isoformat()}
    wanted = schedules.ScheduleCreate(every_minutes=_EVERY_MINUTES, request=options)
    put(developer, project, _SKEW, wanted)
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while (found := _skew_once(developer, project)).rows + found.later_rows < at_least:
        _wait(deadline, f"{found.rows} of {at_least} reads are on record", _AGAIN_SECONDS)
    return found


def put(
    developer: control_client.ControlClient,
    project: str,
    process: schedules.Process,
    wanted: schedules.ScheduleCreate,
) -> None:
    """Scheduled as it is wanted, whether it is there already or not. Errors: PreconditionFailed if somebody changes it meanwhile."""
    try:
        version = developer.schedule(project, process).version
    except errors.NotFound:
        version = ""
    developer.put_schedule(project, process, wanted, version=version)


def _skew_once(developer: control_client.ControlClient, project: str) -> skew.SkewOutcome:
    return skew.SkewOutcome.model_validate(run_once(developer, project, _SKEW))


def run_once(
    developer: control_client.ControlClient, project: str, process: schedules.Process
) -> dict[str, Any]:
    """What a scheduled process answers when it is run now. Errors: its own; DeadlineExceeded."""
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    run = developer.run_schedule(project, process)
    while (run := developer.scheduled_run(project, process, run.run_id)).state == "running":
        _wait(deadline, f"`{run.run_id}` still runs")
    if run.state != "done":
        raise errors.from_wire(run.error)
    return run.result


def _wait(deadline: float, where: str, seconds: float = _POLL_SECONDS) -> None:
    if time.monotonic() >= deadline:
        raise errors.DeadlineExceeded(
            f"a scheduled process is not done in {_TIMEOUT_SECONDS:.0f} s: {where}; see the worker's log",
            stage="schedule",
        )
    time.sleep(seconds)
