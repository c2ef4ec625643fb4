"""A project's whole training in this process, without a server: for its author's machine and its tests.

The steps, gates and scores are those of `mainspring.TrainModel.v1`; what is missing is Ray, the signature and the registry.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from mainspring.core import errors, projects, trainers
from mainspring.core.contracts import training as contracts
from mainspring.core.features import frames, plan
from mainspring.core.models import evaluation, network, torch_threads, training
from mainspring.core.workspace import Workspace

__all__ = ["Trial", "run"]


@dataclass(frozen=True)
class Trial:
    """What came of it. `metrics` by split and peer, as a run reports them."""

    metrics: dict[str, contracts.Metrics]
    gates: dict[str, Any]
    rows: dict[str, int]
    plan: plan.FittedPlan
    candidate: trainers.Learned
    predictions: pl.DataFrame
    training_set: Path
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def summary(self) -> dict[str, Any]:
        """A few JSON values for people."""
        test, peer = self.metrics["test"], self.metrics["test/logistic_regression"]
        return {
            "rows": self.rows,
            "test_auc": round(test.auc, 4),
            "baseline_auc": round(peer.auc, 4),
            "base_rate": round(test.base_rate, 4),
            "brier": round(test.brier, 4),
            "calibration_error": round(test.calibration_error, 4),
            "seconds": {name: round(value, 2) for name, value in self.seconds.items()},
        }


def run(
    project: projects.Project,
    folder: Path,
    *,
    sample_fraction: float = 1.0,
    epochs: int | None = None,
    threads: int = 2,
    gated: bool = True,
) -> Trial:
    """Data, leak check, plan, training, gates; `folder` keeps what can be used again.

    `gated` False: the gates are not asked. Errors: those of the project's steps; GateFailed; LeakDetected.
    """
    space = Workspace(folder.absolute(), project.name, sample_fraction)
    took = _Clock()
    with took("ingest"):
        project.ingest(space.lake, sample_fraction=sample_fraction)
    with took("validate"):
        project.validate(space.lake)
    with took("features"):
        project.build_features(space.lake, space.features)
    with took("join"):
        rows = project.training_set(space.features, space.training)
    with took("leak_check"):
        project.leak_check(space.lake)
    with took("fit_plan"):
        train = pl.scan_parquet(rows.path).filter(pl.col("split") == "train")
        fitted = project.declare_plan().fit(train)
    spec = project.model_spec()
    spec = spec.model_copy(update={"epochs": epochs or spec.epochs})
    with took("train"):
        if isinstance(project, trainers.Trainer):
            found = trainers.fit(project, rows.path, rows.label, fitted, spec, threads=threads)
            candidate, predictions = found.trained.candidate, found.predictions
        else:
            candidate, predictions = _network(rows, fitted, spec)
    metrics = {}
    for split in ("test", "valid"):
        part = predictions.filter(pl.col("split") == split)
        for name, column in ((split, "score"), (f"{split}/logistic_regression", "baseline_score")):
            metrics[name] = evaluation.evaluate(
                part["label"].to_numpy(), part[column].to_numpy(), split=split
            )
    gates: dict[str, Any] = {}
    if gated:
        asked = project.quality_gates(relaxed=sample_fraction < 1.0)
        gates = evaluation.check_gates(metrics["test"], metrics["test/logistic_regression"], asked)
    return Trial(metrics, gates, dict(rows.rows), fitted, candidate, predictions, rows.path, took.seconds)


def _network(
    rows: projects.TrainingSetReport, fitted: plan.FittedPlan, spec: projects.ModelSpec
) -> tuple[trainers.Learned, pl.DataFrame]:
    """Our own network and its logistic regression, as the training job makes them with one worker."""
    torch_threads.settle(1)  # as there: batches are too small to be shared
    frame = pl.read_parquet(rows.path)
    compiled = fitted.compile()
    examples: dict[str, training.Examples] = {}
    for split in ("train", "valid", "test"):
        part = frame.filter(pl.col("split") == split)
        if part.is_empty():
            raise errors.DataInvalid(
                f"split `{split}` has no rows; raise the sample fraction", dataset=split, failed=("rows",)
            )
        given = compiled.run(frames.to_numpy(part, compiled.inputs))
        examples[split] = training.Examples.of(given, part[rows.label].to_numpy())
    architecture = network.Architecture.of(
        spec,
        dense_width=len(compiled.dense_names),
        id_columns=dict(zip(compiled.id_names, compiled.id_sizes, strict=True)),
    )
    models = [network.EmbeddingMlp(a, seed=spec.seed) for a in (architecture, architecture.baseline())]
    for model in models:
        training.fit(model, examples["train"], examples["valid"], spec)
    judged = frame.filter(pl.col("split").is_in(["valid", "test"])).select(
        "split", label=pl.col(rows.label).cast(pl.Int8)
    )
    columns = {}
    for name, model in zip(("score", "baseline_score"), models, strict=True):
        answers = {split: training.predict(model, examples[split]) for split in ("valid", "test")}
        made = np.empty(judged.height, np.float32)
        for split, values in answers.items():
            made[(judged["split"] == split).to_numpy()] = values
        columns[name] = pl.Series(made)
    learned = trainers.Learned(
        "embedding_mlp", architecture.model_dump(mode="json"), network.save_weights(models[0])
    )
    return learned, judged.with_columns(**columns)


class _Clock:
    """Seconds by step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._name = ""
        self._begun = 0.0

    def __call__(self, name: str) -> _Clock:
        self._name = name
        return self

    def __enter__(self) -> None:
        self._begun = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds[self._name] = time.perf_counter() - self._begun
