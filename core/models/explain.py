"""Why a bundle's model answered what it answered: how much each input column of its plan added.

What is explained is the margin: what the model sums up, before a sigmoid or another link makes a score of it. A row's
contributions and its base value sum to its margin but for `residuals`. The method goes with the kind of bundle:

| kind | method | base value: the margin |
|---|---|---|
| `trees` | path-dependent TreeSHAP, exact | that is expected of training's rows |
| `embedding_mlp`, `torch_export` without ids | integrated gradients | of a row that the plan fills in: every column as if missing |

Other kinds have none: see :func:`mainspring.core.models.explainers.of_bundle`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from mainspring.core import errors, ports
from mainspring.core.features import program, schema

TREE_SHAP: Final = "tree_shap"
INTEGRATED_GRADIENTS: Final = "integrated_gradients"


@dataclass(frozen=True)
class Explained:
    """n rows. `margins`, `base` and `residuals` (n,), `dense` (n, dense_width), `ids` (n, id columns), all float64.

    margins == base + dense.sum(axis=1) + ids.sum(axis=1) + residuals
    """

    margins: NDArray[np.float64]
    base: NDArray[np.float64]
    dense: NDArray[np.float64]
    ids: NDArray[np.float64]

    @property
    def residuals(self) -> NDArray[np.float64]:
        """What the contributions leave unexplained: the error of a sum over steps, or of rounding."""
        told: NDArray[np.float64] = self.base + self.dense.sum(axis=1) + self.ids.sum(axis=1)
        return self.margins - told


class Explainer(Protocol):
    """Immutable, thread-safe."""

    @property
    def method(self) -> str: ...

    def explain(self, batch: ports.ModelInput) -> Explained:
        """Explain a batch of what the plan gives. Errors: SchemaMismatch for other widths or dtypes."""
        ...


def inexplicable(digest: str, why: str, next_step: str) -> errors.Conflict:
    """What to raise where a bundle's model has no method."""
    return errors.Conflict(
        f"predictions of bundle `{digest}` cannot be explained: {why}; {next_step}",
        resource="bundle",
        name=digest,
    )


def baseline_of(compiled: program.Program) -> ports.ModelInput:
    """One row that knows nothing: each column as its plan fills a missing value in, not marked as missing; ids 0.

    It is a typical row, because plans fill in what training learned (mean, median, or a constant that people chose).
    """
    made = compiled.run({column.name: _missing(column) for column in compiled.inputs})
    dense = made.dense.copy()
    dense[:, [output.indicator for output in compiled.dense_outputs]] = 0.0
    return ports.ModelInput(dense, np.zeros_like(made.ids))


def by_input(explained: Explained, compiled: program.Program) -> dict[str, NDArray[np.float64]]:
    """Contributions by input column of the plan, each (n,): of a column that gives several outputs their sum."""
    found = {column.name: np.zeros(len(explained.margins)) for column in compiled.inputs}
    for i, output in enumerate(compiled.dense_outputs):
        found[output.source] += explained.dense[:, i]
    for i, known in enumerate(compiled.id_outputs):
        found[known.source] += explained.ids[:, i]
    return found


@dataclass(frozen=True)
class ByInput:
    """n rows explained by the input columns of their plan; each array (n,) float64.

    margins == base + sum(contributions.values()) + residuals
    """

    method: str
    margins: NDArray[np.float64]
    base: NDArray[np.float64]
    contributions: Mapping[str, NDArray[np.float64]]
    residuals: NDArray[np.float64]


def explained(explainer: Explainer, compiled: program.Program, batch: ports.ModelInput) -> ByInput:
    """What `explainer` says of a batch that `compiled` made. Errors: SchemaMismatch; InvariantViolated if a number is not
    finite.
    """
    found = explainer.explain(batch)
    made = ByInput(explainer.method, found.margins, found.base, by_input(found, compiled), found.residuals)
    if not all(np.isfinite(column).all() for column in (made.residuals, *made.contributions.values())):
        raise errors.InvariantViolated(
            "a contribution is not finite; look at the weights of the model", where="explain.contributions"
        )
    return made


def columns(names: Sequence[str]) -> str:
    """Names as a message quotes them."""
    return ", ".join(f"`{name}`" for name in names)


def _missing(column: schema.Column) -> NDArray[np.generic]:
    if column.dtype == "string":
        return np.array([None], dtype=np.object_)
    if column.dtype in ("float32", "float64"):
        return np.array([np.nan], dtype=column.numpy_dtype)
    return np.zeros(1, dtype=column.numpy_dtype)  # an id column's; its id is replaced
