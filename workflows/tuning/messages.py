"""What a study says to its activities: one message in, one out, by name. The data steps are a training's."""

from __future__ import annotations

from typing import Any, Final

from mainspring.core.contracts.base import Message
from mainspring.core.contracts.training import ModelChanges, TrainRequest, UsageRecord
from mainspring.core.contracts.tuning import Trial, TuneRequest

__all__ = ["START", "TUNE", "Start", "Started", "Tuned", "data_request"]

TUNE: Final = "mainspring.tuning.tune.v1"
START: Final = "mainspring.tuning.start.v1"


class Tuned(Message):
    """A finished Ray job."""

    trials: list[Trial]
    best: int
    is_cut_short: bool
    detail: dict[str, Any] = {}
    usage: UsageRecord
    """Of CPU time."""
    more_usage: list[UsageRecord] = []
    """Of what else it used."""


class Start(Message):
    """Start a training with these parameters."""

    request: TuneRequest
    parameters: ModelChanges
    cause: str


class Started(Message):
    run_id: str


def data_request(request: TuneRequest) -> TrainRequest:
    """What the data steps are told: they make the study's training set and plan as a training's."""
    return TrainRequest(
        run_id=request.run_id,
        project=request.project,
        environment=request.environment,
        requested_by=request.requested_by,
        sample_fraction=request.sample_fraction,
        seed=request.seed,
        num_workers=request.num_workers,
        epochs=request.epochs,
    )
