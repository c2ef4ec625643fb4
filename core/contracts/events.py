"""What is told of the audit log as it grows: who did what to which thing, without how."""

from __future__ import annotations

from typing import Final

from mainspring.core.contracts.base import Message, UtcTime
from mainspring.core.contracts.progress import StepProgress
from mainspring.core.contracts.training import Stage

__all__ = ["ENDPOINT", "RECORD", "STAGE", "EventView", "RunStage"]

#: Names of server-sent events: something went on record; a run is at another stage, or tells of another step; an endpoint has other
#: traffic, or has answered more (a `control.EndpointLive`).
RECORD: Final = "record"
STAGE: Final = "stage"
ENDPOINT: Final = "endpoint"


class EventView(Message):
    """A row of the log without its detail. `sequence` is its number, and where a watcher goes on."""

    sequence: int
    at: UtcTime
    actor: str
    action: str
    resource: str
    outcome: str


class RunStage(Message):
    """Where a run that is watched is by now. Not on record: stages that are have an event of their own."""

    run_id: str
    stage: Stage
    progress: float = 0.0
    message: str = ""
    step_progress: list[StepProgress] = []
    """As in a run's status."""
