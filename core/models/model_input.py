"""What a plan's output must be for the model of the same bundle, whichever runtime executes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np

from mainspring.core import errors, ports
from mainspring.core.features import program


class ExpectedInput:
    """Widths of the dense matrix and of the ids. Immutable, thread-safe."""

    def __init__(self, dense_width: int, n_ids: int) -> None:
        self.dense_width: Final = dense_width
        self.n_ids: Final = n_ids

    def check(self, batch: ports.ModelInput) -> None:
        """Errors: SchemaMismatch for other widths or dtypes, or as many rows of ids as there are not of values."""
        dense, ids = batch.dense, batch.ids
        if (
            dense.ndim == ids.ndim == 2
            and dense.dtype == np.float32
            and ids.dtype == np.int32
            and dense.shape[1] == self.dense_width
            and ids.shape[1] == self.n_ids
            and len(dense) == len(ids)
        ):
            return
        got = f"dense {dense.dtype} {dense.shape} and ids {ids.dtype} {ids.shape}"
        expected = f"dense float32 (n, {self.dense_width}) and ids int32 (n, {self.n_ids})"
        raise errors.SchemaMismatch(
            f"model input is {got}, expected {expected}; run the plan of the same bundle",
            feature="model_input",
            expected=expected,
            got=got,
        )


def check_plan(compiled: program.Program, digest: str, *, dense_width: int, ids: Mapping[str, int]) -> None:
    """Whether the model of bundle `digest` takes what its plan gives: so many columns, and these id columns.

    `ids`: how many ids the model knows by id column, in its order; 0: it does not look at them.
    Errors: CorruptArtifact: found when the bundle is loaded, not by the first who asks it.
    """
    if (width := len(compiled.dense_names)) != dense_width:
        raise _does_not_fit(digest, f"{width} columns", f"{dense_width}")
    if compiled.id_names != tuple(ids):
        raise _does_not_fit(digest, f"ids {_quoted(compiled.id_names)}", _quoted(ids))
    for name, size in zip(compiled.id_names, compiled.id_sizes, strict=True):
        if 0 < ids[name] < size:
            raise errors.CorruptArtifact(
                f"bundle `{digest}` does not hold together: `{name}` has {size} ids, the model has embeddings for"
                f" {ids[name]}; build the bundle anew",
                artifact=digest,
                expected=f"{size} embeddings",
                got=f"{ids[name]}",
            )


def _does_not_fit(digest: str, gives: str, takes: str) -> errors.CorruptArtifact:
    return errors.CorruptArtifact(
        f"bundle `{digest}` does not hold together: its plan gives {gives}, the model takes {takes}; build the bundle"
        " anew",
        artifact=digest,
        expected=gives,
        got=takes,
    )


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"
