"""The native front before the real app: whoever answers, the answer is the same, and the books know of both."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import numpy as np
import pytest
import serving_tensors as tensors
import serving_world as world
from hypothesis import strategies as st
from serving_both import Both
from serving_mutations import mutated

from mainspring.core import errors
from mainspring.native import front, mlp, trees
from mainspring.serving.models import book, native_model

pytestmark = pytest.mark.integration

WIDTH = 3
PATH = "/v2/models/copy/infer"


def copy() -> native_model.NativeModel:
    """What comes goes."""
    return native_model.NativeModel(
        "copy", mlp.make(WIDTH, [mlp.Layer(np.eye(WIDTH, dtype=np.float32))]), max_rows=8
    )


def grown(scale: float) -> trees.Trees:
    lightgbm = pytest.importorskip("lightgbm")
    x = np.random.default_rng(3).normal(size=(400, WIDTH))
    data = lightgbm.Dataset(x, x[:, 0] * scale, params={"verbose": -1})
    return trees.Trees.from_lightgbm(
        lightgbm.train({"verbose": -1, "num_threads": 1}, data, 3).model_to_string()
    )


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    models: dict[str, Any] = {"copy": copy, "linear": tensors.network, "floats": tensors.models()["floats"]}
    for i in range(-9, 22, 3):
        name = f"trees{i}"
        models[name] = lambda name=name, i=i: native_model.NativeModel(
            name, grown(10.0**i), input="f", output="s"
        )
    with world.serve(tmp_path_factory.mktemp("front"), models=models) as served:
        pair = Both(served)
        yield pair
        pair.close()


def tensor(data: Any, shape: list[int], **more: Any) -> dict[str, Any]:
    return {"name": "x", "shape": shape, "datatype": "FP32", "data": data, **more}


finite = st.floats(allow_nan=False, allow_infinity=False, width=32)


@hypothesis.settings(max_examples=400, deadline=None)
@hypothesis.given(rows=st.lists(st.lists(finite, min_size=WIDTH, max_size=WIDTH), min_size=1, max_size=8))
def test_every_float_is_written_alike(both: Both, rows: list[list[float]]) -> None:
    before = both.answered_by_the_front()
    body = json.dumps({"inputs": [tensor(rows, [len(rows), WIDTH])]}).encode()
    answer = both.ask(PATH, body, {})
    got = np.array(answer.json()["outputs"][0]["data"], np.float32)
    np.testing.assert_array_equal(got, np.array(rows, np.float32).ravel())
    assert both.answered_by_the_front() == before + 1


@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(
    numbers=st.lists(
        st.one_of(
            st.from_regex(r"\A-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?\Z"),
            st.sampled_from(
                ["-0", "-0.0", "0e5", "1e38", "3.4028235677973366e38", "3.5e38", "1e-46", "7.1e-46"]
            ),
            st.sampled_from(
                ["1.", ".5", "+1", "01", "1e", "0x1", "NaN", "Infinity", "true", "null", '"1"', "1_0"]
            ),
        ),
        min_size=WIDTH,
        max_size=WIDTH,
    )
)
def test_every_number_is_read_alike(both: Both, numbers: list[str]) -> None:
    data = ",".join(numbers)
    head = '{"inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":['
    body = head + data + ']}],"outputs":[{"name":"y","parameters":{"binary_data":true}}]}'
    both.ask(PATH, body.encode(), {})


@pytest.mark.parametrize("i", range(-9, 22, 3))
def test_doubles_are_written_alike(both: Both, i: int) -> None:
    x = np.random.default_rng(i + 9).normal(size=(40, WIDTH))
    asked = {"inputs": [tensor(x.tolist(), [40, WIDTH], name="f", datatype="FP64")]}
    before = both.answered_by_the_front()
    answer = both.ask(f"/v2/models/trees{i}/infer", json.dumps(asked).encode(), {})
    assert answer.json()["outputs"][0]["datatype"] == "FP64"
    assert both.answered_by_the_front() == before + 1


JSON = json.dumps({"id": "a", "inputs": [tensor([1, 2, 3], [1, 3])], "outputs": [{"name": "y"}]}).encode()
HEAD = json.dumps(
    {
        "inputs": [
            {"name": "x", "shape": [2, 3], "datatype": "FP32", "parameters": {"binary_data_size": 24}},
        ],
        "parameters": {"binary_data_output": True},
    }
).encode()
BINARY = HEAD + struct.pack("<6f", 1, -0.0, math.nan, math.inf, 1e-45, 5)
PIECES = (
    *(b"[", b"]", b"{", b"}", b",", b":", b'"', b"0", b"-", b"1e9", b"\xff", b"\0"),
    *(b"null", b"true", b'"x"', b'"data"'),
)


@hypothesis.settings(max_examples=500, deadline=None)
@hypothesis.given(data=st.data())
def test_every_mutation_is_answered_alike(both: Both, data: st.DataObject) -> None:
    """Truncated, cut and spliced bodies, and lengths of the JSON part that may be wrong."""
    is_binary = data.draw(st.booleans())
    body = mutated(data, BINARY if is_binary else JSON, PIECES)
    fields = {}
    if is_binary:
        length = len(HEAD) + data.draw(st.sampled_from([0, 0, 0, 1, -1, 4, 1000, -len(HEAD)]))
        fields["inference-header-content-length"] = str(length)
    both.ask(PATH, body, fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"x-deadline-ms": "1000"},
        {"x-deadline-ms": "1000.5"},
        {"x-deadline-ms": "0"},
        {"x-deadline-ms": "soon"},
        {"content-encoding": "br"},
        {"inference-header-content-length": "x"},
        {"inference-header-content-length": "0"},
        {"accept-encoding": "gzip"},
    ],
)
@pytest.mark.parametrize(
    "path", [PATH, "/v2/models/copy/versions/1/infer", "/v2/models/copy/versions/2/infer"]
)
def test_every_field_is_read_alike(both: Both, path: str, fields: dict[str, str]) -> None:
    for body in (JSON, BINARY, b""):
        both.ask(path, body, fields)


def test_large_answers_are_compressed_for_who_takes_that(both: Both) -> None:
    x = np.linspace(0, 1, 200 * WIDTH).reshape(200, WIDTH)
    asked = json.dumps({"inputs": [tensor(x.tolist(), [200, WIDTH], name="f", datatype="FP64")]}).encode()
    assert "content-encoding" not in both.ask("/v2/models/trees0/infer", asked, {}).headers
    assert (
        both.ask("/v2/models/trees0/infer", asked, {"accept-encoding": "gzip"}).headers["content-encoding"]
        == "gzip"
    )


def test_the_books_know_what_the_front_answered(both: Both) -> None:
    def requests() -> int:
        (stats,) = both.front.get("/v2/models/linear/stats").json()["model_stats"]
        assert stats["inference_stats"]["success"]["count"] == stats["execution_count"]
        return int(stats["execution_count"])

    before, passed = requests(), both.served.front.counts()["passed"]
    asked = json.dumps({"inputs": [tensor([[1] * 8] * 3, [3, 8])]}).encode()
    assert both.front.post("/v2/models/linear/infer", content=asked).status_code == 200
    assert both.app.post("/v2/models/linear/infer", content=asked).status_code == 200
    assert both.front.post("/v2/models/linear/infer", content=b"{}").status_code == 400
    assert requests() == before + 2
    assert both.served.front.counts()["passed"] > passed
    text = both.front.get("/metrics").text
    assert 'mainspring_model_failures_total{code="invalid_request",model="linear",version="1"}' in text
    for name in ("answered_total", "passed_total", "connections", "held_bytes"):
        assert f"\nmainspring_front_{name} " in text
    assert 'mainspring_model_rows_total{model="linear",version="1"} ' in text
    assert 'mainspring_front_model_passed_total{model="linear",version="1"} 1.0' in text


def test_unloading_takes_a_model_from_the_front_at_once(tmp_path: Path) -> None:
    with world.serve(tmp_path, models={"copy": copy}) as served:
        pair = Both(served)
        token = {"authorization": f"Bearer {served.tokens.token_of('service@local')}"}
        assert pair.ask(PATH, JSON, {}).status_code == 200
        for _ in range(3):
            assert pair.front.post("/v2/repository/models/copy/unload", headers=token).status_code == 200
            refused = pair.ask(PATH, JSON, {})
            assert (refused.status_code, refused.headers["x-error-code"]) == (503, "dependency_down")
            assert pair.front.post("/v2/repository/models/copy/load", headers=token).status_code == 200
            assert pair.ask(PATH, JSON, {}).status_code == 200
        assert pair.answered_by_the_front() == 4
        pair.close()


@pytest.mark.parametrize(
    ("how", "models", "is_there"),
    [
        ({}, {"copy": copy}, True),
        ({}, {"linear": tensors.linear_function}, True),  # the world's views are native
        ({"record_reads": 0.5}, {"linear": tensors.linear_function}, False),
        ({"front": "on"}, {"linear": tensors.linear_function}, True),
        ({"front": "off"}, {"copy": copy}, False),
        ({"log_requests": True}, {"copy": copy}, False),
        ({"trace_endpoint": "http://127.0.0.1:9/v1/traces"}, {"copy": copy}, True),
    ],
)
def test_the_front_is_there_where_it_helps_or_is_asked_for(
    tmp_path: Path, how: dict[str, Any], models: dict[str, Any], is_there: bool
) -> None:
    with world.serve(tmp_path, models=models, **how) as served:
        assert served.front.is_wanted is bool(served.front.counts()) is is_there
        name = next(iter(models))
        assert httpx.get(f"{served.url}/v2/models/{name}", trust_env=False).status_code == 200


def test_models_that_the_front_cannot_name_are_the_apps(tmp_path: Path) -> None:
    odd = native_model.NativeModel("copy", mlp.make(1, [mlp.Layer(np.ones((1, 1), np.float32))]), input='a"b')
    assert odd.for_front() is None
    # Their paths would be those of other models.
    for name in ("a/versions/1", "a%2fb", "a b", "a?b", "ü", ""):
        assert (
            native_model.NativeModel(name, mlp.make(1, [mlp.Layer(np.ones((1, 1), np.float32))])).for_front()
            is None
        ), name
    with pytest.raises(errors.Misconfigured, match="takes ids"):
        ids = mlp.make(
            1,
            [mlp.Layer(np.ones((1, 2), np.float32))],
            tables=[mlp.Table(np.ones((2, 1), np.float32), 0)],
            n_ids=1,
        )
        native_model.NativeModel("ids", ids)
    with pytest.raises(errors.NotFound, match="versions are `1`"):
        odd.infer("2", {'a"b': np.ones((1, 1), np.float32)})


def test_the_front_counts_in_the_books_buckets() -> None:
    assert front.LATENCY_EDGES == book.EDGES
    assert front.ROW_EDGES == book.ROW_EDGES


def test_two_books_add_up() -> None:
    one, two = book.ModelBook(), book.ModelBook()
    one.answered("m", "1", 2, book.Phases(1, 2, 3, 4))
    two.answered("m", "1", 5, book.Phases(10, 20, 30, 40))
    two.failed("m", "1", "overloaded", 7)
    two.answered("n", "1", 1, book.Phases())
    one.add_from(two.entries)
    sums = one.entries()
    assert (sums["m", "1"].requests, sums["m", "1"].rows, sums["m", "1"].nanos.total) == (2, 7, 110)
    assert (sums["m", "1"].failed, sums["m", "1"].failed_nanos) == ({"overloaded": 1}, 7)
    assert sum(sums["m", "1"].latency) == sum(sums["m", "1"].row_sizes) == 2
    assert sums["n", "1"].requests == 1
