"""A project's own training, as a training job does it: the same spec in, the same answer out. Imports no ray."""

from __future__ import annotations

import io
import time
from typing import Any

from mainspring.core import errors, projects, trainers
from mainspring.core.features import plan
from mainspring.workflows.ray_jobs import books, job_files, train_messages

__all__ = ["work"]


def work(spec: train_messages.TrainSpec) -> dict[str, Any]:
    """The fields of `TrainOutput` but for the wall clock, or `{"error": wire}`: an exception would make Ray try again."""
    begun = time.process_time()

    def used() -> float:
        return time.process_time() - begun

    with books.keeping(spec.book, used):
        try:
            return {**_train(spec), "cpu_seconds": used(), "num_workers": spec.num_workers}
        except errors.MainspringError as error:
            return {"error": errors.to_wire(error)}


def _train(spec: train_messages.TrainSpec) -> dict[str, Any]:
    project = projects.load_project(spec.project)
    if not isinstance(project, trainers.Trainer):
        raise errors.Conflict(
            f"project `{spec.project}` has no `train` of its own here; install the same version on every node",
            resource="project",
            name=spec.project,
        )
    try:
        fitted = plan.FittedPlan.from_bytes(spec.plan.read_bytes())
    except OSError as error:
        raise errors.NotFound(
            f"fitted plan `{spec.plan}` cannot be read: {error.strerror}; check that this machine sees the folder",
            resource="fitted plan",
            name=str(spec.plan),
        ) from error
    found = trainers.fit(project, spec.training_set, spec.label, fitted, spec.model, threads=spec.num_workers)
    trained = found.trained
    table = io.BytesIO()
    found.predictions.write_parquet(table)
    files = {
        "predictions_path": ("predictions.parquet", table.getvalue()),
        "weights_path": ("learned", trained.candidate.data),
        "baseline_weights_path": ("baseline_learned", trained.baseline.data),
    }
    for name, data in files.values():
        job_files.write_file(spec.out_dir / name, data)
    return {
        **{field: str(spec.out_dir / name) for field, (name, _) in files.items()},
        "kind": trained.candidate.kind,
        "baseline_kind": trained.baseline.kind,
        "architecture": dict(trained.candidate.model),
        "baseline_architecture": dict(trained.baseline.model),
        "epochs": [
            {"epoch": e.epoch, "train_loss": e.train_loss, "valid_auc": e.valid_auc} for e in trained.epochs
        ],
        "best_epoch": trained.best_epoch,
    }
