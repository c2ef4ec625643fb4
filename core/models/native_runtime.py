"""Executes a bundle's network with the native kernel: no torch in the process, and some ten times less time for a row."""

from __future__ import annotations

from typing import Final

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from mainspring.core import errors, ports
from mainspring.core.models import architecture, manifest, model_input, packed
from mainspring.core.models import source as sources
from mainspring.native import mlp, status

#: How far its scores may be from torch's, as `numpy.testing.assert_allclose` counts: sums go in another order there.
RTOL: Final = 1e-5
ATOL: Final = 1e-6


class NativeRuntime:
    """A :class:`mainspring.core.ports.ModelRuntime`. Immutable, thread-safe.

    A row's score is the same, bit for bit, alone and in any batch, and on every CPU.
    """

    name: Final = "native"

    def __init__(self, model: mlp.Mlp) -> None:
        """`model` gives one number a row, a probability."""
        self._model = model
        self._expected = model_input.ExpectedInput(model.dense_width, model.n_ids)

    @classmethod
    def load(
        cls,
        source: sources.ModelSource,
        *,
        target: str | None = None,
        exchange: packed.Exchange | None = None,
    ) -> NativeRuntime:
        """Pack the network of a verified bundle; `target` as in `native.mlp.make`. With an `exchange` the weights are those
        that other processes have in memory, if they hold the same bytes.

        Errors: CorruptArtifact if architecture and weights do not belong together; MissingTool if they do, and this
        kernel does not take them (weights that are not float32, more inputs than it has room for): torch may.
        """
        spec = architecture.of_bundle(source)
        state = _weights(spec, source.weights)
        indices = [spec.id_columns.index(t.column) for t in spec.tables]
        try:
            model = mlp.from_state(
                state,
                dense_width=spec.dense_width,
                id_indices=indices,
                n_ids=len(spec.id_columns),
                output="sigmoid",
                target=target,
            )
        except status.NativeError as error:
            raise _not_taken(str(error)) from error
        return packed.over_shared(cls, model, exchange, source.digest)

    @property
    def packed_size(self) -> packed.Size:
        """Of its weights in memory."""
        return packed.size_of_model(self._model)

    @property
    def model(self) -> mlp.Mlp:
        """The packed network."""
        return self._model

    def predict(self, batch: ports.ModelInput) -> NDArray[np.float32]:
        """Probabilities (n,) float32; n may be 0.

        Errors: SchemaMismatch for other widths or dtypes; InvariantViolated for an id without an embedding or a
        score that is not finite: the plan promises neither happens.
        """
        self._expected.check(batch)
        try:
            # The kernel reads ids column by column, as programs write them; of one row that is the same memory.
            scores = self._model.run(
                np.ascontiguousarray(batch.dense), np.ascontiguousarray(batch.ids.T)
            ).ravel()
        except status.NativeError as error:
            raise errors.InvariantViolated(
                f"an id has no embedding ({error}); the plan and the model of a bundle disagree about the vocabulary",
                where="native_runtime.ids",
            ) from error
        if not np.isfinite(scores).all():
            raise errors.InvariantViolated(
                "a score is not finite; the plan must fill every missing value", where="native_runtime.scores"
            )
        return scores


def _weights(spec: architecture.Architecture, data: bytes) -> dict[str, NDArray[np.float32]]:
    """float32, finite, in memory of their own. Errors: CorruptArtifact, MissingTool."""
    try:
        state: dict[str, NDArray[np.float32]] = safetensors.numpy.load(data)
    except safetensors.SafetensorError as error:
        raise _corrupt(spec, f"weights do not fit the architecture: {error}", str(error)) from error
    except KeyError as error:  # a type that NumPy has not, bfloat16
        raise _not_taken(f"the weights are {error.args[0]}") from error
    shapes = {name: value.shape for name, value in state.items()}
    if shapes != spec.tensors:
        differing = sorted(f"{k} {v}" for k, v in shapes.items() ^ spec.tensors.items())
        raise _corrupt(
            spec, f"weights do not fit the architecture: {', '.join(differing)}", ", ".join(differing)
        )
    if other := sorted({str(v.dtype) for v in state.values()} - {"float32"}):
        raise _not_taken(f"the weights are {', '.join(other)}")
    if not all(np.isfinite(v).all() for v in state.values()):
        raise _corrupt(spec, "a weight is NaN or infinite", "NaN or infinity")
    return state


def _corrupt(spec: architecture.Architecture, why: str, got: str) -> errors.CorruptArtifact:
    return errors.CorruptArtifact(
        f"{why}; write the bundle again from the run that trained it",
        artifact=manifest.WEIGHTS,
        expected="float32 tensors " + ", ".join(f"{k} {v}" for k, v in spec.tensors.items()),
        got=got,
    )


def _not_taken(why: str) -> errors.MissingTool:
    return errors.MissingTool(
        f"the native runtime does not take this network: {why}; set `serving.runtime` to `auto` or `torch`",
        tool="native",
        fix="pip install 'mainspring[training]'",
    )
