"""A native model answers infer requests in one call, counts them, and leaves to the app what it does not understand."""

from __future__ import annotations

import doctest
import gc
import json
import math
import threading
import weakref
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from mainspring.native import front, infer, mlp, status, trees

WIDTH = 3
WEIGHTS = np.array([[1, 2, 4], [-1, 0, 0.5]], np.float32)


def network(max_rows: int = 8) -> front.Model:
    return front.Model(
        "net", "7", mlp.make(WIDTH, [mlp.Layer(WEIGHTS)]), input="x", output="y", max_rows=max_rows
    )


def asked(data: Any, shape: list[int], **more: Any) -> bytes:
    tensor = {"name": "x", "shape": shape, "datatype": "FP32", "data": data}
    return json.dumps({"inputs": [tensor], **more}).encode()


def binary(x: np.ndarray[Any, Any], **more: Any) -> tuple[bytes, int]:
    tensor = {
        "name": "x",
        "shape": list(x.shape),
        "datatype": "FP32",
        "parameters": {"binary_data_size": x.nbytes},
    }
    head = json.dumps({"inputs": [tensor], **more}).encode()
    return head + x.tobytes(), len(head)


@pytest.fixture
def counts() -> infer.Counts:
    return infer.Counts("net", "7")


@pytest.fixture
def net(counts: infer.Counts) -> infer.InferModel:
    return infer.model(network(), counts)


def answer(net: infer.InferModel, body: Any, length: int | None = None) -> tuple[bytes, int | None, int]:
    made = net.answer(body, length)
    assert made is not None
    return made


def test_json_is_answered_with_json(net: infer.InferModel, counts: infer.Counts) -> None:
    body, length, rows = answer(net, asked([[1, 2, 3], [0, -1, 0]], [2, 3], id="a"))
    assert json.loads(body) == {
        "model_name": "net",
        "model_version": "7",
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [2, 2], "data": [17.0, 0.5, -2.0, 0.0]}],
        "id": "a",
    }
    assert (length, rows) == (None, 2)
    seen = counts.sum()
    assert (seen.name, seen.version, seen.requests, seen.rows, seen.passed_on) == ("net", "7", 1, 2, 0)
    assert sum(seen.latency) == sum(seen.row_sizes) == 1
    assert seen.last_ms > 0 and min(seen.input_nanos, seen.infer_nanos, seen.output_nanos) > 0


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_binary_is_answered_with_binary_from_any_buffer(net: infer.InferModel, kind: Any) -> None:
    x = np.array([[1, 2, math.inf]], np.float32)
    sent, length = binary(x, parameters={"binary_data_output": True})
    body, json_length, rows = answer(net, kind(sent), length)
    assert json_length is not None and rows == 1
    head = json.loads(body[:json_length])
    assert head["outputs"][0]["parameters"] == {"binary_data_size": 8}
    np.testing.assert_array_equal(
        np.frombuffer(body, np.float32, offset=json_length), np.array([math.inf, math.inf], np.float32)
    )


def test_trees_take_and_give_doubles() -> None:
    lightgbm = pytest.importorskip("lightgbm")
    x = np.random.default_rng(3).normal(size=(400, WIDTH))
    booster = lightgbm.train(
        {"verbose": -1, "num_threads": 1}, lightgbm.Dataset(x, x[:, 0], params={"verbose": -1}), 5
    )
    forest = trees.Trees.from_lightgbm(booster.model_to_string())
    served = front.Model("t", "1", forest, input="x", output="y", max_rows=64)
    tensor = {"name": "x", "shape": [40, WIDTH], "datatype": "FP64", "data": x[:40].tolist()}
    body, _, rows = answer(
        infer.model(served, infer.Counts("t", "1")), json.dumps({"inputs": [tensor]}).encode()
    )
    assert rows == 40
    np.testing.assert_array_equal(json.loads(body)["outputs"][0]["data"], forest.run(x[:40]).ravel())


RIGHT = asked([1, 2, 3], [1, 3])


