"""What starts a check of a served model against its baseline, and what it answers. Workflow type: `mainspring.CheckDrift.v1`."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from mainspring.core.contracts import monitoring, training
from mainspring.core.contracts.base import Fraction, Message, Slug

__all__ = ["CHECK_WORKFLOW", "DriftCheckOutcome", "DriftCheckRequest"]

CHECK_WORKFLOW: Final = "mainspring.CheckDrift.v1"


class DriftCheckRequest(Message):
    """Count what an endpoint answered, join what happened, judge the newest window, and put the report on record."""

    project: Slug
    endpoint: Slug
    environment: str = "dev"
    sample_fraction: Fraction = 1.0
    """Of the workspace whose training set tells what happened."""
    window_hours: Annotated[float, Field(ge=1, le=24 * 366)] = 168.0
    slices: Annotated[tuple[str, ...], Field(max_length=8)] = ()
    """Columns of strings by whose values everything is told apart. They are the baseline's: a bundle keeps those of its first check."""
    limits: monitoring.Limits | None = None
    """None: those of the project's alert rules."""
    html: bool = True
    """Is a full report left in HTML, of a sample of the window's rows."""
    retrain: bool = False
    """Do alarms of scores, calibration or ranking start RetrainOnDrift, which judges again and trains where it finds the same. Alerts
    whose rule says `retrain` start it in any case."""
    retrain_split: training.RollingDays | None = None
    """That training's split by time; see RetrainOnDrift."""
    cooldown_hours: Annotated[float, Field(ge=0)] = 24.0
    """Of RetrainOnDrift."""
    on_behalf_of: str = ""
    """Who put the schedule on record. The control API says so; it is no option of a schedule."""
    prompted_by: str = ""
    """Who asked for this check beside its times; the control API says so. What it starts is not his to decide on either."""


class DriftCheckOutcome(Message):
    """What was found and put on record."""

    project: Slug
    endpoint: Slug
    bundle_digest: str = ""
    rows: int = 0
    known: int = 0
    report_id: str = ""
    """Empty: there was nothing to report on, as `message` says."""
    alarms: tuple[str, ...] = ()
    alerts: tuple[str, ...] = ()
    """Ids of those that were raised or met again."""
    damaged: tuple[str, ...] = ()
    """Files of the prediction log that cannot be read."""
    run_id: str = ""
    """The training that was started."""
    message: str = ""
