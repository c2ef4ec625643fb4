"""An ONNX graph from a signed bundle answers as it computes, or does not load."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import bundle_kinds as kinds
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mainspring.core import errors, ports
from mainspring.core.models import runtimes

MODEL = {"dense_width": 3, "id_columns": ["carrier"]}
WEIGHTS = np.array([[0.5, -1.0], [0.25, 2.0], [-0.75, 0.5]], np.float32)
EMBEDDING = np.array([[0.0, 0.1], [1.0, 0.2], [-1.0, 0.3], [0.5, 0.4], [-0.5, 0.5]], np.float32)


def graph(
    *,
    columns: int = 2,
    rows: Any = "n",
    dense: Any = TensorProto.FLOAT,
    ids: Any = TensorProto.INT64,
    operator: str = "Add",
    domain: str = "",
) -> onnx.ModelProto:
    """logits (n, columns) of dense @ WEIGHTS + EMBEDDING[id]."""
    nodes = [
        helper.make_node("MatMul", ["dense", "w"], ["product"]),
        helper.make_node("Gather", ["e", "ids"], ["rows"]),
        helper.make_node("Squeeze", ["rows", "axis"], ["row"]),
        helper.make_node(operator, ["product", "row"], ["score"], domain=domain),
    ]
    constants = [
        numpy_helper.from_array(WEIGHTS[:, :columns].copy(), "w"),
        numpy_helper.from_array(EMBEDDING[:, :columns].copy(), "e"),
        numpy_helper.from_array(np.array([1], np.int64), "axis"),
    ]
    made = helper.make_graph(
        nodes,
        "small",
        [
            helper.make_tensor_value_info("dense", dense, [rows, 3]),
            helper.make_tensor_value_info("ids", ids, [rows, 1]),
        ],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, [rows, columns])],
        constants,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 10
    return model


def expected(batch: ports.ModelInput, column: int) -> np.ndarray:
    return (batch.dense.astype(np.float64) @ WEIGHTS + EMBEDDING[batch.ids[:, 0]])[:, column]


@pytest.fixture
def store(tmp_path: Path) -> kinds.Store:
    return kinds.Store(tmp_path)


@pytest.mark.parametrize("ids", [TensorProto.INT32, TensorProto.INT64])
@pytest.mark.parametrize("column", [0, 1])
@pytest.mark.parametrize("activation", ["identity", "sigmoid"])
def test_scores_are_the_graphs(store: kinds.Store, ids: Any, column: int, activation: str) -> None:
    model = {**MODEL, "column": column, "activation": activation}
    runtime: ports.ModelRuntime = store.runtime("onnx", model, graph(ids=ids).SerializeToString())
    assert runtime.name == "onnx"
    for rows in (0, 1, 9):
        batch = kinds.batch(rows, seed=rows)
        got, wanted = runtime.predict(batch), expected(batch, column)
        if activation == "sigmoid":
            wanted = 1 / (1 + np.exp(-wanted))
        assert (got.dtype, got.shape) == (np.dtype(np.float32), (rows,))
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def test_a_vector_without_ids_and_float64(store: kinds.Store) -> None:
    made = helper.make_graph(
        [
            helper.make_node("ReduceSum", ["x", "axis"], ["sum"], keepdims=0),
            helper.make_node("Cast", ["sum"], ["y"], to=TensorProto.DOUBLE),
        ],
        "sums",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("y", TensorProto.DOUBLE, ["n"])],
        [numpy_helper.from_array(np.array([1], np.int64), "axis")],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 10
    asked = {**MODEL, "dense_input": "x", "output": "y", "id_columns": []}
    opened = store.write("onnx", asked, model.SerializeToString())
    dense = kinds.batch(4).dense
    batch = ports.ModelInput(dense, np.zeros((4, 0), np.int32))
    got = store.load(opened, fitted=kinds.DENSE).predict(batch)
    np.testing.assert_allclose(got, dense.sum(axis=1), rtol=1e-5)
    assert got.dtype == np.float32
    with pytest.raises(errors.CorruptArtifact, match="plan gives ids `carrier`, the model takes none"):
        store.load(opened)


@pytest.mark.parametrize(
    ("model", "made", "words"),
    [
        ({"dense_input": "x"}, {}, r"takes \['dense', 'ids'\], not \['ids', 'x'\]"),
        ({"output": "probability"}, {}, r"gives \['score'\], no `probability`"),
        ({"column": 2}, {}, "column 2 is asked for"),
        ({}, {"rows": 1}, r"`dense` is tensor\(float\) \[1, 3\]"),
        ({}, {"dense": TensorProto.DOUBLE}, "its input `dense` is|not what its"),
        ({}, {"operator": "Addd"}, "Addd"),
        ({}, {"operator": "Add", "domain": "somebodys.own"}, "somebodys.own"),
        ({"dense_width": 2}, {}, "plan gives 3 columns, the model takes 2"),
        ({"activation": "softmax"}, {}, "`activation`"),
    ],
)
def test_a_wrong_signature_does_not_load(
    store: kinds.Store, model: dict[str, Any], made: dict[str, Any], words: str
) -> None:
    with pytest.raises(errors.CorruptArtifact, match=words):
        store.runtime("onnx", {**MODEL, **model}, graph(**made).SerializeToString())


def test_damaged_graphs_do_not_load(store: kinds.Store) -> None:
    good = graph().SerializeToString()
    for bad in (b"", b"no graph", good[:60]):
        with pytest.raises(errors.CorruptArtifact, match="build the bundle anew"):
            store.runtime("onnx", MODEL, bad)


def test_weights_outside_the_bundle_are_not_read(
    store: kinds.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for place in (tmp_path / "w.bin", tmp_path / "bundles" / "w.bin"):
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(WEIGHTS.tobytes())
    model = graph()
    weight = model.graph.initializer[0]
    assert weight.name == "w"
    for location in ("w.bin", "../w.bin", str(tmp_path / "w.bin")):
        outside = onnx.ModelProto()
        outside.CopyFrom(model)
        weight = outside.graph.initializer[0]
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        del weight.external_data[:]
        for key, value in (("location", location), ("length", str(WEIGHTS.nbytes))):
            entry = weight.external_data.add()
            entry.key, entry.value = key, value
        with pytest.raises(errors.CorruptArtifact, match="(?i)external data"):
            store.runtime("onnx", MODEL, outside.SerializeToString())
    assert capfd.readouterr().err == "", "what it raises is not written beside it"
    assert os.listdir(tmp_path)


def test_an_id_without_a_row_and_a_number_that_is_none_are_our_mistakes(store: kinds.Store) -> None:
    runtime, batch = store.runtime("onnx", MODEL, graph().SerializeToString()), kinds.batch(3)
    with pytest.raises(errors.InvariantViolated, match="the graph failed on 3 rows.*out of data bounds"):
        runtime.predict(ports.ModelInput(batch.dense, batch.ids + 5))
    batch.dense[1, 1] = np.nan
    with pytest.raises(errors.InvariantViolated, match="not finite"):
        runtime.predict(batch)
    with pytest.raises(errors.SchemaMismatch, match="model input"):
        runtime.predict(ports.ModelInput(batch.dense, batch.ids[:1]))


def test_threads_are_as_asked(store: kinds.Store) -> None:
    opened = store.write("onnx", MODEL, graph().SerializeToString())
    runtime: Any = store.load(opened, runtimes.Options(onnx_threads=2))
    assert runtime._session.get_session_options().intra_op_num_threads == 2
