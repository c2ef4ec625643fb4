"""The one model of every contestant: an MLP 64-256-256-1 in NumPy, seed 0, and one request for it."""

from __future__ import annotations

import itertools
import time
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from mainspring.native import mlp as mlp_module
from mainspring.serving.models import function_model, native_model, tensor_model

WIDTHS: Final = (64, 256, 256, 1)
#: Seconds that the model of the overload rows takes: it sleeps, so that capacity is known and needs no CPU.
HELD_SECONDS: Final = 0.004
#: Seconds of work of the model that makes all servers alike.
WORKED_SECONDS: Final = 0.010

_random = np.random.default_rng(0)
LAYERS: Final = [
    (
        (_random.normal(size=(a, b)) / np.sqrt(a)).astype(np.float32),
        _random.normal(size=b).astype(np.float32),
    )
    for a, b in itertools.pairwise(WIDTHS)
]
ROW: Final = _random.normal(size=(1, WIDTHS[0])).astype(np.float32)


def forward(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, 64) to (n, 1) float32."""
    for i, (weights, bias) in enumerate(LAYERS):
        x = x @ weights + bias
        if i < len(LAYERS) - 1:
            x = np.maximum(x, 0, out=x)
    return x


def _signature() -> tensor_model.Signature:
    return tensor_model.Signature(
        (tensor_model.TensorSpec("x", "FP32", (-1, WIDTHS[0])),),
        (tensor_model.TensorSpec("y", "FP32", (-1, 1)),),
        "function",
        max_batch_size=4096,
    )


def mlp() -> function_model.FunctionModel:
    return function_model.FunctionModel("mlp", _signature(), lambda tensors: {"y": forward(tensors["x"])})


def native() -> native_model.NativeModel:
    """The same network as a native model."""
    layers = [
        mlp_module.Layer(np.ascontiguousarray(w.T), bias, "relu" if i < len(LAYERS) - 1 else "identity")
        for i, (w, bias) in enumerate(LAYERS)
    ]
    return native_model.NativeModel("mlp", mlp_module.make(WIDTHS[0], layers))


def held() -> function_model.FunctionModel:
    """The same answer after HELD_SECONDS of sleep, which lets go of the interpreter."""

    def slow(tensors: tensor_model.Tensors) -> dict[str, Any]:
        time.sleep(HELD_SECONDS)
        return {"y": forward(tensors["x"])}

    return function_model.FunctionModel("held", _signature(), slow)


def worked(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same answer after WORKED_SECONDS of work: CPU time of this thread."""
    until = time.thread_time() + WORKED_SECONDS
    y = forward(x)
    while time.thread_time() < until:
        pass
    return y


def slow() -> function_model.FunctionModel:
    """A model whose arithmetic is most of a request."""
    return function_model.FunctionModel("slow", _signature(), lambda tensors: {"y": worked(tensors["x"])})


def json_body(id: str | None = None, **parameters: Any) -> bytes:
    """The request as v2 JSON: one row."""
    tensor = {"name": "x", "shape": [1, 64], "datatype": "FP32", "data": ROW.ravel().tolist()}
    beside: dict[str, Any] = {} if id is None else {"id": id}
    return orjson.dumps(beside | {"inputs": [tensor]} | ({"parameters": parameters} if parameters else {}))


def binary_body() -> tuple[bytes, int]:
    """The request with a binary tensor, answered binary; and the length of its JSON part."""
    tensor = {"name": "x", "shape": [1, 64], "datatype": "FP32", "parameters": {"binary_data_size": 256}}
    head = orjson.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}})
    return head + ROW.tobytes(), len(head)


def is_right(body: bytes, json_length: int | None) -> bool:
    """Whether an answer is the model's."""
    head = orjson.loads(body if json_length is None else body[:json_length])
    output = head["outputs"][0]
    got = output["data"] if json_length is None else np.frombuffer(body[json_length:], np.float32)
    return bool(np.allclose(got, forward(ROW).ravel(), rtol=1e-5))
