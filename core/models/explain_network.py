"""Explains the platform's network by integrated gradients, with NumPy: no torch, whichever runtime answers.

Embeddings are inputs like any other here: an id's contribution is the sum of its embedding's, on the line from the
embedding of "missing".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from mainspring.core import ports
from mainspring.core.models import architecture, explain, integrated_gradients, model_input
from mainspring.core.models import source as sources


class NetworkExplainer:
    """A :class:`mainspring.core.models.explain.Explainer`. Everything is float64: the margin is the network's own logit
    without the runtime's rounding, some 1e-6 away.
    """

    method: Final = explain.INTEGRATED_GRADIENTS

    def __init__(
        self,
        spec: architecture.Architecture,
        state: Mapping[str, NDArray[np.float64]],
        baseline: ports.ModelInput,
    ) -> None:
        """`state`: the tensors of `spec` by name; `baseline`: one row of the plan's output."""
        self._spec = spec
        self._expected = model_input.ExpectedInput(spec.dense_width, len(spec.id_columns))
        self._tables = [
            (spec.id_columns.index(t.column), state[f"tables.{i}.weight"]) for i, t in enumerate(spec.tables)
        ]
        names = [n for n in spec.tensors if n.startswith("head.") and n.endswith(".bias")]
        self._layers = [(state.get(n.removesuffix("bias") + "weight"), state[n]) for n in names]
        self._baseline = self._embedded(baseline)[0]

    @classmethod
    def load(cls, source: sources.ModelSource, baseline: ports.ModelInput) -> NetworkExplainer:
        """Of a verified bundle whose runtime took these weights."""
        spec = architecture.of_bundle(source)
        return cls(spec, _weights(spec, source.weights), baseline)

    def explain(self, batch: ports.ModelInput) -> explain.Explained:
        """As the protocol says. Errors: SchemaMismatch for other widths or dtypes."""
        self._expected.check(batch)
        rows = self._embedded(batch)
        found = integrated_gradients.integrate(self._gradient, rows, self._baseline)
        ids = np.zeros((len(rows), len(self._spec.id_columns)))
        start = self._spec.dense_width
        for column, table in self._tables:
            end = start + table.shape[1]
            ids[:, column] += found.contributions[:, start:end].sum(axis=1)
            start = end
        dense = found.contributions[:, : self._spec.dense_width]
        return explain.Explained(found.margins, found.base, dense, ids)

    def _embedded(self, batch: ports.ModelInput) -> NDArray[np.float64]:
        embedded = [table[batch.ids[:, column]] for column, table in self._tables]
        return np.concatenate([batch.dense.astype(np.float64), *embedded], axis=1)

    def _gradient(self, points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if self._spec.is_logistic_regression:
            return self._line(points)
        hidden, active = points, []
        for weight, bias in self._layers[:-1]:
            assert weight is not None  # only a logistic regression of ids alone has none
            sums = hidden @ weight.T + bias
            active.append(sums > 0)
            hidden = sums * active[-1]
        last, bias = self._layers[-1]
        assert last is not None
        margins = hidden @ last[0] + bias[0]
        gradients = np.broadcast_to(last[0], hidden.shape)
        for (weight, _), is_active in zip(reversed(self._layers[:-1]), reversed(active), strict=True):
            gradients = (gradients * is_active) @ weight
        return margins, gradients

    def _line(self, points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """A logistic regression adds an id's one weight to the logit as it is."""
        weight, bias = self._layers[0]
        slopes = np.ones(points.shape[1])
        if weight is not None:
            slopes[: self._spec.dense_width] = weight[0]
        return points @ slopes + bias[0], np.broadcast_to(slopes, points.shape)


def _weights(spec: architecture.Architecture, data: bytes) -> dict[str, NDArray[np.float64]]:
    try:
        state = safetensors.numpy.load(data)
    except KeyError:  # a type that NumPy has not, bfloat16: torch answers for such a bundle, and is imported
        from mainspring.core.models import network

        loaded = network.load_weights(spec, data).state_dict()
        return {name: tensor.double().numpy() for name, tensor in loaded.items()}
    return {name: value.astype(np.float64) for name, value in state.items()}
