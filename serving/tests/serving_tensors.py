"""Tensor models for the tests of the v2 protocols, and one of every datatype."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mainspring.native import mlp
from mainspring.serving.models import datatypes, function_model, native_model, repository
from mainspring.serving.models.tensor_model import Signature, Tensors, TensorSpec

#: Sums of small whole numbers times these are exact in any order.
WEIGHTS = np.arange(-4, 4, dtype=np.float32) / 4


def linear(tensors: Tensors) -> dict[str, NDArray[Any]]:
    return {"y": (tensors["x"] @ WEIGHTS)[:, None]}


def everything() -> function_model.FunctionModel:
    """One input and one output of each datatype, shape [-1, -1], which come back as they went in."""
    specs = [TensorSpec(name.lower(), name, (-1, -1)) for name in datatypes.DATATYPES]
    outputs = tuple(TensorSpec("out_" + s.name, s.datatype, s.shape) for s in specs)
    return function_model.FunctionModel(
        "everything",
        Signature(tuple(specs), outputs, "function"),
        lambda tensors: {"out_" + name: value for name, value in tensors.items()},
    )


def echo(datatype: str, *, name: str = "echo") -> function_model.FunctionModel:
    """One tensor of one datatype, any two dimensions, as it came."""
    shape = (-1, -1)
    return function_model.FunctionModel(
        name,
        Signature((TensorSpec("x", datatype, shape),), (TensorSpec("y", datatype, shape),), "function"),
        lambda tensors: {"y": tensors["x"]},
    )


def linear_function() -> function_model.FunctionModel:
    """8 floats a row to one, at most 64 rows."""
    signature = Signature(
        (TensorSpec("x", "FP32", (-1, 8)),),
        (TensorSpec("y", "FP32", (-1, 1)),),
        "function",
        max_batch_size=64,
    )
    return function_model.FunctionModel("linear", signature, linear)


def network() -> native_model.NativeModel:
    """The same, natively."""
    return native_model.NativeModel("linear", mlp.make(8, [mlp.Layer(WEIGHTS[None])]), max_rows=64)


class Held:
    """A model that answers when it is let: `entered` counts who is inside."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.entered = threading.Semaphore(0)
        self.calls = 0

    def __call__(self, tensors: Tensors) -> Tensors:
        self.calls += 1
        self.entered.release()
        assert self.go.wait(30)
        return {"y": tensors["x"]}

    def model(self) -> function_model.FunctionModel:
        shape = (-1,)
        signature = Signature(
            (TensorSpec("x", "FP32", shape),), (TensorSpec("y", "FP32", shape),), "function"
        )
        return function_model.FunctionModel("held", signature, self)


def broken(tensors: Tensors) -> Tensors:
    raise ZeroDivisionError("a model's own mistake")


def models() -> Mapping[str, repository.ModelFactory]:
    """All but the held one, by name."""
    wrong = Signature((TensorSpec("x", "FP32", (-1,)),), (TensorSpec("y", "FP32", (-1,)),), "function")
    return {
        "everything": everything,
        "linear": network,
        "texts": lambda: echo("BYTES", name="texts"),
        "floats": lambda: echo("FP32", name="floats"),
        "broken": lambda: function_model.FunctionModel("broken", wrong, broken),
        "liar": lambda: function_model.FunctionModel(
            "liar", wrong, lambda tensors: {"y": tensors["x"].astype(np.float64)}
        ),
    }
