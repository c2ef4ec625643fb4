"""The contestants' network and its answer in v2 JSON, for servers that bring no protocol of their own.

Runs in the peer's environment, in a folder with `weights.npz`: NumPy only.
"""

from __future__ import annotations

import pathlib
import time
from typing import Any

import numpy as np

_stored = np.load(pathlib.Path(__file__).parent / "weights.npz")
LAYERS = [(_stored[f"w{i}"], _stored[f"b{i}"]) for i in range(len(_stored.files) // 2)]


def forward(x: Any) -> Any:
    """(n, inputs) to (n, outputs) float32."""
    for i, (weights, bias) in enumerate(LAYERS):
        x = x @ weights + bias
        if i < len(LAYERS) - 1:
            x = np.maximum(x, 0, out=x)
    return x


def slow(x: Any, seconds: float = 0.010) -> Any:
    """The same answer after that much of work: CPU time of this thread."""
    until = time.thread_time() + seconds
    y = forward(x)
    while time.thread_time() < until:
        pass
    return y


def infer(tensor: dict[str, Any]) -> dict[str, Any]:
    """One input as v2 JSON has it to the whole answer."""
    y = forward(np.asarray(tensor["data"], np.float32).reshape(tensor["shape"]))
    output = {"name": "y", "datatype": "FP32", "shape": list(y.shape), "data": y.ravel().tolist()}
    return {"model_name": "mlp", "model_version": "1", "outputs": [output]}
