"""The training set as arrays: read, checked, and run once through the plan's program."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mainspring.core import canonical, errors, ports
from mainspring.core.features import frames, plan, schema
from mainspring.workflows.ray_jobs import train_messages

SPLIT: Final = "split"
SPLITS: Final = ("train", "valid", "test")


@dataclass(frozen=True)
class Part:
    """One split in the file's order: positions in the file (n,), the plan's output, labels (n,) float32 of 0 and 1."""

    rows: NDArray[np.int64]
    inputs: ports.ModelInput
    labels: NDArray[np.float32]


@dataclass(frozen=True)
class Prepared:
    """All splits, and what a network needs to know about the plan's output."""

    parts: Mapping[str, Part]
    dense_width: int
    id_columns: Mapping[str, int]
    """Vocabulary size by id column, in the plan's order."""
    identity: str
    """A digest of everything that decides the weights."""


def prepare(spec: train_messages.TrainSpec) -> Prepared:
    """Errors: NotFound for an absent file; CorruptArtifact if it is no Parquet or no plan; SchemaMismatch for an
    absent or mistyped column; DataInvalid for an empty split or a label that is neither 0 nor 1.
    """
    fitted = plan.FittedPlan.from_bytes(_read(spec.plan, "fitted plan"))
    data = _read(spec.training_set, "training set")
    program = fitted.compile()
    frame = _frame(spec, data, program.inputs)
    labels = _labels(frame, spec.label)
    inputs = program.run(frames.to_numpy(frame, program.inputs))
    return Prepared(
        {name: _part(spec, name, frame[SPLIT], inputs, labels) for name in SPLITS},
        len(program.dense_names),
        dict(zip(program.id_names, program.id_sizes, strict=True)),
        canonical.digest(
            {
                "training_set": canonical.digest_bytes(data),
                "plan": fitted.digest,
                "label": spec.label,
                "model": spec.model.model_dump(mode="json"),
                "num_workers": spec.num_workers,
                **({"min_workers": spec.min_workers} if spec.min_workers else {}),
            }
        ),
    )


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise errors.NotFound(
            f"{what} `{path}` cannot be read: {error.strerror}; check that this machine sees the folder",
            resource=what,
            name=str(path),
        ) from error


def _frame(spec: train_messages.TrainSpec, data: bytes, inputs: Sequence[schema.Column]) -> pl.DataFrame:
    """The columns that are needed, and no other."""
    wanted: dict[str, Any] = {c.name: frames.POLARS_TYPES[c.dtype] for c in inputs}
    wanted[SPLIT] = pl.String()
    try:
        found = pl.read_parquet_schema(io.BytesIO(data))
        # A label may have any numeric type.
        frames.check(found, {**wanted, spec.label: found.get(spec.label, "0 or 1")}, what="training set")
        return pl.read_parquet(io.BytesIO(data), columns=[*wanted, *({spec.label} - wanted.keys())])
    except (pl.exceptions.PolarsError, OSError) as error:
        raise errors.CorruptArtifact(
            f"training set `{spec.training_set}` is no Parquet file: {error}; make it again",
            artifact=str(spec.training_set),
            expected="Parquet",
            got=str(error),
        ) from error


def _part(
    spec: train_messages.TrainSpec,
    name: str,
    splits: pl.Series,
    inputs: ports.ModelInput,
    labels: NDArray[np.float32],
) -> Part:
    rows = (splits == name).fill_null(False).arg_true().to_numpy().astype(np.int64)
    if not len(rows):
        raise errors.DataInvalid(
            f"split `{name}` of `{spec.training_set}` has no rows; check the split's dates or raise the sample"
            " fraction",
            dataset=name,
            failed=("rows",),
        )
    return Part(rows, ports.ModelInput(inputs.dense[rows], inputs.ids[rows]), labels[rows])


def _labels(frame: pl.DataFrame, name: str) -> NDArray[np.float32]:
    series = frame[name]
    if not (series.dtype.is_numeric() or series.dtype == pl.Boolean):
        raise errors.SchemaMismatch(
            f"label `{name}` has type {series.dtype}, expected a number or bool; cast it where the data is made",
            feature=name,
            expected="number or bool",
            got=str(series.dtype),
        )
    labels: NDArray[np.float32] = series.cast(pl.Float32).fill_null(np.nan).to_numpy()
    if bad := int(np.sum((labels != 0) & (labels != 1))):
        raise errors.DataInvalid(
            f"label `{name}` is neither 0 nor 1 in {bad} of {len(labels)} rows; drop the rows without an outcome",
            dataset="training set",
            failed=("labels",),
        )
    return labels
