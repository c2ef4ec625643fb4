"""Explains boosted trees by path-dependent TreeSHAP, with the native kernel: LightGBM's and XGBoost's own numbers."""

from __future__ import annotations

from typing import Final

from mainspring.core import ports
from mainspring.core.models import explain, model_input, model_spec, trees_runtime
from mainspring.core.models import source as sources
from mainspring.native import contributions, status


class TreesExplainer:
    """A :class:`mainspring.core.models.explain.Explainer`. Exact: residuals are rounding, of the sums alone."""

    method: Final = explain.TREE_SHAP

    def __init__(self, model: contributions.Contributions, spec: model_spec.TreesSpec) -> None:
        self._model = model
        self._spec = spec
        self._expected = model_input.ExpectedInput(spec.dense_width, len(spec.id_columns))

    @classmethod
    def load(cls, source: sources.ModelSource) -> TreesExplainer:
        """Read a verified bundle's trees.

        Errors: Conflict for a model without counts of training rows, or one that answers a class and no margin.
        """
        spec = model_spec.read(source, model_spec.TreesSpec)
        made = contributions.Contributions
        try:
            model = (made.from_lightgbm if spec.format == "lightgbm" else made.from_xgboost)(source.weights)
        except status.NativeError as error:
            if error.code != "unsupported_model":
                raise model_spec.unfit(source, str(error)) from error
            raise explain.inexplicable(
                source.digest, str(error).partition(";")[0], "train it anew and keep the library's own file"
            ) from error
        if trees_runtime.read(source, spec).n_outputs != model.n_outputs:
            raise explain.inexplicable(
                source.digest,
                "its score is the number of a class, which no margins sum to",
                "train with `multi:softprob` and name the class as `output`",
            )
        return cls(model, spec)

    def explain(self, batch: ports.ModelInput) -> explain.Explained:
        """As the protocol says. Errors: SchemaMismatch for other widths or dtypes."""
        self._expected.check(batch)
        found = self._model.run(trees_runtime.features(batch), output=self._spec.output)
        width = self._spec.dense_width
        return explain.Explained(found.sum(axis=1), found[:, -1], found[:, :width], found[:, width:-1])
