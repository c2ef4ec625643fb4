"""Explains a program of `torch.export` by integrated gradients, with torch's own derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from mainspring.core import ports
from mainspring.core.models import (
    explain,
    exported,
    integrated_gradients,
    model_input,
    model_spec,
    torch_threads,
)
from mainspring.core.models import source as sources


class ExportedExplainer:
    """A :class:`mainspring.core.models.explain.Explainer`. Programs compute in float32: residuals are larger than a
    network's.
    """

    method: Final = explain.INTEGRATED_GRADIENTS

    def __init__(
        self, module: Callable[..., torch.Tensor], dense_width: int, baseline: ports.ModelInput
    ) -> None:
        """`module` takes (n, dense_width) float32 and gives (n,) or (n, m), of which the first is the margin."""
        self._module = module
        self._expected = model_input.ExpectedInput(dense_width, 0)
        self._baseline = baseline.dense[0].astype(np.float64)

    @classmethod
    def load(
        cls, source: sources.ModelSource, compiled: sources.PlanOutput, baseline: ports.ModelInput
    ) -> ExportedExplainer:
        """Of a verified bundle. Errors: Conflict for a program that takes ids, or has no derivatives."""
        spec = model_spec.read(source, model_spec.ExportedSpec)
        if spec.id_columns:
            raise explain.inexplicable(
                source.digest,
                f"its program takes the ids of {explain.columns(spec.id_columns)}, and where it keeps their embeddings"
                " is not known",
                "bundle the network as `embedding_mlp`",
            )
        torch_threads.use()
        runtime = exported.ExportedRuntime.load(source, compiled, threads=torch.get_num_threads())
        made = cls(runtime.module, spec.dense_width, baseline)
        try:
            made._gradient(baseline.dense.astype(np.float64))
        except RuntimeError as error:  # what torch raises where nothing can be differentiated
            raise explain.inexplicable(
                source.digest,
                f"its program has no derivatives ({str(error)[:200]})",
                "export it without `torch.no_grad`",
            ) from error
        return made

    def explain(self, batch: ports.ModelInput) -> explain.Explained:
        """As the protocol says. Errors: SchemaMismatch for other widths or dtypes."""
        self._expected.check(batch)
        rows = batch.dense.astype(np.float64)
        found = integrated_gradients.integrate(self._gradient, rows, self._baseline)
        return explain.Explained(found.margins, found.base, found.contributions, np.zeros((len(rows), 0)))

    def _gradient(self, points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        torch_threads.use()  # what ran before in this thread may have had others
        with torch.enable_grad():
            inputs = torch.from_numpy(points.astype(np.float32)).requires_grad_()
            margins = self._module(inputs).reshape(len(points), -1)[:, 0]
            (gradients,) = torch.autograd.grad(margins.sum(), inputs)
        return margins.detach().double().numpy(), gradients.double().numpy()
