"""What starts a check of a served model against what happened, and what it answers. Workflow type: `mainspring.RetrainOnDrift.v1`."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from mainspring.core.contracts import performance, training
from mainspring.core.contracts.base import Fraction, Message, Slug

__all__ = ["RETRAIN_WORKFLOW", "RetrainOutcome", "RetrainRequest"]

RETRAIN_WORKFLOW: Final = "mainspring.RetrainOnDrift.v1"


class RetrainRequest(Message):
    """Hold the logged predictions of an endpoint against what happened; train anew where the newest window is an alarm."""

    project: Slug
    endpoint: Slug
    environment: str = "dev"
    sample_fraction: Fraction = 1.0
    """Of the workspace whose training set tells what happened, and of the training that is started."""
    window_days: Annotated[float, Field(gt=0, le=366)] = 7.0
    windows: Annotated[int, Field(ge=1, le=520)] = 8
    """How many are looked at, back from the last prediction."""
    limits: performance.Limits = performance.Limits()
    split: training.RollingDays | None = None
    """The training's split by time, which ends at the newest prediction with an alarm. None: the project's own split, which
    stands still: what has drifted since is then in none of its training rows."""
    cooldown_hours: Annotated[float, Field(ge=0)] = 24.0
    """A training with a cause that began within these is not followed by another."""
    on_behalf_of: str = ""
    """Who put the schedule on record. The control API says so; it is no option of a schedule."""
    prompted_by: str = ""
    """Who asked for this check beside its times; the control API says so. What it starts is not his to decide on either."""
    alerts: tuple[str, ...] = ()
    """Ids of the alerts whose rule asks for it; a check says so, and it is no option of a schedule."""


class RetrainOutcome(Message):
    """What was found and what was done about it."""

    project: Slug
    endpoint: Slug
    bundle_digest: str
    """Which was judged: the one that gave the newest prediction."""
    predictions: int
    known: int
    """Of these, how many have an outcome."""
    alarms: tuple[str, ...] = ()
    run_id: str = ""
    """The training that was started, or one that was on its way; empty: none was needed, or none is due yet."""
    message: str = ""
