"""What the training job is told and what it answers: one JSON file each way. Imports no ray and no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, model_validator

from mainspring.core import projects
from mainspring.core.contracts import progress
from mainspring.core.contracts.base import Message
from mainspring.core.contracts.training import Stage
from mainspring.core.models import manifest
from mainspring.workflows.ray_jobs import books, job_files

MODULE: Final = "mainspring.workflows.ray_jobs.train"


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
    min_workers: Annotated[int, Field(ge=1)] | None = None
    """Elastic: begin with what there is room for, down to so many; go on with fewer when a node is lost, and with more when
    one comes. None: `num_workers`, or wait."""
    device: Literal["cpu", "gpu"] = "cpu"
    """`gpu`: one for each worker, whose gradients travel by NCCL; by gloo without."""
    epochs: Annotated[int, Field(ge=1)] | None = None
    """None: the model spec's."""
    seed: int
    """In the place of the model spec's."""
    run_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """A job with the name of an earlier one goes on from its last checkpoint."""
    storage_path: Path
    """Checkpoints are kept under `storage_path/run_name`."""
    storage_uri: str = ""
    """`s3://bucket/prefix`, for checkpoints instead of `storage_path`; credentials are those of the process (`AWS_*`)."""
    checkpoint_steps: Annotated[int, Field(ge=1)] | None = None
    """A checkpoint after so many steps of an epoch, and after each epoch; None: after epochs only."""
    out_dir: Path
    """Where weights and predictions are written."""
    progress: Path | None = None
    """Where `StepProgress` is written, again and again; None: nowhere."""
    project: str = ""
    """Whose own `train` makes the model (`core.trainers`); empty: ours, and a network."""
    book: books.Book | None = None
    """Where each process writes what it has used; None: nowhere."""

    @model_validator(mode="after")
    def _has_room_to_shrink(self) -> Self:
        if self.min_workers is not None and self.min_workers > self.num_workers:
            raise ValueError(f"min_workers {self.min_workers} is above num_workers {self.num_workers}")
        return self

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
    """`core.models.network.Architecture` as JSON; of another kind of model what its `model.json` says."""
    baseline_architecture: dict[str, Any]
    kind: manifest.Kind = "embedding_mlp"
    baseline_kind: manifest.Kind = "embedding_mlp"
    predictions_path: Path
    """Parquet: `split`, `label`, `score`, `baseline_score`; the rows of `valid` and `test` in the training set's order."""
    epochs: tuple[Epoch, ...]
    best_epoch: int
    """Its weights are the ones kept."""
    resumed_epochs: int = 0
    """How many of the epochs came out of an earlier job's checkpoint."""
    resumed_rows: int = 0
    """How many rows of the epoch after those came out of it as well."""
    wall_seconds: float
    """Of this job, without the imports of its first two seconds."""
    cpu_seconds: float
    """CPU time of all workers, those of earlier jobs up to the checkpoint included."""
    num_workers: int
    """Of the workers that ended it; an elastic training may have had others before."""

    @property
    def is_resumed(self) -> bool:
        """It went on from an earlier job's checkpoint."""
        return self.resumed_epochs > 0 or self.resumed_rows > 0


def tell(spec: TrainSpec, epochs: int, *, rows: int = 0, checkpoint: str = "", message: str = "") -> None:
    """How far the candidate is: so many epochs, and so many rows of the next one; where that is kept."""
    part = f"{rows} rows of the next" if rows else ""
    job_files.tell(
        spec.progress,
        progress.StepProgress(
            step=Stage.TRAIN,
            done=epochs,
            of=spec.model.epochs,
            unit=progress.EPOCH,
            checkpoint=checkpoint,
            message=message or part,
        ),
    )


def told(spec: TrainSpec) -> progress.StepProgress | None:
    """What the job told last, or one of its name before it; None: nothing yet."""
    return None if spec.progress is None else job_files.told(spec.progress, progress.StepProgress)


def read_spec(path: Path) -> TrainSpec:
    """Errors: those of `job_files.read_spec`."""
    return job_files.read_spec(path, TrainSpec, "training")


def read_output(path: Path) -> TrainOutput:
    """Errors: those of `job_files.read_output`, the job's own among them."""
    return job_files.read_output(path, TrainOutput, "training")
