"""Tiny, which trains its model itself: a network that it did not even look at the rows for."""

from __future__ import annotations

from typing import Any, Final

import polars as pl
import tiny_project

from mainspring.core import trainers
from mainspring.core.models import architecture, network


class Own(tiny_project.Tiny):
    """What a test wants to go wrong is set as `problem`."""

    problem: Exception | None = None

    def train(self, rows: pl.DataFrame, fitted: Any, spec: Any, *, threads: int) -> trainers.Trained:
        if self.problem is not None:
            raise self.problem
        compiled = fitted.compile()
        made = architecture.Architecture.of(
            spec,
            dense_width=len(compiled.dense_names),
            id_columns=dict(zip(compiled.id_names, compiled.id_sizes, strict=True)),
        )
        learned = [
            trainers.Learned(
                "embedding_mlp",
                one.model_dump(mode="json"),
                network.save_weights(network.EmbeddingMlp(one, seed=seed)),
            )
            for seed, one in ((1, made), (2, made.baseline()))
        ]
        return trainers.Trained(learned[0], learned[1], (trainers.Epoch(0, 0.7, 0.5),))


PROJECT: Final = Own(rows=600)
