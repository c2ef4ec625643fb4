"""The v2 protocol over real HTTP: NVIDIA's own client, unmodified, and raw requests; with and without the fast path."""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import ml_dtypes
import numpy as np
import pytest
import serving_tensors as tensors
import serving_world as world
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from mainspring.core.client import serving as client_module
from mainspring.core.contracts.deployment import TrafficTable
from mainspring.serving.http import v2_infer

pytestmark = pytest.mark.integration

STABLE = world.World()
CANDIDATE = world.World(name="delay-candidate")
X = np.arange(16, dtype=np.float32).reshape(2, 8)


@pytest.fixture(scope="module", params=world.WAYS)
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[world.Served]:
    with world.serve(
        tmp_path_factory.mktemp("v2"),
        STABLE,
        CANDIDATE,
        models=tensors.models(),
        max_body_bytes=200_000,
        **world.WAYS[request.param],
    ) as s:
        token = s.tokens.token_of("service@local")
        with client_module.ServingClient(s.url, token=token) as c:
            c.load_bundle(STABLE.digest)
            c.load_bundle(CANDIDATE.digest)
            c.set_traffic(TrafficTable(endpoint="flights", version=1, stable=STABLE.digest))
            c.set_traffic(
                TrafficTable(
                    endpoint="flights",
                    version=2,
                    stable=STABLE.digest,
                    canary=CANDIDATE.digest,
                    canary_percent=100,
                )
            )
        yield s


@pytest.fixture(scope="module")
def client(served: world.Served) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(served.url.removeprefix("http://")) as c:
        yield c


def admin(served: world.Served) -> dict[str, str]:
    return {"authorization": f"Bearer {served.tokens.token_of('service@local')}"}


def post(served: world.Served, path: str, **kwargs: Any) -> httpx.Response:
    return httpx.post(served.url + path, trust_env=False, **kwargs)


def failed(response: httpx.Response, status: int, *words: str) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    document = response.json()
    assert set(document) == {"error"}
    for word in words:
        assert word in document["error"]
    assert response.headers["x-request-id"]
    assert response.headers["x-error-code"]


def infer_input(name: str, values: np.ndarray[Any, Any], *, binary: bool = True) -> triton.InferInput:
    tensor = triton.InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
    return tensor.set_data_from_numpy(values, binary_data=binary)


def test_the_server_and_its_models_describe_themselves(
    served: world.Served, client: triton.InferenceServerClient
) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    about = client.get_server_metadata()
    assert about["name"] == "mainspring"
    assert {"binary_tensor_data", "model_configuration", "statistics"} <= set(about["extensions"])
    assert client.get_model_metadata("linear") == {
        "name": "linear",
        "versions": ["1"],
        "platform": "mainspring_native",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 8]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 1]}],
    }
    config = client.get_model_config("linear", model_version="1")
    assert config["max_batch_size"] == 64
    assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [8]}]
    assert client.is_model_ready("linear")
    assert client.is_model_ready("linear", model_version="1")
    assert not client.is_model_ready("linear", model_version="2")
    assert not client.is_model_ready("liner")
    with pytest.raises(InferenceServerException, match="did you mean `linear`"):
        client.get_model_metadata("liner")


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_one_row_and_many(client: triton.InferenceServerClient, binary_in: bool, binary_out: bool) -> None:
    for n in (1, 64):
        x = np.random.default_rng(n).integers(-9, 10, size=(n, 8)).astype(np.float32)
        result = client.infer(
            "linear",
            [infer_input("x", x, binary=binary_in)],
            outputs=[triton.InferRequestedOutput("y", binary_data=binary_out)],
            request_id="r-1",
        )
        np.testing.assert_array_equal(result.as_numpy("y"), tensors.linear({"x": x})["y"])
        head = result.get_response()
        assert (head["model_name"], head["model_version"], head["id"]) == ("linear", "1", "r-1")


