"""Trees and a small network against ONNX Runtime, the libraries' own predictors, torch and NumPy.

The trees: 200 trees of 31 leaves over 40 features, trained here by LightGBM (regression, so that no transform blurs
the sums). The network: 64 -> 128 -> 64 -> 1 with ReLU and a sigmoid. Everybody has one thread.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import lightgbm
import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper

from mainspring.bench.native import contest
from mainspring.bench.native.contest import Contest, Contestant
from mainspring.native import mlp, trees

FEATURES, TREES, LEAVES = 40, 200, 31
WIDTHS = (64, 128, 64, 1)
ROWS = (1, 64, 4096)
TARGET = 3.0
#: Where the time of one row goes, for a target that is missed.
PROFILES = {
    "trees": (
        "the call takes 0.07 us; without AVX2 small trees are walked, eight together for as many steps as the deepest has "
        "(13.8 in the mean, where a path has 5.9), 0.9 ns each"
    ),
    "mlp": "the call takes 0.07 us, the rest is the layers",
}


def contests(*, quick: bool) -> list[Callable[[], Contest]]:
    """Trees and network at 1, 64 and 4,096 rows; `quick` leaves the 4,096 out."""
    rows = ROWS[:2] if quick else ROWS
    return [functools.partial(build, n) for build in (tree_contest, mlp_contest) for n in rows]


def judge(results: Iterable[dict[str, Any]], *, quick: bool) -> list[dict[str, Any]]:
    """At one row ONNX Runtime with its buffers bound must take three times as long as ours; by the shortest rounds."""
    del quick
    found = {r["name"]: r for r in results}
    goals = []
    for name, family in (("trees", "trees"), ("MLP", "mlp")):
        ours, peer = (_least(found.get(f"{family}/1/{who}")) for who in ("mainspring", "onnxruntime-bound"))
        ratio = peer / ours if ours and peer else None
        ok = ratio is not None and ratio >= TARGET
        goal = contest.goal(f"{name}, batch 1", ours, "us", ratio, "onnxruntime", TARGET, ok=ok)
        if ratio is None:
            goal["why"] = "no answer from one of the two in this run"
        elif not ok:
            goal["why"] = "profiled: " + PROFILES[family]
        goals.append(goal)
    return goals


def _least(record: dict[str, Any] | None) -> float | None:
    """The shortest round: at a few microseconds a busy neighbour outweighs what is measured."""
    return record.get("min", record["value"]) if record else None


@functools.cache
def booster() -> lightgbm.Booster:
    """Trained once a process, seeded."""
    random = np.random.default_rng(0)
    x = random.normal(size=(5000, FEATURES)).astype(np.float32)
    y = x[:, :8].sum(axis=1) + 2 * x[:, 8] * x[:, 9] + random.normal(size=len(x))
    settings = {"objective": "regression", "num_leaves": LEAVES, "verbose": -1, "num_threads": 1, "seed": 0}
    return lightgbm.train(settings, lightgbm.Dataset(x, y), TREES)


def tree_contest(rows: int) -> Contest:
    """Answers must equal LightGBM's within 1e-5: ONNX Runtime sums in float32."""
    model = booster()
    x = np.random.default_rng(rows).normal(size=(rows, FEATURES)).astype(np.float32)
    want = model.predict(x, num_threads=1)
    compiled = trees.Trees.from_lightgbm(model.model_to_string())
    bound = compiled.bind(x)
    out = bound.out  # as for ONNX Runtime, whose contestant returns what it bound
    session = _session(_tree_graph(model))

    def ours() -> Any:
        bound.run()
        return out

    def exactly(got: Any) -> str | None:
        return None if np.array_equal(got[:, 0], want) else "differs from LightGBM"

    near = _near(want, 1e-5)
    made = [
        Contestant("mainspring", 1, ours, exactly, is_ours=True),
        Contestant(
            "mainspring-call", 1, lambda: compiled.run(x), exactly, is_ours=True, note="a new output a call"
        ),
        *_onnx(session, x, near),
        Contestant("lightgbm", 1, lambda: model.predict(x, num_threads=1), near),
    ]
    return Contest("trees", rows, made)


def _tree_graph(model: lightgbm.Booster) -> Any:
    """The booster as one TreeEnsembleRegressor, node by node."""
    names = ("treeids", "nodeids", "modes", "featureids", "values", "truenodeids", "falsenodeids",
             "missing_value_tracks_true")  # fmt: skip
    nodes: dict[str, list[Any]] = {f"nodes_{n}": [] for n in names}
    targets: dict[str, list[Any]] = {f"target_{n}": [] for n in ("treeids", "nodeids", "ids", "weights")}

    def add(tree: int, node: dict[str, Any], count: list[int]) -> int:
        me = count[0]
        count[0] += 1
        at = len(nodes["nodes_treeids"])
        is_leaf = "leaf_value" in node
        threshold = 0.0 if is_leaf else _round_down(node["threshold"])
        row = (
            tree,
            me,
            "LEAF" if is_leaf else "BRANCH_LEQ",
            node.get("split_feature", 0),
            threshold,
            0,
            0,
            0,
        )
        for name, value in zip(names, row, strict=True):
            nodes[f"nodes_{name}"].append(value)
        if is_leaf:
            for name, value in zip(targets, (tree, me, 0, node["leaf_value"]), strict=True):
                targets[name].append(value)
        else:
            nodes["nodes_truenodeids"][at] = add(tree, node["left_child"], count)
            nodes["nodes_falsenodeids"][at] = add(tree, node["right_child"], count)
        return me

    for tree in model.dump_model()["tree_info"]:
        add(tree["tree_index"], tree["tree_structure"], [0])
    node = helper.make_node(
        "TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", n_targets=1, **nodes, **targets
    )  # fmt: skip
    return _model([node], [], FEATURES, [helper.make_opsetid("ai.onnx.ml", 3), helper.make_opsetid("", 17)])


