"""Explanations: the answer to a caller, and what explains a bundle's model, made when somebody first asks."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable

from mainspring.core import errors
from mainspring.core.contracts import prediction
from mainspring.core.models import explain


class Lazy:
    """One bundle's explainer, as large as its model, while most bundles are never asked for one. Thread-safe; made once however many ask for it at a time, and let go of with the bundle."""

    def __init__(self, make: Callable[[], explain.Explainer], digest: str) -> None:
        self._make = make
        self._digest = digest
        self._lock = threading.Lock()
        self._made: explain.Explainer | errors.Conflict | None = None

    def get(self) -> explain.Explainer:
        """Errors: Conflict where there is no method, remembered; DependencyDown if the files cannot be read now, which the
        next call tries again.
        """
        with self._lock:
            if self._made is None:
                self._made = self._try()
            made = self._made
        if isinstance(made, errors.Conflict):
            raise dataclasses.replace(made)  # a traceback of its own for each who asks
        return made

    def _try(self) -> explain.Explainer | errors.Conflict:
        try:
            return self._make()
        except errors.Conflict as refusal:
            return refusal
        except (errors.Rejected, errors.Denied) as error:
            # It was loaded from there: whoever asks for an explanation cannot mend that.
            raise errors.DependencyDown(
                f"bundle `{self._digest}` cannot be read again to explain it: {error.message}",
                name=f"bundle {self._digest}",
            ) from error


def respond(predicted: prediction.PredictResponse, found: explain.ByInput) -> prediction.ExplainResponse:
    """The answer: each prediction with what explains it."""
    names = list(found.contributions)
    rows = zip(*(column.tolist() for column in found.contributions.values()), strict=True)
    numbers = zip(found.margins.tolist(), found.base.tolist(), found.residuals.tolist(), rows, strict=True)
    explanations = [
        prediction.Explanation(
            **answer.model_dump(),
            margin=margin,
            base_value=base,
            residual=residual,
            contributions=dict(zip(names, row, strict=True)),
        )
        for answer, (margin, base, residual, row) in zip(predicted.predictions, numbers, strict=True)
    ]
    return prediction.ExplainResponse.model_validate(
        {
            **predicted.model_dump(exclude={"predictions"}),
            "method": found.method,
            "explanations": explanations,
        }
    )
