"""What each worker of a training runs: candidate, then baseline, then, on rank 0, predictions and files.

Every worker visits its share of each batch, and all of them see every gradient (DDP, over gloo or NCCL). An error that one
worker meets is told to all in the next exchange, so that nobody waits for somebody who has left.
"""

from __future__ import annotations

import io
import json
import math
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import ray
import ray.train
import ray.train.torch
import torch
import torch.distributed
from torch.nn.parallel import DistributedDataParallel

from mainspring.core import errors, projects
from mainspring.core.models import network, training
from mainspring.workflows.ray_jobs import books, job_files, train_data, train_messages

WEIGHTS: Final = "weights.safetensors"
BASELINE_WEIGHTS: Final = "baseline_weights.safetensors"
PREDICTIONS: Final = "predictions.parquet"

_PROGRESS: Final = "progress.pt"
_STATE: Final = "state.json"


@dataclass(frozen=True)
class Job:
    """What the driver hands to each worker."""

    spec: train_messages.TrainSpec
    architecture: network.Architecture
    identity: str
    """A digest of everything that decides the weights: a checkpoint of another training is refused."""
    parts: Mapping[str, ray.ObjectRef[train_data.Part]]


def run(config: Mapping[str, Any]) -> dict[str, Any]:
    """The loop of one worker. Returns the fields of `TrainOutput` that the workers know, or `{"error": wire}`.

    An error of ours is an answer and not an exception: Ray would start the workers again after an exception, and
    the same data would fail in the same way.
    """
    torch.set_num_threads(1)  # Ray leaves torch all cores of the host, for each worker.
    job: Job = config["job"]
    with books.keeping(job.spec.book):
        try:
            return _train(job)
        except errors.MainspringError as error:
            return {"error": errors.to_wire(error)}


def _train(job: Job) -> dict[str, Any]:
    spec, context = job.spec, ray.train.get_context()
    device = ray.train.torch.get_device()
    parts = {name: ray.get(ref) for name, ref in job.parts.items()}
    examples = {
        name: training.Examples.of(part.inputs, part.labels, str(device)) for name, part in parts.items()
    }
    before = _Checkpoint.load(job.identity)
    group = _Group(context.get_world_rank(), context.get_world_size(), spec.book)

    def keep(progress: training.Progress) -> None:
        spent = before.cpu_seconds + group.total(time.process_time())
        _Checkpoint(job.identity, progress.to_bytes(), spent).save(progress, group.rank)
        if group.rank == 0:
            _tell(spec, progress)
        if group.total(float(group.is_to_stop)):
            # All of them, or those that train on would wait for those that do not. Whoever asked knows why.
            raise errors.JobFailed(
                f"stopped as asked {_where(progress)}; it goes on from there", status="stopped"
            )

    def keep_epoch(progress: training.Progress) -> None:
        last = progress.epochs[-1]
        if group.rank == 0:
            print(
                f"epoch {last.epoch}: training loss {last.loss:.4f}, validation auc {last.valid_auc:.4f}",
                flush=True,
            )
        keep(progress)

    resume = training.Progress.from_bytes(before.progress) if before.progress else None
    if group.rank == 0:
        _tell(spec, resume)
    candidate = network.EmbeddingMlp(job.architecture, seed=spec.seed).to(device)
    report = group.fit(
        candidate,
        examples,
        spec.model,
        resume=resume,
        on_epoch=keep_epoch,
        every_steps=spec.checkpoint_steps,
        on_steps=keep,
    )
    if group.rank == 0:
        train_messages.tell(
            spec, len(report.epochs), checkpoint=_pointer(spec), message="its baseline is trained"
        )
    baseline = network.EmbeddingMlp(job.architecture.baseline(), seed=spec.seed).to(device)
    group.fit(baseline, examples, spec.model)
    if group.rank == 0:
        _write_results(spec, parts, examples, candidate, baseline)
    return {
        "weights_path": str(spec.out_dir / WEIGHTS),
        "baseline_weights_path": str(spec.out_dir / BASELINE_WEIGHTS),
        "architecture": candidate.architecture.model_dump(mode="json"),
        "baseline_architecture": baseline.architecture.model_dump(mode="json"),
        "predictions_path": str(spec.out_dir / PREDICTIONS),
        "epochs": [{"epoch": e.epoch, "train_loss": e.loss, "valid_auc": e.valid_auc} for e in report.epochs],
        "best_epoch": report.best_epoch,
        "resumed_epochs": len(resume.epochs) if resume else 0,
        "resumed_rows": resume.partial.rows if resume and resume.partial else 0,
        "cpu_seconds": before.cpu_seconds + group.total(time.process_time()),
        "num_workers": group.size,
    }


def _tell(spec: train_messages.TrainSpec, progress: training.Progress | None) -> None:
    """For whoever watches; None: at the beginning."""
    if progress is None:
        train_messages.tell(spec, 0)
        return
    rows = progress.partial.rows if progress.partial else 0
    train_messages.tell(spec, len(progress.epochs), rows=rows, checkpoint=_pointer(spec))


def _pointer(spec: train_messages.TrainSpec) -> str:
    """Where the newest checkpoint is: Ray's path is without the scheme of a store."""
    found = ray.train.get_checkpoint()
    if found is None:
        return ""
    scheme, there, _ = spec.storage_uri.partition("://")
    return f"{scheme}://{found.path}" if there else str(found.path)


def _where(progress: training.Progress) -> str:
    """The point of a checkpoint, for people."""
    if progress.partial is None:
        return f"after epoch {progress.epochs[-1].epoch}"
    return f"after {progress.partial.rows} rows of epoch {len(progress.epochs)}"


