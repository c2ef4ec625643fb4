"""Runs a plain Python or NumPy function as a model: rules, baselines and linear models need no framework."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mainspring.core import ports
from mainspring.serving.runtimes import scores


class FunctionRuntime:
    """Calls `function` once per batch. As thread-safe as the function."""

    def __init__(
        self, function: Callable[[ports.ModelInput], NDArray[Any]], *, name: str = "function"
    ) -> None:
        self._function = function
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    def predict(self, batch: ports.ModelInput) -> NDArray[np.float32]:
        """Scores (n,) float32; float64 results are narrowed. Errors: InvariantViolated for any other answer."""
        answer = self._function(batch)
        if isinstance(answer, np.ndarray) and answer.dtype == np.float64:
            answer = answer.astype(np.float32)
        return scores.checked(answer, batch.n_rows, f"runtime.{self._name}")
