"""Executes a bundle's boosted trees with the native kernel: LightGBM's or XGBoost's answers without their libraries."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mainspring.core import errors, ports
from mainspring.core.models import model_input, model_spec, packed
from mainspring.core.models import source as sources
from mainspring.native import status, trees


class TreesRuntime:
    """A :class:`mainspring.core.ports.ModelRuntime`. Immutable, thread-safe.

    A row's score has the same bits alone and in any batch. LightGBM's float64 answers are rounded to float32.
    """

    name: Final = "trees"

    def __init__(self, model: trees.Trees, spec: model_spec.TreesSpec) -> None:
        self._model = model
        self._column = spec.output
        self._expected = model_input.ExpectedInput(spec.dense_width, len(spec.id_columns))

    @classmethod
    def load(
        cls,
        source: sources.ModelSource,
        compiled: sources.PlanOutput,
        *,
        exchange: packed.Exchange | None = None,
    ) -> TreesRuntime:
        """Read a verified bundle's trees. With an `exchange` their arrays are those that other processes have in memory, if
        they hold the same bytes.

        Errors: CorruptArtifact if they are damaged, or do not take what the plan gives; MissingTool for a feature of
        these libraries that the kernel does not repeat.
        """
        spec = model_spec.read(source, model_spec.TreesSpec)
        model_input.check_plan(
            compiled, source.digest, dense_width=spec.dense_width, ids=dict.fromkeys(spec.id_columns, 0)
        )
        model = read(source, spec)
        width = spec.dense_width + len(spec.id_columns)
        if model.width != width:
            raise model_spec.unfit(source, f"the trees take {model.width} features, not {width}")
        if model.n_outputs <= spec.output:
            raise model_spec.unfit(
                source, f"`output` is {spec.output}, the trees give {model.n_outputs} numbers a row"
            )
        gives = (*compiled.dense_names, *compiled.id_names)
        # Names that are others altogether are a library's own, or a training's that renamed them.
        if model.feature_names != gives and set(model.feature_names) == set(gives):
            raise model_spec.unfit(
                source,
                f"the trees want the columns as {list(model.feature_names)}, the plan gives {list(gives)}",
            )
        return packed.over_shared(lambda one: cls(one, spec), model, exchange, source.digest)

    @property
    def packed_size(self) -> packed.Size:
        """Of their arrays in memory."""
        return packed.size_of_model(self._model)

    @property
    def model(self) -> trees.Trees:
        """The trees."""
        return self._model

    @property
    def output(self) -> int:
        """Which of the numbers that the trees give is the score."""
        return self._column

    def predict(self, batch: ports.ModelInput) -> NDArray[np.float32]:
        """Scores (n,) float32; n may be 0.

        Errors: SchemaMismatch for other widths or dtypes; InvariantViolated for a score that is not finite.
        """
        self._expected.check(batch)
        with np.errstate(over="ignore"):  # of float64 that float32 has not: not finite, as below
            scores = self._model.run(features(batch))[:, self._column].astype(np.float32)
        if not np.isfinite(scores).all():
            raise errors.InvariantViolated(
                "a score is not finite; look at the objective and the leaves of the trees",
                where="trees_runtime.scores",
            )
        return scores


def features(batch: ports.ModelInput) -> NDArray[np.float32]:
    """What the trees take, (n, dense_width + id columns)."""
    if not batch.ids.shape[1]:
        return np.ascontiguousarray(batch.dense)
    # float32 holds each id of a vocabulary of up to 2^24 exactly.
    return np.concatenate([batch.dense, batch.ids], axis=1, dtype=np.float32, casting="unsafe")


def read(source: sources.ModelSource, spec: model_spec.TreesSpec) -> trees.Trees:
    """The trees of a verified bundle. Errors: CorruptArtifact, MissingTool."""
    reader = trees.Trees.from_lightgbm if spec.format == "lightgbm" else trees.Trees.from_xgboost
    try:
        return reader(source.weights)
    except status.NativeError as error:
        if error.code == "unsupported_model":
            raise errors.MissingTool(
                f"the native trees do not repeat what bundle `{source.digest}` has: {error}; export the model as ONNX",
                tool="native.trees",
            ) from error
        raise model_spec.unfit(
            source, f"{error}", expected=f"a model of {spec.format}", got="other bytes"
        ) from error