def test_every_datatype_goes_round(client: triton.InferenceServerClient) -> None:
    values: dict[str, np.ndarray[Any, Any]] = {
        "bool": np.array([[True, False]]),
        "bytes": np.array([[b"a\0b", "fünf".encode()]], object),
        "bf16": np.array([[1.5, -0.0]], ml_dtypes.bfloat16),
    }
    for bits in (8, 16, 32, 64):
        for kind in ("int", "uint"):
            info = np.iinfo(f"{kind}{bits}")
            values[f"{kind}{bits}"] = np.array([[info.min, info.max]], info.dtype)
    for bits in (16, 32, 64):
        values[f"fp{bits}"] = np.array([[np.nan, -np.inf]], f"f{bits // 8}")
    result = client.infer("everything", [infer_input(n, v) for n, v in values.items()])
    for name, value in values.items():
        np.testing.assert_array_equal(result.as_numpy("out_" + name), value)


def test_compressed_both_ways(client: triton.InferenceServerClient) -> None:
    x = np.ones((100, 50), np.float32)
    for coding in ("gzip", "deflate"):
        result = client.infer(
            "floats",
            [infer_input("x", x)],
            request_compression_algorithm=coding,
            response_compression_algorithm=coding,
        )
        np.testing.assert_array_equal(result.as_numpy("y"), x)


def test_an_endpoint_is_a_model(served: world.Served, client: triton.InferenceServerClient) -> None:
    about = client.get_model_metadata("flights")
    assert about["versions"] == [STABLE.digest, CANDIDATE.digest]
    assert {"name": "carrier", "datatype": "BYTES", "shape": [-1]} in about["inputs"]
    columns: dict[str, np.ndarray[Any, Any]] = {
        "carrier": np.array([b"UA"], object),
        "origin_stats__mean_delay": np.array([1.5], np.float32),
        "origin_stats__weather": np.array([b""], object),
        "flight_stats__mean_delay": np.array([np.nan], np.float32),
        "distance": np.array([-100.0], np.float32),
        "distance_km": np.array([-160.9], np.float32),
    }
    inputs = [infer_input(name, value) for name, value in columns.items()]
    by_traffic = client.infer("flights", inputs)
    pinned = client.infer("flights", inputs, model_version=STABLE.digest)
    assert by_traffic.get_response()["model_version"] == CANDIDATE.digest
    assert pinned.get_response()["model_version"] == STABLE.digest
    row = {n: v[0].decode() if v.dtype == object else float(v[0]) for n, v in columns.items()}
    row["flight_stats__mean_delay"] = None
    by_row = post(served, "/v1/endpoints/flights:predict", json={"rows": [row]}).json()
    assert pinned.as_numpy("score")[0] == pytest.approx(by_row["predictions"][0]["score"], abs=1e-7)
    with pytest.raises(InferenceServerException, match="no version `7`"):
        client.infer("flights", inputs, model_version="7")
    with pytest.raises(InferenceServerException, match="`carrier` is not UTF-8"):
        client.infer("flights", [infer_input("carrier", np.array([b"\xff"], object)), *inputs[1:]])


def test_models_leave_and_come_back(served: world.Served, client: triton.InferenceServerClient) -> None:
    for name in ("linear", "flights"):
        with pytest.raises(InferenceServerException) as refused:
            client.unload_model(name)
        assert refused.value.status() == "401"
        client.unload_model(name, headers=admin(served))
        assert not client.is_model_ready(name)
        assert {"name": name, "version": "", "state": "UNAVAILABLE", "reason": "unloaded"} in (
            client.get_model_repository_index()
        )
        with pytest.raises(InferenceServerException, match="is not loaded; load it") as absent:
            client.get_model_metadata(name)
        assert absent.value.status() == "503"
        ready = post(served, "/v2/repository/index", json={"ready": True}).json()
        assert name not in {entry["name"] for entry in ready}
        client.load_model(name, headers=admin(served))
        assert client.is_model_ready(name)
    with pytest.raises(InferenceServerException, match="no model"):
        client.load_model("nothing", headers=admin(served))
    with pytest.raises(InferenceServerException, match="come from the signed bundle"):
        client.load_model("linear", headers=admin(served), config="{}")


