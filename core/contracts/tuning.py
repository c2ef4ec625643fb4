"""What starts a study of a model's parameters, and what it answers. Workflow type: `mainspring.TuneModel.v1`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import ConfigDict, Field, model_validator

from mainspring.core.contracts.base import Fraction, Message, Request, Slug
from mainspring.core.contracts.training import ModelChanges, Stage, StepReport

__all__ = ["TUNE_WORKFLOW", "SearchSpace", "Trial", "TrialState", "TuneOptions", "TuneRequest", "TuneResult"]

TUNE_WORKFLOW: Final = "mainspring.TuneModel.v1"


class SearchSpace(Message):
    """Where trials are drawn from. Of a range, both ends included; rates are drawn evenly by their logarithm."""

    learning_rate: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] | None = None
    """None: a tenth to ten times the project's own."""
    weight_decay: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (1e-6, 1e-2)
    dropout: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.0, 0.5)
    hidden_sizes: tuple[tuple[Annotated[int, Field(ge=1)], ...], ...] = ()
    """To choose from; none: the project's own always."""
    batch_rows: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """As `hidden_sizes`."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name in ("learning_rate", "weight_decay", "dropout"):
            bounds = getattr(self, name)
            if bounds is not None and bounds[0] > bounds[1]:
                raise ValueError(f"{name} goes from {bounds[0]} down to {bounds[1]}; give the smaller first")
        return self


class _GivenSpace(SearchSpace):
    """As people write it: a mistyped name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class TuneOptions(Request):
    """What whoever asks for a study may choose; see `TuneRequest`."""

    trials: Annotated[int, Field(ge=1, le=1000)] = 16
    """How many sets of parameters are tried; the first is the project's own."""
    space: _GivenSpace = _GivenSpace()
    grace_epochs: Annotated[int, Field(ge=1)] = 2
    """No trial is stopped for being worse than others before so many."""
    max_cpu_hours: Annotated[float, Field(gt=0)] = 2.0
    """Kept free in the project's budget, at the price of a core-hour, where the run says no `max_cost`."""
    train_best: bool = True
    """Start a training with the best parameters: a run of its own, with its own approval."""


class TuneRequest(Message):
    """One study: trials of a project's model on its training split, compared on its validation split."""

    run_id: str
    """As a training's."""
    project: Slug
    environment: str = "dev"
    requested_by: str
    sample_fraction: Fraction = 1.0
    seed: int = 20131231
    """Of the draw and of every trial, so that they differ by their parameters alone."""
    trials: Annotated[int, Field(ge=1, le=1000)] = 16
    """The first is the project's own model."""
    space: SearchSpace = SearchSpace()
    epochs: Annotated[int, Field(ge=1, le=1000)] | None = None
    """None: the project's own."""
    grace_epochs: Annotated[int, Field(ge=1)] = 2
    """No trial is stopped for being worse than others before so many."""
    num_workers: Annotated[int, Field(ge=1, le=256)] = 2
    """Trials at a time, each on one core."""
    max_cpu_hours: Annotated[float, Field(gt=0)] = 2.0
    """The study ends with what it has found when its trials have taken so many core-hours."""
    train_best: bool = True
    """Start a training with the best parameters: a run of its own, whose budget, gates, policy and approval hold as ever."""
    deploy_to: str = ""
    """As a training's; for the training of the best."""
    max_cost: Annotated[float, Field(gt=0)] | None = None
    """As a training's, of the study alone."""
    purpose: str = ""
    """What the study and the training of the best are for."""


class TrialState(StrEnum):
    """What became of a trial. Only grows."""

    DONE = "done"
    STOPPED = "stopped"
    """It was among the worse ones, or its validation did not rise any more."""
    FAILED = "failed"
    NOT_RUN = "not_run"
    """The study's core-hours were spent before its first epoch."""


class Trial(Message):
    """One set of parameters, and how it did."""

    number: int
    parameters: ModelChanges
    state: TrialState
    valid_auc: float | None = None
    """Of its best epoch; None for one that failed or did not run."""
    epochs: int = 0
    cpu_seconds: float = 0.0
    error: str = ""


class TuneResult(Message):
    """Answer of the workflow."""

    run_id: str
    stage: Stage
    """`done`; a study that fails or is cancelled ends with an error."""
    trials: list[Trial] = []
    best: int = -1
    """Its number."""
    parameters: ModelChanges = ModelChanges()
    """The best trial's."""
    is_cut_short: bool = False
    """`max_cpu_hours` ended it."""
    training_run_id: str = ""
    """The training of the best, if one was started."""
    steps: list[StepReport] = []
    message: str = ""
