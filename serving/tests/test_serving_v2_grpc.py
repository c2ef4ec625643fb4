"""The v2 protocol over gRPC: NVIDIA's own client, unmodified, and raw messages."""

from __future__ import annotations

import queue
import socket
from collections.abc import Iterator
from typing import Any

import grpc
import ml_dtypes
import numpy as np
import pytest
import serving_tensors as tensors
import serving_world as world
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2 as theirs
from tritonclient.grpc import service_pb2_grpc
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from mainspring.core import errors
from mainspring.core.client import serving as client_module
from mainspring.core.contracts.deployment import TrafficTable
from mainspring.native import front
from mainspring.serving.grpc import schema, status
from mainspring.serving.models import repository

pytestmark = pytest.mark.integration

STABLE = world.World()
X = np.arange(16, dtype=np.float32).reshape(2, 8)
HELD = tensors.Held()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as s:
        return int(s.getsockname()[1])


@pytest.fixture(scope="module", params=["off", "auto"], ids=["aio", "native-front"])
def grpc_front(request: pytest.FixtureRequest) -> str:
    """As `serving.grpc_front`: the same tests must pass."""
    if request.param == "auto" and front.why_no_grpc():
        pytest.skip(front.why_no_grpc())
    return str(request.param)


@pytest.fixture(scope="module")
def port(grpc_front: str) -> int:
    return free_port()


@pytest.fixture(scope="module")
def served(grpc_front: str, port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[world.Served]:
    models: dict[str, repository.ModelFactory] = {**tensors.models(), "held": HELD.model}
    with world.serve(
        tmp_path_factory.mktemp("grpc"),
        STABLE,
        models=models,
        grpc_port=port,
        grpc_front=grpc_front,
        max_body_bytes=200_000,
        workers=1,
        max_waiting=1,
    ) as s:
        with client_module.ServingClient(s.url, token=s.tokens.token_of("service@local")) as c:
            c.load_bundle(STABLE.digest)
            c.set_traffic(TrafficTable(endpoint="flights", version=1, stable=STABLE.digest))
        assert bool(s.front.grpc_socket) == (grpc_front == "auto")
        yield s


@pytest.fixture(scope="module")
def client(served: world.Served, port: int) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"127.0.0.1:{port}") as c:
        yield c


@pytest.fixture(scope="module")
def stub(served: world.Served, port: int) -> Iterator[service_pb2_grpc.GRPCInferenceServiceStub]:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def infer_input(name: str, values: np.ndarray[Any, Any]) -> triton.InferInput:
    return triton.InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype)).set_data_from_numpy(
        values
    )


def admin(served: world.Served) -> dict[str, str]:
    return {"authorization": f"Bearer {served.tokens.token_of('service@local')}"}


def test_our_messages_are_those_of_the_acceptance_client() -> None:
    """Names, numbers, types, labels and oneofs of every field; every method with its messages."""

    def fields(message: Any) -> dict[str, tuple[Any, ...]]:
        return {
            f.name: (
                f.number,
                f.type,
                f.is_repeated,
                f.message_type.full_name if f.message_type else f.enum_type.full_name if f.enum_type else "",
                f.containing_oneof.name if f.containing_oneof else "",
            )
            for f in message.fields
        }

    pool = theirs.DESCRIPTOR.pool
    ours = schema.POOL.FindServiceByName("inference.GRPCInferenceService")
    seen: set[str] = set()
    ahead = []
    for method in ours.methods:
        other = pool.FindServiceByName("inference.GRPCInferenceService").methods_by_name[method.name]
        assert (method.client_streaming, method.server_streaming) == (
            other.client_streaming,
            other.server_streaming,
        )
        assert (method.input_type.full_name, method.output_type.full_name) == (
            other.input_type.full_name,
            other.output_type.full_name,
        )
        ahead += [method.input_type, method.output_type]
    while ahead:
        message = ahead.pop()
        if message.full_name in seen:
            continue
        seen.add(message.full_name)
        known = fields(pool.FindMessageTypeByName(message.full_name))
        mine = fields(message)
        assert mine.items() <= known.items(), message.full_name
        ahead += [f.message_type for f in message.fields if f.message_type]
    assert len(seen) > 40
    enum = schema.POOL.FindEnumTypeByName("inference.DataType")
    assert {v.name: v.number for v in enum.values} == {
        v.name: v.number for v in pool.FindEnumTypeByName("inference.DataType").values
    }


