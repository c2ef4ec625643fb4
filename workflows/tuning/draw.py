"""The trials of a study, drawn at random: the same request has the same trials, on every worker and after every crash."""

from __future__ import annotations

import math
import random

from mainspring.core import projects
from mainspring.core.contracts.training import ModelChanges
from mainspring.core.contracts.tuning import SearchSpace

__all__ = ["draw"]


def draw(spec: projects.ModelSpec, space: SearchSpace, *, trials: int, seed: int) -> tuple[ModelChanges, ...]:
    """The project's own model first, so that the best is never worse; then `trials - 1` draws."""
    source = random.Random(seed)
    rates = space.learning_rate or (spec.learning_rate / 10, spec.learning_rate * 10)

    def one() -> ModelChanges:
        return ModelChanges(
            learning_rate=_logarithmic(source, rates),
            weight_decay=_logarithmic(source, space.weight_decay),
            dropout=source.uniform(*space.dropout),
            hidden_sizes=source.choice(space.hidden_sizes) if space.hidden_sizes else None,
            batch_rows=source.choice(space.batch_rows) if space.batch_rows else None,
        )

    return (ModelChanges(), *(one() for _ in range(trials - 1)))


def _logarithmic(source: random.Random, bounds: tuple[float, float]) -> float:
    low, high = bounds
    # The exponential of a logarithm may fall out of the range by its last digit.
    return min(high, max(low, math.exp(source.uniform(math.log(low), math.log(high)))))
