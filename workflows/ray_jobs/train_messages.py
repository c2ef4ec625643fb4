"""What the training job is told and what it answers: one JSON file each way. Imports no ray and no torch."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field, ValidationError

from mainspring.core import errors, projects
from mainspring.core.contracts.base import Message

MODULE: Final = "mainspring.workflows.ray_jobs.train"

_ERROR: Final = "error"


class TrainSpec(Message):
    """One training. All paths are absolute, and every worker can read and write them."""

    training_set: Path
    """One Parquet file: the plan's input columns, the label, and `split` with `train`, `valid` and `test`."""
    plan: Path
    """A fitted plan, as `FittedPlan.to_bytes` wrote it."""
    label: str
    """The column of 0 and 1."""
    model_spec: projects.ModelSpec
    num_workers: Annotated[int, Field(ge=1)] = 2
    """They share each batch of `model_spec.batch_rows`, so that their number does not change what a step sees."""
    epochs: Annotated[int, Field(ge=1)] | None = None
    """None: the model spec's."""
    seed: int
    """In the place of the model spec's."""
    run_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """A job with the name of an earlier one goes on from its last checkpoint."""
    storage_path: Path
    """Checkpoints are kept under `storage_path/run_name`."""
    out_dir: Path
    """Where weights and predictions are written."""

    @property
    def model(self) -> projects.ModelSpec:
        """The model spec with this run's seed and epochs."""
        return self.model_spec.model_copy(
            update={"seed": self.seed, "epochs": self.epochs or self.model_spec.epochs}
        )


class Epoch(Message):
    """One finished epoch of the candidate, counted from 0."""

    epoch: int
    train_loss: float
    """Mean log loss over all workers."""
    valid_auc: float


class TrainOutput(Message):
    """A finished training."""

    weights_path: Path
    baseline_weights_path: Path
    architecture: dict[str, Any]
    """`core.models.network.Architecture` as JSON."""
    baseline_architecture: dict[str, Any]
    predictions_path: Path
    """Parquet: `split`, `label`, `score`, `baseline_score`; the rows of `valid` and `test` in the training set's order."""
    epochs: tuple[Epoch, ...]
    best_epoch: int
    """Its weights are the ones kept."""
    resumed_epochs: int = 0
    """How many of the epochs came out of an earlier job's checkpoint."""
    wall_seconds: float
    """Of this job, without the imports of its first two seconds."""
    cpu_seconds: float
    """CPU time of all workers, those of earlier jobs up to the checkpoint included."""
    num_workers: int


def read_spec(path: Path) -> TrainSpec:
    """Errors: NotFound if there is no such file; InvalidRequest naming the first wrong field."""
    try:
        return TrainSpec.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise errors.NotFound(
            f"training spec `{path}` does not exist; write it before the job is submitted",
            resource="training spec",
            name=str(path),
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise errors.InvalidRequest(
            f"training spec `{path}` is wrong at `{field}`: {first['msg']}; write it with `TrainSpec`",
            field=field,
        ) from error


def write_output(path: Path, answer: TrainOutput | errors.MainspringError) -> None:
    """The answer or the error as JSON, whole or not at all."""
    value = (
        {_ERROR: errors.to_wire(answer)}
        if isinstance(answer, errors.MainspringError)
        else answer.model_dump(mode="json")
    )
    write_file(path, json.dumps(value, indent=1).encode())


def read_output(path: Path) -> TrainOutput:
    """What :func:`write_output` wrote.

    Errors: the job's own error, rebuilt; NotFound if the job left no answer; CorruptArtifact if it is not one.
    """
    try:
        value = json.loads(path.read_bytes())
        if isinstance(value, dict) and isinstance(value.get(_ERROR), dict):
            raise errors.from_wire(value[_ERROR])
        return TrainOutput.model_validate(value)
    except FileNotFoundError as error:
        raise errors.NotFound(
            f"the training left no answer at `{path}`; it was stopped or its machine was lost: submit it again",
            resource="training output",
            name=str(path),
        ) from error
    except ValueError as error:
        raise errors.CorruptArtifact(
            f"`{path}` is no answer of a training: {error}; submit it again",
            artifact=str(path),
            expected="TrainOutput as JSON",
            got=str(error),
        ) from error


def write_file(path: Path, data: bytes) -> None:
    """Durable, and whole or not at all: a temporary file, fsync, rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        with new.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
