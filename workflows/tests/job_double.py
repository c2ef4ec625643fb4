"""A training job without Ray: the same messages, data and loop, run in this process when the double is submitted to."""

from __future__ import annotations

import argparse
import shlex
import time
from pathlib import Path

import numpy as np
import polars as pl

from mainspring.core import errors
from mainspring.core.models import network, training
from mainspring.workflows.ray_jobs import job_files, own_training, train_data, train_messages


def run(entrypoint: str) -> str:
    """What Ray would say of a job with this command in the end: SUCCEEDED or FAILED."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--spec", type=Path)
    parser.add_argument("--out", type=Path)
    words = shlex.split(entrypoint)
    assert words[1:3] == ["-m", train_messages.MODULE]
    arguments = parser.parse_args(words[3:])
    try:
        answer = _train(train_messages.read_spec(arguments.spec))
    except errors.MainspringError as error:
        job_files.write_output(arguments.out, error)
        return "FAILED"
    job_files.write_output(arguments.out, answer)
    return "SUCCEEDED"


def _train(spec: train_messages.TrainSpec) -> train_messages.TrainOutput:
    began = time.perf_counter()
    if spec.project:
        answer = own_training.work(spec)
        if "error" in answer:
            raise errors.from_wire(answer["error"])
        return train_messages.TrainOutput(**answer, wall_seconds=time.perf_counter() - began)
    prepared = train_data.prepare(spec)
    examples = {n: training.Examples.of(p.inputs, p.labels) for n, p in prepared.parts.items()}
    architecture = network.Architecture.of(
        spec.model, dense_width=prepared.dense_width, id_columns=prepared.id_columns
    )
    models = {
        "weights": network.EmbeddingMlp(architecture, seed=spec.seed),
        "baseline_weights": network.EmbeddingMlp(architecture.baseline(), seed=spec.seed),
    }
    reports = {
        name: training.fit(
            model,
            examples["train"],
            examples["valid"],
            spec.model,
            on_epoch=lambda done: train_messages.tell(spec, len(done.epochs)),
        )
        for name, model in models.items()
    }
    for name, model in models.items():
        job_files.write_file(spec.out_dir / f"{name}.safetensors", network.save_weights(model))
    scored = pl.concat(
        pl.DataFrame(
            {
                "split": np.full(len(examples[s]), s),
                "label": examples[s].labels.numpy().astype(np.int8),
                "score": training.predict(models["weights"], examples[s]),
                "baseline_score": training.predict(models["baseline_weights"], examples[s]),
            }
        )
        for s in ("valid", "test")
    )
    scored.write_parquet(spec.out_dir / "predictions.parquet")
    report = reports["weights"]
    return train_messages.TrainOutput(
        weights_path=spec.out_dir / "weights.safetensors",
        baseline_weights_path=spec.out_dir / "baseline_weights.safetensors",
        architecture=architecture.model_dump(mode="json"),
        baseline_architecture=architecture.baseline().model_dump(mode="json"),
        predictions_path=spec.out_dir / "predictions.parquet",
        epochs=tuple(
            train_messages.Epoch(epoch=e.epoch, train_loss=e.loss, valid_auc=e.valid_auc)
            for e in report.epochs
        ),
        best_epoch=report.best_epoch,
        wall_seconds=time.perf_counter() - began,
        cpu_seconds=3.6,
        num_workers=spec.num_workers,
    )
