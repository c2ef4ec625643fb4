"""What there is to know of one answered prediction, and whoever wants to know it: logs, meters, monitors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mainspring.serving import admission, bundles

_LOG: Final = logging.getLogger("mainspring.serving")


@dataclass(frozen=True, slots=True)
class Scored:
    """One request of n rows that a bundle answered. Nobody changes its arrays, each (n,)."""

    endpoint: str
    traffic_version: int
    bundle: bundles.LoadedBundle
    role: str
    asked: admission.Asked
    inputs: Mapping[str, NDArray[Any]]
    """What the plan was given."""
    scores: NDArray[np.float32]
    as_of_us: int
    seconds: float
    cpu_nanos: int
    """CPU time of the thread that made the answer; kernels that use several threads take more."""


#: Must be quick, and may be called from several threads at once.
Observer: TypeAlias = Callable[[Scored], None]


def tell(observer: Observer, scored: Scored) -> None:
    """An observer's mistake is ours and goes to the log: the answer is right, and its caller gets it."""
    try:
        observer(scored)
    except Exception:  # noqa: BLE001 - as above
        _LOG.exception("an observer of predictions failed")
