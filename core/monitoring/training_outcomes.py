"""What happened, as a project's training set knows it: the outcomes that logged answers are held against."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import polars as pl

from mainspring.core import errors, projects
from mainspring.core.contracts import inputs
from mainspring.core.models import bundle
from mainspring.core.monitoring import predictions, tokens

__all__ = ["DUE", "private_columns", "read"]

#: When it was asked about, UTC.
DUE: Final = "due"


def read(path: Path, project: projects.Project, opened: bundle.Bundle, token_key: Path) -> pl.LazyFrame:
    """The bundle's keys (tokens where the log has tokens), the project's label and `DUE`, one row an outcome.

    `path`: the training set. Errors: NotFound without one; InvalidRequest for a project whose answers no outcome can be told of.
    """
    if not path.exists():
        raise errors.NotFound(
            f"project `{project.name}` has no training set at this `sample_fraction`; train it first",
            resource="training set",
            name=project.name,
        )
    keys = [key.name for key in opened.manifest.service.keys]
    at = project.event_time_column
    if not keys or not at:
        raise errors.InvalidRequest(
            f"project `{project.name}` has {'no time column' if keys else 'no keys'}, so nobody can say which of its answers an"
            " outcome is of; pause this schedule, or join outcomes by request id (`mainspring.core.monitoring.predictions`)",
            field="project",
        )
    due = pl.from_epoch(pl.col(at), time_unit="us").dt.replace_time_zone("UTC")
    labels = pl.scan_parquet(path).select(*keys, pl.col(project.label), due.alias(DUE))
    private = [key for key in keys if key in private_columns(opened)]
    return predictions.tokenised(labels, tokens.Tokeniser.load(token_key), private) if private else labels


def private_columns(opened: bundle.Bundle) -> frozenset[str]:
    """The columns of which the log has tokens."""
    if inputs.FILE not in opened.manifest.files:
        return frozenset()
    return inputs.InputPolicy.model_validate_json(opened.read(inputs.FILE)).private
