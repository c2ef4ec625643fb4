"""A candidate looked at beside the whole of its test split, as its project asks for."""

from __future__ import annotations

import polars as pl
from pydantic import BaseModel

from mainspring.core import canonical, errors, projects, settings
from mainspring.core.contracts import evaluation
from mainspring.core.models import groups
from mainspring.workflows.ray_jobs import attach, train_messages
from mainspring.workflows.training import apart, run_folder

__all__ = ["check", "in_parts", "in_time"]

_TEST = pl.col("split") == "test"


def check(project: projects.Project, rows: projects.TrainingSetReport) -> None:
    """Whether the training set has what is to be looked at: asked before anything is learned of it.

    Errors: SchemaMismatch naming the column.
    """
    if isinstance(project, projects.Examined):
        groups.check_columns(project.evaluation(), pl.read_parquet_schema(rows.path))


def in_parts(
    project: projects.Project, rows: projects.TrainingSetReport, scored: pl.DataFrame
) -> evaluation.Evaluation:
    """Slices and groups of the test split. `scored`: the training's predictions, in the order of the training set.

    Errors: those of :func:`check`; InvariantViolated if the predictions are not those rows'.
    """
    if not isinstance(project, projects.Examined):
        return evaluation.Evaluation()
    asked = project.evaluation()
    columns = list(dict.fromkeys((*asked.slices, *asked.fairness)))
    judged = scored.filter(_TEST)
    labels, scores = judged["label"].to_numpy(), judged["score"].to_numpy()
    test = pl.scan_parquet(rows.path).filter(_TEST).select(*columns, __label=rows.label).collect()
    if not test["__label"].cast(pl.Float64).equals(judged["label"].cast(pl.Float64).alias("__label")):
        raise errors.InvariantViolated(
            f"the predictions of `{rows.path.name}` are not in the order of its {test.height} test rows"
        )
    return evaluation.Evaluation(
        slices=groups.slices(test, labels, scores, asked),
        fairness=groups.fairness(test, labels, scores, asked),
    )


class Timed(BaseModel):
    """A measurement of one execution: asked again, the step gives the same answer, and so the bundle the same bytes."""

    family: str
    weights: str
    latency: evaluation.Latency


def in_time(
    serving: settings.ServingSettings, folder: run_folder.RunFolder, output: train_messages.TrainOutput
) -> evaluation.Latency:
    """How long a row takes what serving would run; measured once an execution. Errors: those of `apart.timed`."""
    family, weights = attach.family(), canonical.digest_bytes(output.weights_path.read_bytes())
    if (known := folder.had(Timed)) is not None and (known.family, known.weights) == (family, weights):
        return known.latency
    found = apart.timed(
        apart.Question(
            kind=output.kind,
            model=output.architecture,
            weights=output.weights_path,
            plan=folder.plan,
            training_set=folder.kept(projects.TrainingSetReport).path,
            network=serving.runtime,
            torch_threads=serving.torch_threads,
            onnx_threads=serving.onnx_threads,
        )
    )
    folder.keep(Timed(family=family, weights=weights, latency=found))
    return found
