"""Executes a bundle's network with torch."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from mainspring.core import errors, ports
from mainspring.core.models import architecture, model_input, network
from mainspring.core.models import source as sources


class TorchRuntime:
    """A :class:`mainspring.core.ports.ModelRuntime`. Immutable, thread-safe.

    The same batch gives the same scores, bit for bit; a row's score may differ in the last bits between batches of
    different size, because matrix products are summed in another order.
    """

    name: Final = "torch"

    def __init__(self, model: network.EmbeddingMlp) -> None:
        self._model = model.eval()
        spec = model.architecture
        self._expected = model_input.ExpectedInput(spec.dense_width, len(spec.id_columns))
        rows = {t.column: t.rows for t in spec.tables}
        self._limits = np.array(
            [rows.get(c, np.iinfo(np.int32).max) for c in spec.id_columns], dtype=np.int64
        )

    @classmethod
    def load(cls, source: sources.ModelSource, *, threads: int) -> TorchRuntime:
        """Build the network from a verified bundle; `threads` is set for the whole process.

        Errors: CorruptArtifact if architecture and weights do not belong together.
        """
        torch.set_num_threads(threads)
        return cls(network.load_weights(architecture.of_bundle(source), source.weights))

    def predict(self, batch: ports.ModelInput) -> NDArray[np.float32]:
        """Probabilities (n,) float32; n may be 0.

        Errors: SchemaMismatch for other widths or dtypes; InvariantViolated for an id without an embedding or a
        score that is not finite: the plan promises neither happens.
        """
        self._check(batch)
        with torch.inference_mode():
            scores: NDArray[np.float32] = torch.sigmoid(
                self._model(_tensor(batch.dense), _tensor(batch.ids))
            ).numpy()
        if not np.isfinite(scores).all():
            raise errors.InvariantViolated(
                "a score is not finite; the plan must fill every missing value", where="torch_runtime.scores"
            )
        return scores

    def _check(self, batch: ports.ModelInput) -> None:
        self._expected.check(batch)
        if batch.ids.size and bool(((batch.ids < 0) | (batch.ids >= self._limits)).any()):
            raise errors.InvariantViolated(
                "an id has no embedding; the plan and the model of a bundle disagree about the vocabulary",
                where="torch_runtime.ids",
            )


def _tensor(array: NDArray[np.float32] | NDArray[np.int32]) -> torch.Tensor:
    # torch has no read-only tensors: it warns about such an array, so that one is copied.
    return torch.from_numpy(array if array.flags.writeable else array.copy())
