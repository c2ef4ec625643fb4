"""`python -m mainspring.bench.workflows.by_hand FOLDER --ray HOST:PORT`: a training as a data scientist's own script has it.

The same data steps, the same plan, the training job's very code with its Ray Train settings, the same measures and gates, one
signed bundle; no Temporal, control API, MLflow or lineage. One JSON object on stdout: seconds by step, and what came out.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from mainspring.core import canonical, errors, projects, workspace
from mainspring.core.contracts.training import Metrics, TrainRequest
from mainspring.core.features.plan import FittedPlan
from mainspring.core.models import bundle, evaluation, signing
from mainspring.workflows.ray_jobs import job_files, train, train_messages

RUN = "by_hand"


def main() -> int:
    """Exit code 1, with one line on stderr, for an error of ours."""
    parser = argparse.ArgumentParser(prog="by_hand", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where everything is made")
    parser.add_argument("--ray", required=True, help="a Ray head, or `local` for one of its own")
    parser.add_argument("--project", default="flight-delay")
    parser.add_argument("--fraction", type=float, default=1.0)
    arguments = parser.parse_args()
    space = workspace.Workspace(arguments.folder.resolve(), arguments.project, arguments.fraction)
    try:
        print(json.dumps(run(space, ray=arguments.ray)))
    except errors.MainspringError as error:
        print(f"by_hand: {error.message}", file=sys.stderr)
        return 1
    return 0


def run(space: workspace.Workspace, *, ray: str) -> dict[str, Any]:
    """Errors: those of the project's steps, of the training job and of the gates."""
    seconds: dict[str, float] = {}
    project, folder = projects.load_project(space.project), space.run(RUN)
    with _timed(seconds, "ingest"):
        project.ingest(space.lake, sample_fraction=space.sample_fraction)
    with _timed(seconds, "validate"):
        if failed := project.validate(space.lake).failed:
            raise errors.DataInvalid(
                f"check `{failed[0].name}` failed; mend the source",
                dataset=space.project,
                failed=tuple(c.name for c in failed),
            )
    with _timed(seconds, "features"):
        views = project.build_features(space.lake, space.features)
    with _timed(seconds, "join"):
        rows = project.training_set(space.features, space.training)
    with _timed(seconds, "leak_check"):
        leaks = project.leak_check(space.lake)
    with _timed(seconds, "fit_plan"):
        fitted = project.declare_plan().fit(pl.scan_parquet(rows.path).filter(pl.col("split") == "train"))
        job_files.write_file(folder / "plan.json", fitted.to_bytes())
    with _timed(seconds, "train"):
        output = train.run(_spec(project, rows, folder), ray, time.perf_counter())
    with _timed(seconds, "evaluate"):
        metrics = _metrics(output, rows)
        gates = project.quality_gates(relaxed=space.sample_fraction < 1.0)
        evaluation.check_gates(metrics["test"], metrics["test/logistic_regression"], gates)
    with _timed(seconds, "bundle"):
        made = _bundle(space, project, views, rows, fitted, output, metrics, leaks)
    return {
        "seconds": seconds,
        "bundle": made.digest,
        "rows": rows.digest,
        "plan": fitted.digest,
        "weights": canonical.digest_bytes(output.weights_path.read_bytes()),
        "auc": metrics["test"].auc,
        "job_seconds": output.wall_seconds,
    }


@contextlib.contextmanager
def _timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    seconds[step] = time.perf_counter() - began


def _spec(
    project: projects.Project, rows: projects.TrainingSetReport, folder: Path
) -> train_messages.TrainSpec:
    """Workers, seed and epochs are those of a request that names none."""
    asked = TrainRequest.model_fields
    return train_messages.TrainSpec(
        training_set=rows.path,
        plan=folder / "plan.json",
        label=rows.label,
        model_spec=project.model_spec(),
        num_workers=asked["num_workers"].default,
        seed=asked["seed"].default,
        run_name=RUN,
        storage_path=folder / "checkpoints",
        out_dir=folder,
    )


def _metrics(output: train_messages.TrainOutput, rows: projects.TrainingSetReport) -> dict[str, Metrics]:
    scored = pl.read_parquet(output.predictions_path)
    metrics: dict[str, Metrics] = {}
    for split in ("test", "valid"):
        part = scored.filter(pl.col("split") == split)
        labels = part["label"].to_numpy()
        scores = {
            split: part["score"].to_numpy(),
            f"{split}/logistic_regression": part["baseline_score"].to_numpy(),
            f"{split}/base_rate": np.full(len(labels), rows.base_rate["train"]),
        }
        metrics |= {name: evaluation.evaluate(labels, score, split=split) for name, score in scores.items()}
    return metrics


def _bundle(
    space: workspace.Workspace,
    project: projects.Project,
    views: projects.FeatureReport,
    rows: projects.TrainingSetReport,
    fitted: FittedPlan,
    output: train_messages.TrainOutput,
    metrics: dict[str, Metrics],
    leaks: projects.LeakReport,
) -> bundle.Bundle:
    contents = bundle.BundleContents(
        name=space.project,
        project=space.project,
        plan=fitted.to_bytes(),
        model=output.architecture,
        weights=output.weights_path.read_bytes(),
        card=f"# {space.project}\n\nTrained by hand; test AUC {metrics['test'].auc:.4f}.\n",
        service=views.service,
        request_columns=project.request_columns,
        input_columns=fitted.inputs,
        metrics=metrics,
        data_digest=rows.digest,
        training_run_id=RUN,
        code_version="by hand",
        extra_files={"evidence/leak_check.json": canonical.dumps(leaks.model_dump(mode="json"))},
    )
    key = signing.ensure_key(space.state_dir / "signing.key")
    return bundle.BundleStore(space.state_dir / "bundles").write(contents, key)


if __name__ == "__main__":
    sys.exit(main())
