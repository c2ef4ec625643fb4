"""What the tuning job is told and what it answers: one JSON file each way. Imports no ray and no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

from mainspring.core import projects
from mainspring.core.contracts.base import Message
from mainspring.core.contracts.training import ModelChanges
from mainspring.core.contracts.tuning import Trial
from mainspring.workflows.ray_jobs import books, job_files, train_messages

__all__ = ["MODULE", "TuneOutput", "TuneSpec", "changed", "read_output", "read_spec"]

MODULE: Final = "mainspring.workflows.ray_jobs.tune"


class TuneSpec(Message):
    """One study. `base` says what all trials learn from, and has the model that each changes."""

    base: train_messages.TrainSpec
    """`num_workers`: trials at a time. `run_name`: a job with the name of an earlier one goes on with its trials."""
    trials: Annotated[tuple[ModelChanges, ...], Field(min_length=1)]
    grace_epochs: Annotated[int, Field(ge=1)] = 2
    max_cpu_seconds: Annotated[float, Field(gt=0)]
    book: books.Book | None = None
    """Where each process writes what it has used; None: nowhere."""


class TuneOutput(Message):
    """A finished study."""

    trials: tuple[Trial, ...]
    best: int
    is_cut_short: bool
    is_resumed: bool
    """An earlier job had begun it."""
    wall_seconds: float
    cpu_seconds: float
    """Of all trials, those of earlier jobs included."""


def changed(spec: projects.ModelSpec, changes: ModelChanges) -> projects.ModelSpec:
    """The model with these parameters."""
    return spec.model_copy(update=changes.model_dump(exclude_none=True))


def read_spec(path: Path) -> TuneSpec:
    """Errors: those of `job_files.read_spec`."""
    return job_files.read_spec(path, TuneSpec, "tuning")


def read_output(path: Path) -> TuneOutput:
    """Errors: those of `job_files.read_output`, the job's own among them."""
    return job_files.read_output(path, TuneOutput, "tuning")
