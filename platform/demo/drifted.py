"""A model that no longer holds in the last months: the scheduled check says so, and starts the training that follows it."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import polars as pl

from mainspring.core import errors
from mainspring.core.client import control as control_client
from mainspring.core.contracts import control, retraining, schedules, training
from mainspring.core.monitoring import predictions
from mainspring.platform.demo import scheduled, summary

__all__ = ["check", "told", "wait_for_log"]

#: A month each, of the three that are replayed: a week has too few of a thousand flights to judge by.
_OPTIONS: Final[dict[str, Any]] = {
    "window_days": 30.5,
    "windows": 3,
    "split": {"test_days": 14, "valid_days": 14},
    "cooldown_hours": 0.0,  # the demo is run again within the day, too
}
_EVERY_MINUTES: Final = 1440.0
#: Serving writes its log every half minute.
_LOG_SECONDS: Final = 90.0
_LOOK_SECONDS: Final = 0.5


def wait_for_log(folder: Path, endpoint: str, *, since: datetime, until: datetime, at_least: int) -> None:
    """Until what was answered in that time is in the prediction log. Errors: DeadlineExceeded."""
    deadline = time.monotonic() + _LOG_SECONDS
    while (found := _logged(folder, endpoint, since, until)) < at_least:
        if time.monotonic() > deadline:
            raise errors.DeadlineExceeded(
                f"{found} of {at_least} predictions are in the log after {_LOG_SECONDS:.0f} s; see serving's log",
                stage="prediction log",
            )
        time.sleep(_LOOK_SECONDS)


def _logged(folder: Path, endpoint: str, since: datetime, until: datetime) -> int:
    try:
        found = predictions.scan(folder, endpoint=endpoint, since=since, until=until)
    except errors.NotFound:
        return 0
    return int(found.select(pl.len()).collect().item())


def check(
    developer: control_client.ControlClient, project: str, endpoint: str, sample_fraction: float
) -> retraining.RetrainOutcome:
    """Put the check on the clock, and run it once now. What it started goes on by itself. Errors: the check's own."""
    request = {**_OPTIONS, "endpoint": endpoint, "sample_fraction": sample_fraction}
    wanted = schedules.ScheduleCreate(every_minutes=_EVERY_MINUTES, request=request)
    scheduled.put(developer, project, schedules.Process.RETRAIN, wanted)
    found = scheduled.run_once(developer, project, schedules.Process.RETRAIN)
    return retraining.RetrainOutcome.model_validate(found)


def told(outcome: retraining.RetrainOutcome, ended: control.RunView | None) -> summary.Drifted:
    """What came of it, for the report; `ended` is the training's last view."""
    found = summary.Drifted(
        predictions=outcome.predictions,
        known=outcome.known,
        alarms=list(outcome.alarms),
        message=outcome.message,
    )
    if ended is None:
        return found
    result = training.TrainResult.model_validate(ended.result)
    return found.model_copy(
        update={
            "run_id": ended.run_id,
            "requested_by": ended.requested_by,
            "on_behalf_of": ended.on_behalf_of,
            "approved_by": next((str(s.detail["by"]) for s in result.steps if "by" in s.detail), ""),
            "metrics": {name: m for name, m in result.metrics.items() if name.startswith("test")},
            "model_version": result.bundle_digest or "",
            "seconds": sum(step.seconds for step in result.steps),
        }
    )