def test_statistics_count_answers_and_failures(client: triton.InferenceServerClient) -> None:
    def seen() -> dict[str, Any]:
        (entry,) = client.get_inference_statistics("linear", "1")["model_stats"]
        return dict(entry)

    before = seen()
    client.infer("linear", [infer_input("x", X)])
    with pytest.raises(InferenceServerException):
        client.infer("linear", [infer_input("x", X[:, :7])])
    after = seen()
    assert after["inference_count"] - before["inference_count"] == 2
    assert after["execution_count"] - before["execution_count"] == 1
    stats, old = after["inference_stats"], before["inference_stats"]
    assert stats["success"]["count"] - old["success"]["count"] == 1
    assert stats["fail"]["count"] - old["fail"]["count"] == 1
    assert stats["compute_infer"]["ns"] > old["compute_infer"]["ns"]
    assert {m["name"] for m in client.get_inference_statistics()["model_stats"]} >= {"linear", "flights"}


def test_a_raw_body_is_the_one_input(served: world.Served) -> None:
    headers = {"inference-header-content-length": "0"}
    answer = post(served, "/v2/models/linear/infer", content=X.tobytes(), headers=headers)
    length = int(answer.headers["inference-header-content-length"])
    head = json.loads(answer.content[:length])
    assert head["outputs"][0]["parameters"] == {"binary_data_size": 8}
    np.testing.assert_array_equal(
        np.frombuffer(answer.content[length:], np.float32), tensors.linear({"x": X})["y"].ravel()
    )
    failed(
        post(served, "/v2/models/linear/infer", content=b"123", headers=headers), 400, "do not say the shape"
    )
    failed(
        post(served, "/v2/models/everything/infer", content=b"1", headers=headers),
        400,
        "needs a model of one",
    )


def tensor(**changes: Any) -> dict[str, Any]:
    return {"name": "x", "datatype": "FP32", "shape": [2, 8], "data": X.ravel().tolist()} | changes


@pytest.mark.parametrize(
    ("model", "document", "words"),
    [
        ("linear", {}, "missing required field `inputs`"),
        ("linear", {"inputs": []}, "input `x` is absent"),
        ("linear", {"inputs": [tensor(), tensor()]}, "is there twice"),
        ("linear", {"inputs": [tensor(name="z")]}, "unknown input `z`; inputs are `x`"),
        ("linear", {"inputs": [tensor(datatype="FP64")]}, "is FP64, expected FP32"),
        ("linear", {"inputs": [tensor(datatype="FP31")]}, "is FP31, expected FP32"),
        ("linear", {"inputs": [tensor(shape=[16])]}, "shape [16], expected [-1, 8]"),
        ("linear", {"inputs": [tensor(shape=[0, 8], data=[])]}, "shape [0, 8]"),
        ("linear", {"inputs": [tensor(shape=[-1, 8])]}, "shape [-1, 8]"),
        ("linear", {"inputs": [tensor(shape=[1 << 64, 8])]}, "shape"),
        ("linear", {"inputs": [tensor(shape=[65, 8])]}, "65 rows, expected 1 to 64"),
        ("linear", {"inputs": [tensor(shape=[3, 8])]}, "has 16 elements, shape [3, 8] has 24"),
        ("linear", {"inputs": [tensor(data=[[[1.0]]])]}, "nested 3 deep"),
        ("linear", {"inputs": [tensor(data=[[1.0] * 8, [1.0] * 7])]}, "has 7 elements in dimension 1"),
        ("linear", {"inputs": [tensor(data=["1"] * 16)]}, "is not FP32"),
        ("linear", {"inputs": [tensor(data=[True] * 16)]}, "is not FP32"),
        ("linear", {"inputs": [tensor(data=[None] * 16)]}, "is not FP32"),
        ("linear", {"inputs": [tensor(data=[1e39] * 16)]}, "out of the range of FP32"),
        ("linear", {"inputs": [tensor(data={})]}, "has no `data` list"),
        ("linear", {"inputs": [tensor(parameters={"binary_data_size": 4})]}, "`data` and `binary_data_size`"),
        ("linear", {"inputs": [tensor(parameters={"shared_memory_region": "r"})]}, "shared memory"),
        ("linear", {"inputs": [tensor()], "parameters": {"sequence_id": 7}}, "sequences are not offered"),
        ("linear", {"inputs": [tensor()], "parameters": {"timeout": -1}}, "no whole number"),
        ("linear", {"inputs": [tensor()], "parameters": {"x": [1]}}, "no string, number or boolean"),
        ("linear", {"inputs": [tensor()], "outputs": [{"name": "z"}]}, "unknown output `z`"),
        ("linear", {"inputs": [tensor()], "outputs": [{"name": "y"}] * 2}, "asked twice"),
        (
            "linear",
            {"inputs": [tensor()], "outputs": [{"name": "y", "parameters": {"classification": 2}}]},
            "classification is not offered",
        ),
        (
            "linear",
            {"inputs": [tensor()], "outputs": [{"name": "y", "parameters": {"binary_data": 1}}]},
            "`binary_data` is no boolean",
        ),
        ("texts", {"inputs": [tensor(datatype="BYTES", shape=[1, 1], data=[1])]}, "is not BYTES"),
    ],
)
def test_a_bad_request_says_what_is_wrong(
    served: world.Served, model: str, document: dict[str, Any], words: str
) -> None:
    failed(post(served, f"/v2/models/{model}/infer", json=document), 400, words)