def test_the_server_and_its_models_describe_themselves(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("linear")
    assert client.get_server_metadata(as_json=True)["name"] == "mainspring"
    about = client.get_model_metadata("linear", as_json=True)
    assert about["inputs"] == [{"name": "x", "datatype": "FP32", "shape": ["-1", "8"]}]
    config = client.get_model_config("linear").config
    assert (config.name, config.max_batch_size, config.backend) == ("linear", 64, "mainspring")
    assert (config.input[0].data_type, list(config.input[0].dims)) == (11, [8])
    with pytest.raises(InferenceServerException, match="did you mean `linear`") as caught:
        client.get_model_metadata("liner")
    assert caught.value.status() == "StatusCode.NOT_FOUND"


def test_rows_and_every_datatype(client: triton.InferenceServerClient) -> None:
    for n in (1, 64):
        x = np.random.default_rng(n).integers(-9, 10, size=(n, 8)).astype(np.float32)
        result = client.infer("linear", [infer_input("x", x)], request_id="r-1", model_version="1")
        np.testing.assert_array_equal(result.as_numpy("y"), tensors.linear({"x": x})["y"])
        head = result.get_response()
        assert (head.model_name, head.model_version, head.id) == ("linear", "1", "r-1")
    values: dict[str, np.ndarray[Any, Any]] = {
        "bool": np.array([[True, False]]),
        "bytes": np.array([[b"a\0b", b"\xff"]], object),
        "bf16": np.array([[1.5, -0.0]], ml_dtypes.bfloat16),
        **{f"{k}{b}": np.array([[0, 7]], f"{k}{b}") for k in ("int", "uint") for b in (8, 16, 32, 64)},
        **{f"fp{b}": np.array([[np.nan, 1]], f"f{b // 8}") for b in (16, 32, 64)},
    }
    result = client.infer("everything", [infer_input(n, v) for n, v in values.items()])
    for name, value in values.items():
        np.testing.assert_array_equal(result.as_numpy("out_" + name), value)


def test_typed_contents(stub: service_pb2_grpc.GRPCInferenceServiceStub) -> None:
    contents = {
        "bool": {"bool_contents": [True, False]},
        "bytes": {"bytes_contents": [b"a", b"\xff"]},
        **{f"int{b}": {"int_contents": [-128, 127]} for b in (8, 16, 32)},
        **{f"uint{b}": {"uint_contents": [0, 255]} for b in (8, 16, 32)},
        "int64": {"int64_contents": [-(1 << 63), 0]},
        "uint64": {"uint64_contents": [0, (1 << 64) - 1]},
        "fp32": {"fp32_contents": [0.5, float("inf")]},
        "fp64": {"fp64_contents": [0.1, -0.0]},
    }
    for name, value in contents.items():
        model = {"bytes": "texts", "fp32": "floats"}.get(name)
        if model is None:
            continue
        asked = theirs.ModelInferRequest(
            model_name=model,
            inputs=[{"name": "x", "datatype": name.upper(), "shape": [1, 2], "contents": value}],
        )
        assert stub.ModelInfer(asked).raw_output_contents
    inputs = [
        {"name": name, "datatype": name.upper(), "shape": [1, 2], "contents": value}
        for name, value in contents.items()
    ]
    with pytest.raises(grpc.RpcError, match="input `fp16` is absent"):
        stub.ModelInfer(theirs.ModelInferRequest(model_name="everything", inputs=inputs))


@pytest.mark.parametrize(
    ("tensor", "raw", "words"),
    [
        ({}, [b"\0" * 64, b""], "has 2 entries for 1 inputs"),
        ({}, [b"\0" * 63], "has 63 bytes, expected 64"),
        ({"shape": [1 << 32, 8]}, [b""], "rows, expected 1 to 64"),
        ({"shape": [-1, 8]}, [b""], "shape [-1, 8]"),
        ({"shape": [16]}, [b""], "expected [-1, 8]"),
        ({"datatype": "FP64"}, [b""], "is FP64, expected FP32"),
        ({"name": "z"}, [b""], "unknown input `z`"),
        ({"contents": {"fp32_contents": [1.0]}}, [b"\0" * 64], "`contents` beside `raw_input_contents`"),
        ({"contents": {"fp32_contents": [1.0]}}, [], "has 1 elements in `fp32_contents`, its shape has 16"),
        ({"contents": {"fp64_contents": [1.0]}}, [], "has 0 elements in `fp32_contents`"),
        ({"parameters": {"shared_memory_region": {"string_param": "r"}}}, [b"\0" * 64], "shared memory"),
    ],
)
def test_a_bad_request_says_what_is_wrong(
    stub: service_pb2_grpc.GRPCInferenceServiceStub, tensor: dict[str, Any], raw: list[bytes], words: str
) -> None:
    given = {"name": "x", "datatype": "FP32", "shape": [2, 8]} | tensor
    asked = theirs.ModelInferRequest(model_name="linear", inputs=[given], raw_input_contents=raw)
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(asked)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert words in caught.value.details()


def test_extensions_that_are_not_offered(
    client: triton.InferenceServerClient, stub: service_pb2_grpc.GRPCInferenceServiceStub
) -> None:
    with pytest.raises(InferenceServerException, match="classification is not offered"):
        client.infer(
            "linear", [infer_input("x", X)], outputs=[triton.InferRequestedOutput("y", class_count=2)]
        )
    with pytest.raises(InferenceServerException, match="sequences are not offered"):
        client.infer("linear", [infer_input("x", X)], sequence_id=3)
    with pytest.raises(grpc.RpcError) as caught:
        stub.TraceSetting(theirs.TraceSettingRequest())
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_stream_answers_each_request_and_survives_a_bad_one(client: triton.InferenceServerClient) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    try:
        for values in (X, X[:, :7], X[:1]):
            client.async_stream_infer("linear", [infer_input("x", values)])
        first, bad, last = (answers.get(timeout=30) for _ in range(3))
    finally:
        client.stop_stream()
    np.testing.assert_array_equal(first[0].as_numpy("y"), tensors.linear({"x": X})["y"])
    assert "expected [-1, 8]" in str(bad[1])
    assert last[0].as_numpy("y").shape == (1, 1)


def test_models_leave_and_come_back(served: world.Served, client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException) as refused:
        client.unload_model("linear")
    assert refused.value.status() == "StatusCode.UNAUTHENTICATED"
    client.unload_model("linear", headers=admin(served))
    assert not client.is_model_ready("linear")
    with pytest.raises(InferenceServerException) as absent:
        client.infer("linear", [infer_input("x", X)])
    assert absent.value.status() == "StatusCode.UNAVAILABLE"
    states = {m.name: m.state for m in client.get_model_repository_index().models}
    assert (states["linear"], states["flights"]) == ("UNAVAILABLE", "READY")
    client.load_model("linear", headers=admin(served))
    assert client.is_model_ready("linear")


def test_statistics_count_both_transports(client: triton.InferenceServerClient) -> None:
    def count() -> tuple[int, int]:
        (entry,) = client.get_inference_statistics("linear").model_stats
        return entry.inference_count, entry.inference_stats.fail.count

    rows, failures = count()
    client.infer("linear", [infer_input("x", X)])
    with pytest.raises(InferenceServerException):
        client.infer("linear", [infer_input("x", X[:, :7])])
    assert count() == (rows + 2, failures + 1)


def test_a_model_that_breaks_is_our_mistake(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="own mistake") as caught:
        client.infer("broken", [infer_input("x", np.ones(1, np.float32))])
    assert caught.value.status() == "StatusCode.INTERNAL"


def test_a_message_that_is_too_large_is_refused(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException) as caught:
        client.infer("floats", [infer_input("x", np.ones((300, 300), np.float32))])
    assert caught.value.status() == "StatusCode.RESOURCE_EXHAUSTED"


def test_deadlines_and_load(client: triton.InferenceServerClient) -> None:
    """One runs, one waits, one is shed; the waiting one's deadline passes without its model being called."""
    one = [infer_input("x", np.ones(1, np.float32))]
    answers: queue.Queue[tuple[str, Any, Any]] = queue.Queue()

    def ask(name: str, timeout: float | None) -> None:
        client.async_infer(
            "held", one, lambda result, error: answers.put((name, result, error)), client_timeout=timeout
        )

    calls = HELD.calls
    HELD.go.clear()
    ask("running", None)
    assert HELD.entered.acquire(timeout=30)
    for name in ("either", "or"):
        ask(name, 2.0)
    (_, _, shed), (_, _, late) = (answers.get(timeout=30) for _ in range(2))
    assert "RESOURCE_EXHAUSTED" in str(shed)
    assert "try again in" in str(shed)
    assert "DEADLINE_EXCEEDED" in str(late)
    HELD.go.set()
    name, result, error = answers.get(timeout=30)
    assert (name, error) == ("running", None)
    assert result.as_numpy("y").tolist() == [1.0]
    assert HELD.calls == calls + 1


def test_every_error_has_a_code() -> None:
    codes = {code: status.code_of(cls("x")) for code, cls in errors.BY_CODE.items()}
    assert codes["overloaded"] is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert codes["deadline_exceeded"] is grpc.StatusCode.DEADLINE_EXCEEDED
    assert codes["schema_mismatch"] is grpc.StatusCode.INVALID_ARGUMENT
    assert codes["permission_denied"] is grpc.StatusCode.PERMISSION_DENIED
    assert grpc.StatusCode.OK not in codes.values()


@pytest.mark.parametrize(
    "text", ["message A { weird x = 1; ", "option go_package = 1;", "message A [", "service S { rpc }"]
)
def test_a_schema_that_is_not_understood_fails(text: str) -> None:
    with pytest.raises((ValueError, StopIteration)):
        schema._Reader(text).read()
