"""The rows that a bundle is asked before it serves (`core/models/samples.py`), with the answers of the model just trained.

They lie in a signed file that everybody reads who may read the bundle, so nothing of a person is in them: a column that the
bundle's own input policy calls personal holds missing values, or zeros where its type has none. Join keys are no inputs of a
plan unless the plan reads them, and then the policy knows them by the same name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mainspring.core import errors, trainers
from mainspring.core.features import frames, program, schema
from mainspring.core.models import native_runtime, samples
from mainspring.core.models import source as sources

__all__ = ["ROWS", "rows_of", "write"]

#: Enough that a batch is one, few enough that loading stays quick and the file small.
ROWS: Final = 32


def rows_of(
    training_set: Path, columns: tuple[schema.Column, ...], private: frozenset[str]
) -> dict[str, NDArray[Any]]:
    """Up to :data:`ROWS` rows of the validation split, evenly spread over it, as a program takes them; each (n,).

    The training split's are learned from and the test split's are held back: neither may be read out of a bundle.
    Missing: `private` columns hold NaN, None or, in int64 and bool, 0.
    Errors:  DataInvalid if that split has no row.
    """
    names = [column.name for column in columns]
    valid = pl.scan_parquet(training_set).filter(pl.col("split") == "valid").select(names).collect()
    if valid.is_empty():
        raise errors.DataInvalid(
            f"`{training_set.name}` has no rows of split `valid` to record samples from; look at the split",
            dataset="validation split",
            failed=("rows",),
        )
    chosen = np.unique(np.linspace(0, valid.height - 1, min(ROWS, valid.height)).astype(np.int64))
    arrays = frames.to_numpy(valid[chosen], columns)
    return {c.name: _hidden(arrays[c.name], c) if c.name in private else arrays[c.name] for c in columns}


def write(rows: Mapping[str, NDArray[Any]], compiled: program.Program, learned: trainers.Learned) -> bytes:
    """`samples.json` of one model. The same run gives the same bytes: the native kernel's answers are those of any CPU.

    A network that the kernel does not take is recorded without answers; it must then only answer. So is a program or a graph:
    its last bits differ between machines, and its library is none that a worker should hold.
    """
    if learned.kind != "embedding_mlp":
        return samples.record(rows)
    part = sources.Part("the model just trained", learned.kind, dict(learned.model), learned.data)
    try:
        runtime = native_runtime.NativeRuntime.load(part)
    except errors.MissingTool:
        return samples.record(rows)
    return samples.record(rows, runtime.predict(compiled.run(rows)))


def _hidden(column: NDArray[Any], declared_as: schema.Column) -> NDArray[Any]:
    if declared_as.dtype == "string":
        return np.full(len(column), None, dtype=np.object_)
    if declared_as.dtype in ("float32", "float64"):
        return np.full_like(column, np.nan)
    return np.zeros_like(column)