def _round_down(threshold: float) -> float:
    """The largest float32 that is at most `threshold`: what decides the same for float32 features."""
    rounded = np.float32(threshold)
    return float(rounded if rounded <= threshold else np.nextafter(rounded, np.float32(-np.inf)))


def mlp_contest(rows: int) -> Contest:
    """Answers must be within 2e-6 of float64."""
    random = np.random.default_rng(0)
    weights = [
        (random.normal(scale=a**-0.5, size=(b, a)).astype(np.float32), np.full(b, 0.1, np.float32))
        for a, b in zip(WIDTHS, WIDTHS[1:], strict=False)  # noqa: RUF007 (pairs of a tuple)
    ]
    x = random.normal(size=(rows, WIDTHS[0])).astype(np.float32)
    last = len(weights) - 1
    compiled = mlp.make(
        WIDTHS[0], [mlp.Layer(w, b, "sigmoid" if i == last else "relu") for i, (w, b) in enumerate(weights)]
    )
    bound = compiled.bind(x)
    out = bound.out

    def ours() -> Any:
        bound.run()
        return out

    def numpy(x: Any = x) -> Any:
        for i, (w, b) in enumerate(weights):
            x = x @ w.T + b
            x = np.maximum(x, 0) if i < last else 1 / (1 + np.exp(-x))
        return x

    torch.set_num_threads(1)
    layers: list[torch.nn.Module] = []
    for i, (w, b) in enumerate(weights):
        linear = torch.nn.Linear(w.shape[1], w.shape[0])
        linear.load_state_dict({"weight": torch.from_numpy(w), "bias": torch.from_numpy(b)})
        layers += [linear, torch.nn.Sigmoid() if i == last else torch.nn.ReLU()]
    network, tensor = torch.nn.Sequential(*layers).eval(), torch.from_numpy(x)

    def torch_run() -> Any:
        with torch.inference_mode():
            return network(tensor).numpy()

    near = _near(numpy(x.astype(np.float64))[:, 0], 2e-6)
    made = [
        Contestant("mainspring", 1, ours, near, is_ours=True),
        Contestant(
            "mainspring-call", 1, lambda: compiled.run(x), near, is_ours=True, note="a new output a call"
        ),
        *_onnx(_session(_mlp_graph(weights)), x, near),
        Contestant("torch", 1, torch_run, near),
        Contestant("numpy", 1, numpy, near, note="its BLAS may use more threads at 4,096 rows"),
    ]
    return Contest("mlp", rows, made)


def _mlp_graph(weights: list[tuple[Any, Any]]) -> Any:
    nodes, constants, name = [], [], "x"
    for i, (w, b) in enumerate(weights):
        constants += [onnx.numpy_helper.from_array(w, f"w{i}"), onnx.numpy_helper.from_array(b, f"b{i}")]
        nodes.append(helper.make_node("Gemm", [name, f"w{i}", f"b{i}"], [f"s{i}"], transB=1))
        is_last = i == len(weights) - 1
        name = "y" if is_last else f"a{i}"
        nodes.append(helper.make_node("Sigmoid" if is_last else "Relu", [f"s{i}"], [name]))
    return _model(nodes, constants, WIDTHS[0], [helper.make_opsetid("", 17)])


def _model(nodes: list[Any], constants: list[Any], width: int, opsets: list[Any]) -> Any:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, width])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])
    graph = helper.make_graph(nodes, "g", [x], [y], constants)
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def _session(model: Any) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _onnx(session: Any, x: Any, check: Callable[[Any], str | None]) -> list[Contestant]:
    """Called as usual, and with input and output bound once."""
    binding = session.io_binding()
    out = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros((len(x), 1), np.float32))
    binding.bind_ortvalue_input("x", onnxruntime.OrtValue.ortvalue_from_numpy(x))
    binding.bind_ortvalue_output("y", out)

    def bound() -> Any:
        session.run_with_iobinding(binding)
        return out

    return [
        Contestant("onnxruntime-bound", 1, bound, lambda got: check(got.numpy())),
        Contestant("onnxruntime", 1, lambda: session.run(None, {"x": x})[0], check),
    ]


def _near(want: Any, bound: float) -> Callable[[Any], str | None]:
    def check(got: Any) -> str | None:
        far = float((np.abs(np.asarray(got).reshape(-1) - want) / (1 + np.abs(want))).max())
        return None if far <= bound else f"differs by up to {far:.2e}"

    return check
