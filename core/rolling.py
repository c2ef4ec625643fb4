"""A project's training set split anew by a window of time that ends where somebody says, such as when a model was seen to drift."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Final

import polars as pl

from mainspring.core import canonical, durable, errors, projects
from mainspring.core.contracts.training import RollingSplit

__all__ = ["AS_OF", "SPLIT", "split"]

AS_OF: Final = "as_of"
SPLIT: Final = "split"


def split(made: projects.TrainingSetReport, window: RollingSplit, folder: Path) -> projects.TrainingSetReport:
    """`made` by `window`: a Parquet file of its own in `folder`, named by both, and the report of it.

    Rows:   as_of in (until - test_days, until] are `test`, the `valid_days` before are `valid`, the `train_days` before those
            `train`. Later rows had not happened, earlier ones are too old: both are left out. The order stays.
    Again:  the same question gives the same file. `made`, which other runs share, is not touched.
    Errors: DataInvalid for a split without rows or with one outcome only; NotFound, CorruptArtifact for the file of `made`.
    """
    named = canonical.digest([made.digest, window.model_dump(mode="json")])
    path = folder / f"training-{named.removeprefix('sha256:')[:12]}.parquet"
    rows = _read(made).with_columns(_names(window).alias(SPLIT)).drop_nulls(SPLIT)
    counts = {name: rows.filter(pl.col(SPLIT) == name)[made.label] for name in ("train", "valid", "test")}
    for name, labels in counts.items():
        if labels.n_unique() < 2:
            raise errors.DataInvalid(
                f"split `{name}` of the window that ends at {window.until:%Y-%m-%d %H:%M} UTC has {len(labels)} rows and not"
                f" both outcomes; make `{name}_days` longer, or let it end where there is data",
                dataset="training set",
                failed=(name,),
            )
    folder.mkdir(parents=True, exist_ok=True)
    durable.place_file(path, rows.write_parquet)
    return made.model_copy(
        update={
            "path": path,
            "digest": named,
            "rows": {name: len(labels) for name, labels in counts.items()},
            "base_rate": {name: int(labels.sum()) / len(labels) for name, labels in counts.items()},
            "reused": False,
        }
    )


def _names(window: RollingSplit) -> pl.Expr:
    """Which split a row is of; null for none. A row exactly at a border is of the earlier one."""
    test = window.until - timedelta(days=window.test_days)
    valid = test - timedelta(days=window.valid_days)
    at = pl.col(AS_OF)
    named = pl.when(at > window.until).then(None).when(at > test).then(pl.lit("test"))
    named = named.when(at > valid).then(pl.lit("valid"))
    if window.train_days is not None:
        named = named.when(at <= valid - timedelta(days=window.train_days)).then(None)
    return named.otherwise(pl.lit("train"))


def _read(made: projects.TrainingSetReport) -> pl.DataFrame:
    try:
        return pl.read_parquet(made.path)
    except FileNotFoundError as error:
        raise errors.NotFound(
            f"training set `{made.path.name}` is gone; start the run again",
            resource="training set",
            name=str(made.path),
        ) from error
    except pl.exceptions.PolarsError as error:
        raise errors.CorruptArtifact(
            f"training set `{made.path.name}` does not read: {error}; remove it and start the run again",
            artifact=str(made.path),
            expected="Parquet",
            got=str(error),
        ) from error
