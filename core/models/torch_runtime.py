"""Executes a bundle's network with torch."""

from __future__ import annotations

import copy
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from mainspring.core import errors, ports
from mainspring.core.models import architecture, model_input, network, torch_threads
from mainspring.core.models import source as sources

#: What a network may run in; float32 is what it was trained in.
Dtype = Literal["float32", "bfloat16", "float16"]


class TorchRuntime:
    """A :class:`mainspring.core.ports.ModelRuntime`. Immutable, thread-safe.

    The same batch gives the same scores, bit for bit; a row's score may differ in the last bits between batches of
    different size, because matrix products are summed in another order.
    """

    name: Final = "torch"

    def __init__(
        self, model: network.EmbeddingMlp, *, threads: int = 1, dtype: Dtype = "float32", device: str = "cpu"
    ) -> None:
        """`model` is in that dtype and on that device."""
        self._model = model.eval()
        self._threads = threads
        self._dtype = getattr(torch, dtype)
        self._device = device
        spec = model.architecture
        self._expected = model_input.ExpectedInput(spec.dense_width, len(spec.id_columns))
        rows = {t.column: t.rows for t in spec.tables}
        self._limits = np.array(
            [rows.get(c, np.iinfo(np.int32).max) for c in spec.id_columns], dtype=np.int64
        )

    @classmethod
    def load(cls, source: sources.ModelSource, *, threads: int) -> TorchRuntime:
        """Build the network from a verified bundle, to run on `threads`.

        Errors: CorruptArtifact if architecture and weights do not belong together.
        """
        torch_threads.settle(threads)
        return cls(network.load_weights(architecture.of_bundle(source), source.weights), threads=threads)

    def variant(self, *, threads: int, dtype: Dtype = "float32", device: str = "cpu") -> TorchRuntime:
        """The same network run in another way; in this dtype and on this device it shares the weights.

        Errors: whatever torch raises of a device that does not take it.
        """
        model = self._model
        if getattr(torch, dtype) != self._dtype or device != self._device:
            model = copy.deepcopy(model).to(device=device, dtype=getattr(torch, dtype))
        return TorchRuntime(model, threads=threads, dtype=dtype, device=device)

    def predict(self, batch: ports.ModelInput) -> NDArray[np.float32]:
        """Probabilities (n,) float32; n may be 0.

        Errors: SchemaMismatch for other widths or dtypes; InvariantViolated for an id without an embedding or a
        score that is not finite: the plan promises neither happens.
        """
        self._check(batch)
        torch_threads.use(self._threads)
        with torch.inference_mode():
            dense = _tensor(batch.dense).to(device=self._device, dtype=self._dtype)
            logits = self._model(dense, _tensor(batch.ids).to(self._device))
            scores: NDArray[np.float32] = torch.sigmoid(logits.to(device="cpu", dtype=torch.float32)).numpy()
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