@pytest.mark.parametrize(
    ("body", "length", "words"),
    [
        (b"", None, "no infer request"),
        (b"[]", None, "no infer request"),
        (b"{", None, "no infer request"),
        (b'{"inputs": [{"name": "\xff"}]}', None, "no infer request"),
        (b'{"inputs": [], "x": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", None, "no infer request"),
        (b"{}", "3", "the body has 2 bytes"),
        (b"{}", "-1", "expected a number"),
        (b"{}", "1e3", "expected a number"),
        (b"{}", "9" * 30, "expected a number"),
    ],
)
def test_a_bad_body_says_what_is_wrong(
    served: world.Served, body: bytes, length: str | None, words: str
) -> None:
    headers = {} if length is None else {"inference-header-content-length": length}
    failed(post(served, "/v2/models/linear/infer", content=body, headers=headers), 400, words)


def test_binary_sizes_must_add_up(served: world.Served) -> None:
    def send(size: int, body: bytes, model: str = "linear", **changes: Any) -> httpx.Response:
        given = tensor(parameters={"binary_data_size": size}, **changes)
        del given["data"]
        head = json.dumps({"inputs": [given]}).encode()
        headers = {"inference-header-content-length": str(len(head))}
        return post(served, f"/v2/models/{model}/infer", content=head + body, headers=headers)

    assert send(64, X.tobytes()).status_code == 200
    failed(send(63, X.tobytes()[:63]), 400, "has 63 bytes, expected 64")
    failed(send(64, X.tobytes()[:60]), 400, "the body has 60 left")
    failed(send(64, X.tobytes() + b"\0"), 400, "1 bytes after its last binary tensor")
    failed(send(-1, b""), 400, "is no number of bytes")
    huge = {"shape": [1 << 40, 1 << 20]}
    failed(send(64, X.tobytes(), "floats", **huge), 400, "has 64 bytes")
    for shape in ([1 << 62, 1 << 62], [1, 100]):
        texts = {"datatype": "BYTES", "shape": shape}
        failed(send(64, X.tobytes(), "texts", **texts), 400, "too few")
    long = struct.pack("<I", 0xFFFFFFFF) + b"abc"
    failed(send(len(long), long, "texts", datatype="BYTES", shape=[1, 1]), 400, "too few")


def test_what_json_cannot_carry_is_asked_binary(client: triton.InferenceServerClient) -> None:
    nan = np.array([[np.nan]], np.float32)
    wanted = [triton.InferRequestedOutput("y", binary_data=False)]
    with pytest.raises(InferenceServerException, match="ask for it with `binary_data`"):
        client.infer("floats", [infer_input("x", nan)], outputs=wanted)
    with pytest.raises(InferenceServerException, match="not UTF-8"):
        client.infer("texts", [infer_input("x", np.array([[b"\xff"]], object))], outputs=wanted)


def test_a_body_has_a_limit_before_and_after_decompression(served: world.Served) -> None:
    path = "/v2/models/linear/infer"
    failed(post(served, path, content=b" " * 200_001), 413, "larger than 200000")
    failed(post(served, path, content=(b" " * 50_000 for _ in range(5))), 413, "larger than 200000")
    for coding, bomb in (("gzip", gzip.compress(b" " * 10**7)), ("deflate", zlib.compress(b" " * 10**7))):
        failed(
            post(served, path, content=bomb, headers={"content-encoding": coding}), 413, "larger than 200000"
        )
        torn = {"content-encoding": coding}
        failed(post(served, path, content=bomb[:20], headers=torn), 400)
    failed(post(served, path, content=b"{}", headers={"content-encoding": "br"}), 400, "is not known")
    failed(post(served, path, content=b"{}", headers={"content-encoding": "gzip"}), 400, "is not gzip")


def test_a_model_that_breaks_is_our_mistake(served: world.Served) -> None:
    document = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]}
    failed(post(served, "/v2/models/broken/infer", json=document), 500, "report it with request id")
    failed(post(served, "/v2/models/liar/infer", json=document), 500, "its signature says FP32")


