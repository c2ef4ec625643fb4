"""The tiny project with a row that kills whoever derives its features, as one that needs more memory than there is."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import tiny_project

#: A value of `x` that kills.
POISON: Final = 1e30


class Poisoned(tiny_project.Tiny):
    name = "poisoned"

    def derive(self, columns: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[np.float32]]:
        if (columns["x"] >= np.float32(POISON)).any():
            os.kill(os.getpid(), signal.SIGKILL)
        return {}


PROJECT: Final = Poisoned()
