"""Models that a project trains itself, for what is none of our networks: text, pictures, boosted trees.

The project gives weights in the form of a bundle (`docs/adr/0018-kinds-of-bundles.md`); what they score is asked here of the
runtime that will serve them, so that what is judged is what is signed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mainspring.core import errors, projects
from mainspring.core.models import manifest, source

if TYPE_CHECKING:
    import polars as pl

    from mainspring.core.features.plan import FittedPlan

__all__ = ["Epoch", "Fitted", "Learned", "Trained", "Trainer", "fit", "scores"]

#: Rows that are scored at once: a picture's activations are a thousand times its pixels.
_ROWS: Final = 4096
_SPLIT: Final = "split"


@dataclass(frozen=True)
class Learned:
    """One model: its kind, what its `model.json` says and the bytes of the kind's own file."""

    kind: manifest.Kind
    model: Mapping[str, Any]
    data: bytes


@dataclass(frozen=True)
class Epoch:
    """One finished epoch, counted from 0."""

    epoch: int
    train_loss: float
    valid_auc: float


@dataclass(frozen=True)
class Trained:
    """What came of a training. `baseline`: what the candidate has to beat, over the same plan."""

    candidate: Learned
    baseline: Learned
    epochs: tuple[Epoch, ...]
    best_epoch: int = 0


@runtime_checkable
class Trainer(Protocol):
    """What a project provides besides whose model is none of our networks."""

    def train(
        self, rows: pl.DataFrame, fitted: FittedPlan, spec: projects.ModelSpec, *, threads: int
    ) -> Trained:
        """Learn from the training split of `rows`; those of `valid` are for choosing, and the test rows are not there.

        `spec` is the project's own with the run's seed, epochs and changes. The same arguments give the same model.
        """
        ...


@dataclass(frozen=True)
class Fitted:
    """`predictions`: `split`, `label`, `score` and `baseline_score`, the rows of valid and test in the file's order."""

    trained: Trained
    predictions: pl.DataFrame


def fit(
    project: Trainer,
    training_set: Path,
    label: str,
    fitted: FittedPlan,
    spec: projects.ModelSpec,
    *,
    threads: int,
) -> Fitted:
    """Train, and score valid and test with the runtimes of serving.

    Errors: those that the project raises of ours; JobFailed for any other; DataInvalid for an empty split; InvalidRequest
    or CorruptArtifact for a model that could not be served; NotFound without a training set.
    """
    import polars as pl

    try:
        rows = pl.read_parquet(training_set)
    except FileNotFoundError as error:
        raise errors.NotFound(
            f"training set `{training_set}` is gone; start the run again",
            resource="training set",
            name=str(training_set),
        ) from error
    for name in ("train", "valid", "test"):
        if rows.filter(pl.col(_SPLIT) == name).is_empty():
            raise errors.DataInvalid(
                f"split `{name}` has no rows; raise the sample fraction", dataset=name, failed=("rows",)
            )
    trained = _trained(project, rows.filter(pl.col(_SPLIT) != "test"), fitted, spec, threads)
    judged = rows.filter(pl.col(_SPLIT).is_in(["valid", "test"]))
    return Fitted(
        trained,
        judged.select(
            _SPLIT,
            pl.col(label).cast(pl.Int8).alias("label"),
            score=pl.Series(scores(trained.candidate, fitted, judged, threads=threads)),
            baseline_score=pl.Series(scores(trained.baseline, fitted, judged, threads=threads)),
        ),
    )


def scores(
    learned: Learned, fitted: FittedPlan, rows: pl.DataFrame, *, threads: int = 1
) -> NDArray[np.float32]:
    """What a bundle of it would answer, (n,). Errors: those of the runtimes' factories."""
    from mainspring.core.features import frames
    from mainspring.core.models import runtimes

    compiled = fitted.compile()
    part = source.Part("the model just trained", learned.kind, dict(learned.model), learned.data)
    factories = runtimes.model_factories(runtimes.Options(torch_threads=threads))
    if learned.kind not in factories:
        raise errors.InvalidRequest(
            f"a project trains no model of kind `{learned.kind}`; kinds are {', '.join(f'`{k}`' for k in factories)}",
            field="kind",
        )
    runtime = factories[learned.kind](part, compiled)
    parts = [np.zeros(0, np.float32)]
    for start in range(0, rows.height, _ROWS):
        some = rows.slice(start, _ROWS)
        parts.append(runtime.predict(compiled.run(frames.to_numpy(some, compiled.inputs))))
    return np.concatenate(parts)


def _trained(
    project: Trainer, rows: pl.DataFrame, fitted: FittedPlan, spec: projects.ModelSpec, threads: int
) -> Trained:
    try:
        trained = project.train(rows, fitted, spec, threads=threads)
    except errors.MainspringError:
        raise
    except Exception as error:
        raise errors.JobFailed(
            f"the project's own `train` failed with {type(error).__name__}: {' '.join(str(error).split())}; mend it, its"
            " traceback is in the job's log",
            status="project_failed",
        ) from error
    if not 0 <= trained.best_epoch < len(trained.epochs):
        raise errors.JobFailed(
            f"the project's own `train` tells of {len(trained.epochs)} epochs and calls epoch {trained.best_epoch} the"
            " best; tell of at least one, and of the one whose weights it gives",
            status="project_failed",
        )
    return trained
