"""What a plan's output must be for the model of the same bundle, whichever runtime executes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mainspring.core import errors, ports
from mainspring.core.models import source as sources


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


def check_plan(
    compiled: sources.PlanOutput, digest: str, *, dense_width: int, ids: Mapping[str, int]
) -> None:
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


def score_of(answer: object, n_rows: int, column: int, activation: str, where: str) -> NDArray[np.float32]:
    """One number a row of what a foreign model gave: float (n,) or (n, m), of which `column`; then the activation.

    Errors: InvariantViolated unless that is (n_rows,) finite numbers.
    """
    if not isinstance(answer, np.ndarray) or answer.dtype.kind != "f" or answer.ndim not in (1, 2):
        got = f"{answer.dtype} {answer.shape}" if isinstance(answer, np.ndarray) else type(answer).__name__
        raise _not_scores(f"{got}, expected float (n,) or (n, m)", where)
    one = answer if answer.ndim == 1 else answer[:, column : column + 1].reshape(-1)
    if one.shape != (n_rows,):
        raise _not_scores(f"{answer.shape} for {n_rows} rows", where)
    with np.errstate(over="ignore"):
        if activation == "sigmoid":
            one = 1.0 / (1.0 + np.exp(-one.astype(np.float64)))
        scores = one.astype(np.float32)
    if not np.isfinite(scores).all():
        raise _not_scores("a score that is not finite", where)
    return scores


def _not_scores(got: str, where: str) -> errors.InvariantViolated:
    return errors.InvariantViolated(f"the model gave {got}; roll back and look at its input", where=where)