@dataclass(frozen=True)
class _Group:
    """The workers of this training."""

    rank: int
    size: int
    book: books.Book | None = None

    @property
    def is_to_stop(self) -> bool:
        """The run may cost no more, as this worker sees it."""
        return self.book is not None and self.book.is_to_stop

    def fit(
        self,
        model: network.EmbeddingMlp,
        examples: Mapping[str, training.Examples],
        spec: projects.ModelSpec,
        **options: Any,
    ) -> training.FitReport:
        """`training.fit` on all workers. Errors: as there, the same one on all of them."""
        share = spec.model_copy(update={"batch_rows": math.ceil(spec.batch_rows / self.size)})
        try:
            return training.fit(
                model,
                examples["train"],
                examples["valid"],
                share,
                step_model=DistributedDataParallel(model) if self.size > 1 else model,
                agree=self._agree,
                gather=self._losses,
                rank=self.rank,
                world_size=self.size,
                **options,
            )
        except _SomebodyFailed as failed:
            raise failed.error from failed
        except errors.MainspringError as error:
            # `fit` fails where the others fail too, or are on their way to `agree`.
            try:
                self._tell({"error": errors.to_wire(error)})
            except _SomebodyFailed as failed:
                raise failed.error from error
            raise

    def total(self, value: float) -> float:
        """The sum over all workers."""
        total: float = sum(self._gather(value))
        return total

    def _agree(self, loss: float, auc: float) -> tuple[float, float]:
        """The mean loss, and rank 0's AUC."""
        said = self._tell({"loss": loss, "auc": auc})
        return sum(a["loss"] for a in said) / self.size, said[0]["auc"]

    def _losses(self, loss: float) -> list[float]:
        return [a["loss"] for a in self._tell({"loss": loss})]

    def _tell(self, mine: dict[str, Any]) -> list[dict[str, Any]]:
        """What every worker says at this point. Raises _SomebodyFailed if one of them says that it failed."""
        said = self._gather(mine)
        failed = [errors.from_wire(a["error"]) for a in said if "error" in a]
        if failed:
            # A diverged worker leaves the others with NaN weights, which they report as bad scores.
            raise _SomebodyFailed(next((e for e in failed if isinstance(e, errors.JobFailed)), failed[0]))
        return said

    def _gather(self, mine: Any) -> list[Any]:
        if self.size == 1:
            return [mine]
        everybody: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(everybody, mine)
        return everybody


class _SomebodyFailed(Exception):
    """No error of ours, so that it is not told once more."""

    def __init__(self, error: errors.MainspringError) -> None:
        super().__init__(error.message)
        self.error = error


@dataclass(frozen=True)
class _Checkpoint:
    """What a later job goes on from: `training.Progress` as bytes (empty: from the start) and what it cost."""

    identity: str
    progress: bytes = b""
    cpu_seconds: float = 0.0

    @classmethod
    def load(cls, identity: str) -> Self:
        """The newest one of this run's name. Errors: Conflict if it is another training's; CorruptArtifact."""
        found = ray.train.get_checkpoint()
        if found is None:
            return cls(identity)
        with found.as_directory() as folder:
            try:
                state = json.loads(Path(folder, _STATE).read_bytes())
                checkpoint = cls(
                    state["identity"], Path(folder, _PROGRESS).read_bytes(), state["cpu_seconds"]
                )
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise errors.CorruptArtifact(
                    f"checkpoint `{found.path}` cannot be read: {error}; delete it, or choose another `run_name`",
                    artifact=found.path,
                    expected="a checkpoint of this job",
                    got=str(error),
                ) from error
        if checkpoint.identity != identity:
            raise errors.Conflict(
                f"`{found.path}` is the checkpoint of a training on other data, plan, model, seed or workers; choose"
                " another `run_name`",
                resource="checkpoint",
                name=found.path,
            )
        return checkpoint

    def save(self, progress: training.Progress, rank: int) -> None:
        """Rank 0's becomes the run's newest; all workers call this together."""
        metrics: dict[str, Any] = {"epoch": len(progress.epochs)}
        if progress.partial is None:
            last = progress.epochs[-1]
            metrics = {"epoch": last.epoch, "train_loss": last.loss, "valid_auc": last.valid_auc}
        if rank != 0:
            ray.train.report(metrics)
            return
        with tempfile.TemporaryDirectory() as folder:
            state = {"identity": self.identity, "cpu_seconds": self.cpu_seconds}
            Path(folder, _STATE).write_text(json.dumps(state))
            Path(folder, _PROGRESS).write_bytes(self.progress)
            ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))


def _write_results(
    spec: train_messages.TrainSpec,
    parts: Mapping[str, train_data.Part],
    examples: Mapping[str, training.Examples],
    candidate: network.EmbeddingMlp,
    baseline: network.EmbeddingMlp,
) -> None:
    import polars as pl  # only rank 0 needs it

    scored = [
        pl.DataFrame(
            {
                "row": parts[split].rows,
                "split": pl.repeat(split, len(parts[split].rows), eager=True),
                "label": parts[split].labels.astype(np.int8),
                "score": training.predict(candidate, examples[split]),
                "baseline_score": training.predict(baseline, examples[split]),
            }
        )
        for split in ("valid", "test")
    ]
    file = io.BytesIO()
    pl.concat(scored).sort("row").drop("row").write_parquet(file)
    job_files.write_file(spec.out_dir / PREDICTIONS, file.getvalue())
    job_files.write_file(spec.out_dir / WEIGHTS, network.save_weights(candidate))
    job_files.write_file(spec.out_dir / BASELINE_WEIGHTS, network.save_weights(baseline))
