"""A candidate looked at beside the whole of its test split, as its project asks for."""

from __future__ import annotations

import polars as pl

from mainspring.core import errors, projects
from mainspring.core.contracts import evaluation
from mainspring.core.models import groups

__all__ = ["check", "in_parts"]

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