@pytest.mark.parametrize(
    ("body", "length"),
    [
        (b"", None),
        (RIGHT[:-1], None),
        (RIGHT + b"x", None),
        (RIGHT, 0),
        (RIGHT, len(RIGHT) - 1),
        (RIGHT, len(RIGHT) + 1),
        (RIGHT, -1),
        (RIGHT, 1 << 64),
        (asked([1, 2, 3], [1, 3], parameters={"priority": 1}), None),
        (asked([1, 2], [1, 2]), None),
        (asked([1.0] * 27, [9, 3]), None),
        (asked([3e38, 3e38, 3e38], [1, 3]), None),
        (asked([1e39, 1, 1], [1, 3]), None),
    ],
)
def test_what_is_wrong_or_unusual_is_left_to_the_app_and_not_counted(
    net: infer.InferModel, counts: infer.Counts, body: bytes, length: int | None
) -> None:
    assert net.answer(body, length) is None
    assert counts.sum().requests == 0
    assert answer(net, RIGHT)[2] == 1, "and it goes on"


def test_a_call_that_is_none_is_a_type_error(net: infer.InferModel) -> None:
    for arguments in ((), (RIGHT,), (RIGHT, None, None), ("text", None), (RIGHT, 1.5), (RIGHT, "1")):
        with pytest.raises(TypeError):
            net.answer(*arguments)  # type: ignore[call-arg, arg-type]
    with pytest.raises(TypeError):
        type(net)()


def test_work_above_the_limit_is_left_to_the_app(counts: infer.Counts) -> None:
    wide = mlp.make(
        WIDTH, [mlp.Layer(np.ones((4096, WIDTH), np.float32)), mlp.Layer(np.ones((1, 4096), np.float32))]
    )
    served = front.Model("net", "7", wide, input="x", output="y", max_rows=4096)
    few, many = asked([0.0] * 3, [1, 3]), asked([0.0] * 12_000, [4000, 3])
    short = infer.model(served, counts)
    assert short.answer(few, None) is not None
    assert short.answer(many, None) is None
    assert infer.model(served, counts, seconds=1e-9).answer(few, None) is None


def test_counts_go_on_where_the_last_model_was_and_hold_on_to_none(counts: infer.Counts) -> None:
    weights = mlp.make(WIDTH, [mlp.Layer(WEIGHTS)])
    gone = weakref.ref(weights)
    served = front.Model("net", "7", weights, input="x", output="y", max_rows=8)
    for _ in range(2):
        answer(infer.model(served, counts), RIGHT)
    del served, weights
    gc.collect()
    assert counts.sum().requests == 2
    assert gone() is None


def test_models_of_the_app_alone_are_refused(counts: infer.Counts) -> None:
    with pytest.raises(status.NativeError, match="printable ASCII"):
        infer.model(front.Model("é", "7", network().model, input="x", output="y", max_rows=8), counts)
    with pytest.raises(status.NativeError, match="`max_rows` of `net` is 0"):
        infer.model(network(max_rows=0), counts)


@pytest.mark.parametrize("seconds", [0.0, -1.0, 61.0, math.nan, math.inf])
def test_times_that_are_none_are_refused(counts: infer.Counts, seconds: float) -> None:
    with pytest.raises(status.NativeError, match="`seconds` is .*; expected above 0 and up to 60"):
        infer.model(network(), counts, seconds=seconds)


def test_many_threads_get_their_own_answers(net: infer.InferModel, counts: infer.Counts) -> None:
    wrong: list[object] = []

    def ask(i: int) -> None:
        for _ in range(300):
            body = answer(net, asked([i, 0, 0], [1, 3]))[0]
            if json.loads(body)["outputs"][0]["data"] != [float(i), -float(i)]:
                wrong.append(body)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert counts.sum().requests == 1200


@hypothesis.settings(max_examples=300, deadline=None)
@hypothesis.given(body=st.binary(max_size=300), length=st.none() | st.integers(-(1 << 70), 1 << 70))
def test_no_bytes_raise(body: bytes, length: int | None) -> None:
    net = infer.model(network(), infer.Counts("net", "7"))
    assert net.answer(body, length) is None
    net.answer(RIGHT + body, length)


def test_the_examples_of_the_module_run() -> None:
    assert doctest.testmod(infer).failed == 0
