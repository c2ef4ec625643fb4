"""A batch cut by rows and run side by side, for kernels that take one thread and give a row the same bits in any batch."""

from __future__ import annotations

import functools
import itertools
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from mainspring.core import ports


@functools.cache
def _pool() -> ThreadPoolExecutor:
    """One for all models: there are no more cores than that. Its work waits for nothing, so it always ends."""
    return ThreadPoolExecutor(max(1, (os.cpu_count() or 1) - 1), thread_name_prefix="by-rows")


class ByRowsRuntime:
    """A :class:`mainspring.core.ports.ModelRuntime`: another one's answers, bit for bit where its rows do not depend on
    their batch. Thread-safe, as that one is. It shares the other's weights.
    """

    def __init__(self, runtime: ports.ModelRuntime, parts: int) -> None:
        """Batches are cut into `parts`, of which the caller's thread runs the first."""
        self._runtime = runtime
        self._parts = parts

    @property
    def name(self) -> str:
        return self._runtime.name

    def predict(self, batch: ports.ModelInput) -> NDArray[np.float32]:
        """Scores (n,) float32; n may be 0. Errors: those of the runtime, of the first part that has one."""
        parts = min(self._parts, batch.n_rows)
        # Ids of other rows than there are would be cut off: the runtime refuses them.
        if parts <= 1 or len(batch.ids) != batch.n_rows:
            return self._runtime.predict(batch)
        edges = np.linspace(0, batch.n_rows, parts + 1).astype(int)
        first, *others = [
            ports.ModelInput(batch.dense[low:high], batch.ids[low:high])
            for low, high in itertools.pairwise(edges)
        ]
        running = [_pool().submit(self._runtime.predict, part) for part in others]
        scores = [self._runtime.predict(first)]
        for part, future in zip(others, running, strict=True):
            # One that no thread has begun is run here: everybody may be waiting for the pool.
            scores.append(self._runtime.predict(part) if future.cancel() else future.result())
        return np.concatenate(scores)
