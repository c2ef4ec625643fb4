"""The contract of every runtime's answer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mainspring.core import errors


def checked(scores: object, n_rows: int, where: str) -> NDArray[np.float32]:
    """`scores` if they are (n_rows,) finite float32, else InvariantViolated: a NaN must never look like an answer."""
    if not isinstance(scores, np.ndarray) or scores.dtype != np.float32 or scores.shape != (n_rows,):
        got = (
            f"{scores.dtype} {scores.shape}"
            if isinstance(scores, np.ndarray)
            else f"`{type(scores).__name__}`"
        )
        raise errors.InvariantViolated(
            f"model gave {got}, expected float32 ({n_rows},); correct the model's output", where=where
        )
    if not np.isfinite(scores).all():
        bad = int(np.count_nonzero(~np.isfinite(scores)))
        raise errors.InvariantViolated(
            f"model gave {bad} of {n_rows} scores that are not finite; roll back and look at its input",
            where=where,
        )
    return scores