def test_unknown_routes_and_methods_answer_as_v2(served: world.Served) -> None:
    failed(httpx.get(served.url + "/v2/nothing", trust_env=False), 404, "no route")
    failed(httpx.get(served.url + "/v2/models/linear/infer", trust_env=False), 405, "does not take GET")
    failed(post(served, "/v2/models/linear/versions//infer", json={}), 404)
    failed(post(served, "/v2/models/nothing/infer", json={}), 404, "no model `nothing`")


def test_a_request_id_is_echoed_or_made(served: world.Served) -> None:
    document = {"inputs": [tensor()]}
    sent = post(served, "/v2/models/linear/infer", json=document, headers={"x-request-id": "abc"})
    assert sent.headers["x-request-id"] == "abc"
    made = [post(served, "/v2/models/linear/infer", json=document).headers["x-request-id"] for _ in range(2)]
    assert made[0] != made[1]
    assert all(m.startswith("req_") for m in made)


@pytest.mark.parametrize("deadline", ["0", "-1", "soon", "nan", "inf", "1e300", ""])
def test_a_deadline_is_a_number_of_milliseconds(served: world.Served, deadline: str) -> None:
    headers = {"x-deadline-ms": deadline}
    failed(post(served, "/v2/models/linear/infer", json={"inputs": [tensor()]}, headers=headers), 400)
    headers = {"x-deadline-ms": "60000"}
    answer = post(served, "/v2/models/linear/infer", json={"inputs": [tensor()]}, headers=headers)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/v2/models/m/infer", ("m", "")),
        ("/v2/models/m/versions/3/infer", ("m", "3")),
        ("/v2/models//infer", None),
        ("/v2/models/m/versions//infer", None),
        ("/v2/models/m/x/3/infer", None),
        ("/v2/models/infer", None),
        ("/v2/models/m/ready", None),
        ("/v1/models/m/infer", None),
    ],
)
def test_the_fast_path_takes_infer_paths_only(path: str, model: tuple[str, str] | None) -> None:
    assert v2_infer.model_of(path) == model


def test_a_model_is_called_as_it_is_named(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="calls itself `linear`"):
        with world.serve(tmp_path, models={"other": tensors.linear_function}):
            pass
