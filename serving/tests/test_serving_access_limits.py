"""Limits over every protocol, and what they are for: one greedy caller takes nothing from the others."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import serving_access_world as access_world
import serving_tensors as tensors
import serving_world as world
from serving_access_world import ASKED, FEATURES, INFER, PREDICT, READ, ROW, House
from tritonclient.grpc import service_pb2 as messages
from tritonclient.grpc import service_pb2_grpc

from mainspring.core import errors
from mainspring.core.client.serving import ServingClient
from mainspring.core.contracts.prediction import PredictRequest
from mainspring.serving.models import function_model

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module", params=world.WAYS)
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with access_world.opened(tmp_path_factory.mktemp("limits"), **world.WAYS[request.param]) as opened:
        yield opened


@pytest.mark.parametrize(
    ("endpoint", "path", "document"),
    [("flights", PREDICT, ASKED), ("linear", INFER, ROW), ("features", READ, FEATURES)],
)
def test_a_caller_that_asks_too_often_is_told_when_to_come_back(
    house: House, endpoint: str, path: str, document: Any
) -> None:
    house.limit({"endpoint": endpoint, "requests_per_second": 0.01, "burst_requests": 2})
    key, other = house.key(f"eager-{endpoint}", "predict", "read"), house.key("calm", "predict", "read")
    assert [house.ask(path, document, key).status_code for _ in range(3)] == [200, 200, 429]
    answer = house.ask(path, document, key)
    assert answer.headers["x-error-code"] == "rate_limited"
    assert 90 <= int(answer.headers["retry-after"]) <= 100
    assert house.ask(path, document, other).status_code == 200, "it has its own"
    house.limit()
    assert house.ask(path, document, key).status_code == 200


def test_the_clients_get_it_as_they_know_it(house: House) -> None:
    house.limit({"caller": "eager", "requests_per_second": 0.01, "burst_requests": 1})
    key = house.key("eager", "predict")
    house.triton(key)
    assert (
        "has used up its 0.01 requests per second of `linear`"
        in access_world.refused(lambda: house.triton(key)).message()
    )
    refusal = access_world.refused(lambda: house.triton_grpc(key))
    assert refusal.status() == "StatusCode.RESOURCE_EXHAUSTED", "HTTP and gRPC count together"
    with grpc.insecure_channel(f"127.0.0.1:{house.grpc_port}") as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        with pytest.raises(grpc.RpcError) as refused:
            stub.ModelInfer(messages.ModelInferRequest(model_name="linear"), metadata=(("x-api-key", key),))
        trailing = dict(refused.value.trailing_metadata())
        assert trailing["x-error-code"] == "rate_limited" and 90 <= int(trailing["retry-after"]) <= 100
        asked = [messages.ModelInferRequest(model_name="linear", id=str(i)) for i in range(3)]
        answers = list(stub.ModelStreamInfer(iter(asked), metadata=(("x-api-key", key),)))
        assert [("has used up" in a.error_message, a.infer_response.id) for a in answers] == [
            (True, "0"),
            (True, "1"),
            (True, "2"),
        ]
    with ServingClient(house.served.url, token=key) as client:
        client.predict("flights", PredictRequest.model_validate(ASKED))
        with pytest.raises(errors.RateLimited) as limited:
            client.predict("flights", PredictRequest.model_validate(ASKED))
        assert 90 <= limited.value.retry_after_seconds <= 100
    house.limit()


def test_rows_count_over_every_protocol(house: House) -> None:
    house.limit({"rows_per_day": 20})
    big = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [21, 8], "data": [1.0] * 168}]}
    many = {**FEATURES, "entities": {"origin": ["JFK"] * 21}}
    entities = {**ASKED, "entities": [world.entity()] * 21}
    for name, path, document in (("a", INFER, big), ("b", READ, many), ("c", PREDICT, entities)):
        key = house.key(name, "predict", "read")
        assert house.ask(path, document, key).status_code == 200, name
        assert house.ask(path, document, key).json(), name
        answer = house.ask(path, document, key)
        assert answer.status_code == 429 and "20 rows per day" in answer.text, name
        assert int(answer.headers["retry-after"]) <= 86_400
    house.limit()


def test_limits_change_whole_or_not_at_all(house: House) -> None:
    before = house.as_admin("GET", "/v1/limits").json()
    wrong = {"version": before["version"] + 1, "rules": [{"requests_per_second": 1}, {"rows_per_second": -1}]}
    answer = house.as_admin("PUT", "/v1/limits", wrong)
    assert (answer.status_code, answer.json()["details"]["field"]) == (400, "rules.1.rows_per_second")
    stale = {"version": before["version"] + 5, "rules": []}
    assert house.as_admin("PUT", "/v1/limits", stale).status_code == 409
    assert house.as_admin("GET", "/v1/limits").json() == before
    reader = house.key("reader", "predict", "read", "admin")
    assert house.http.get("/v1/limits", headers=access_world.bearer(reader)).status_code == 401


def slow(seconds: float) -> function_model.FunctionModel:
    """A model that takes long enough for a queue to be there."""

    def run(tensors_in: Any) -> Any:
        time.sleep(seconds)
        return {"y": tensors_in["x"]}

    return function_model.FunctionModel("slow", tensors.Held().model().signature(""), run)


@pytest.mark.parametrize("way", ["fast-path", "fastapi"])
def test_a_greedy_caller_does_not_starve_another(tmp_path: Path, way: str) -> None:
    """16 connections of one caller keep a queue of 8 full; one connection of another is answered each time, and sooner."""
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1.0]}]}
    models = {"slow": lambda: slow(0.03)}
    with world.serve(tmp_path, models=models, workers=1, max_waiting=8, **world.WAYS[way]) as served:
        admin = access_world.bearer(served.tokens.token_of("admin@local"))

        def key_of(name: str) -> str:
            answer = httpx.post(
                served.url + "/v1/keys", json={"caller": name}, headers=admin, trust_env=False
            )
            return str(answer.json()["key"])

        keys = [key_of(name) for name in ("greedy", "modest")]

        def ask(http: httpx.Client, key: str) -> tuple[int, float]:
            began = time.perf_counter()
            answer = http.post("/v2/models/slow/infer", json=body, headers=access_world.bearer(key))
            return answer.status_code, time.perf_counter() - began

        over = threading.Event()

        def press() -> list[tuple[int, float]]:
            with httpx.Client(base_url=served.url, trust_env=False, timeout=30) as http:
                seen = []
                while not over.is_set():
                    seen.append(ask(http, keys[0]))
                    if seen[-1][0] == 503:
                        time.sleep(0.02)
                return seen

        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            pressing = [pool.submit(press) for _ in range(16)]
            time.sleep(0.5)
            try:
                with httpx.Client(base_url=served.url, trust_env=False, timeout=30) as http:
                    modest = [ask(http, keys[1]) for _ in range(20)]
            finally:
                over.set()
            greedy = [one for pressed in pressing for one in pressed.result(30)]
    assert {status for status, _ in modest} == {200}, "never refused"
    assert {status for status, _ in greedy} == {200, 503}, (
        "the queue was full, and the greedy one has its turns"
    )
    # What runs, one turn of the other's, its own: three of a model's runs, where a line of nine is in front of the greedy one.
    waited = [float(np.median([s for status, s in some if status == 200])) for some in (modest, greedy)]
    assert waited[0] < 0.6 * waited[1]
