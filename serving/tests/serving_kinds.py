"""One small model of every kind of bundle, over the plan of serving_bundles, and what each must answer."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from serving_bundles import ARCHITECTURE

from mainspring.core import ports
from mainspring.core.models import bundle, ensemble, exported, network

_PLAN = {"dense_width": 2, "id_columns": ["carrier"]}


@dataclasses.dataclass(frozen=True)
class Made:
    """`model` and `learned` go into a bundle; `answer` says what it must score."""

    kind: bundle.Kind
    model: Mapping[str, Any]
    learned: bytes
    answer: Callable[[ports.ModelInput], NDArray[np.float32]]
    runtime: str
    steps: Mapping[str, bytes] = dataclasses.field(default_factory=dict)

    @property
    def contents(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "model": self.model,
            "weights": self.learned,
            "extra_files": dict(self.steps),
        }

    @property
    def learned_file(self) -> str:
        """A file of what was learned."""
        return bundle.LEARNED[self.kind] or next(iter(self.steps))


def _torch() -> tuple[network.EmbeddingMlp, Callable[[ports.ModelInput], NDArray[np.float32]]]:
    module = network.EmbeddingMlp(ARCHITECTURE, seed=5).eval()

    def answer(batch: ports.ModelInput) -> NDArray[np.float32]:
        with torch.inference_mode():
            logits = module(torch.from_numpy(batch.dense.copy()), torch.from_numpy(batch.ids.copy()))
            scores: NDArray[np.float32] = torch.sigmoid(logits).numpy()
        return scores

    return module, answer


def _network() -> Made:
    module, answer = _torch()
    return Made(
        "embedding_mlp",
        ARCHITECTURE.model_dump(mode="json"),
        network.save_weights(module),
        answer,
        "native",
    )


def _trees() -> Made:
    """2.5 below a distance of 150 km, else 7, and 1 more for carriers after the first two."""

    def tree(feature: int, threshold: float, low: float, high: float) -> dict[str, Any]:
        return {
            "left_children": [1, -1, -1],
            "right_children": [2, -1, -1],
            "split_indices": [feature, 0, 0],
            "split_conditions": [threshold, low, high],
            "default_left": [1, 0, 0],
        }

    document = {
        "learner": {
            "learner_model_param": {"num_feature": "3", "num_class": "0", "base_score": "[0E0]"},
            "objective": {"name": "reg:squarederror"},
            "gradient_booster": {
                "name": "gbtree",
                "model": {"tree_info": [0, 0], "trees": [tree(1, 150.0, 2.5, 7.0), tree(2, 2.0, 0.0, 1.0)]},
            },
        }
    }
    return Made(
        "trees",
        {**_PLAN, "format": "xgboost"},
        json.dumps(document).encode(),
        lambda batch: np.float32(np.where(batch.dense[:, 1] < 150, 2.5, 7) + (batch.ids[:, 0] >= 2)),
        "trees",
    )


def _onnx() -> Made:
    """The product of the dense columns' sum and the id."""
    nodes = [
        helper.make_node("ReduceSum", ["dense", "axis"], ["sum"], keepdims=1),
        helper.make_node("Cast", ["ids"], ["id"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["sum", "id"], ["score"]),
    ]
    graph = helper.make_graph(
        nodes,
        "product",
        [
            helper.make_tensor_value_info("dense", TensorProto.FLOAT, ["n", 2]),
            helper.make_tensor_value_info("ids", TensorProto.INT32, ["n", 1]),
        ],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n", 1])],
        [numpy_helper.from_array(np.array([1], np.int64), "axis")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 10
    assert isinstance(model, onnx.ModelProto)
    return Made(
        "onnx",
        _PLAN,
        model.SerializeToString(),
        lambda batch: batch.dense.sum(axis=1) * np.float32(batch.ids[:, 0]),
        "onnx",
    )


def _torch_export() -> Made:
    module, answer = _torch()
    rows = torch.export.Dim("rows", min=1)
    program = torch.export.export(
        module,
        (torch.zeros(3, 2), torch.zeros(3, 1, dtype=torch.int32)),
        dynamic_shapes=({0: rows}, {0: rows}),
    )
    return Made(
        "torch_export", {**_PLAN, "activation": "sigmoid"}, exported.save(program), answer, "torch_export"
    )


def _ensemble() -> Made:
    """Twice the trees and once the network, all by three."""
    net, trees = _network(), _trees()
    steps = [
        {"name": "trees", "kind": "trees", "model": trees.model},
        {"name": "net", "kind": "embedding_mlp", "model": net.model},
        {"name": "blend", "kind": "mean", "scores_of": ["trees", "net"], "weights": [2, 1]},
    ]
    return Made(
        "ensemble",
        {**_PLAN, "steps": steps, "output": "blend"},
        b"",
        lambda batch: (2 * trees.answer(batch) + net.answer(batch)) / 3,
        "ensemble",
        ensemble.files_of({"trees": ("trees", trees.learned), "net": ("embedding_mlp", net.learned)}),
    )


MAKERS: Mapping[str, Callable[[], Made]] = {
    "embedding_mlp": _network,
    "trees": _trees,
    "onnx": _onnx,
    "torch_export": _torch_export,
    "ensemble": _ensemble,
}
