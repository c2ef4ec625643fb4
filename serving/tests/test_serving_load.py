"""Overload, deadlines, clients that leave and clients that dawdle, over real HTTP; and what metrics and logs say."""

from __future__ import annotations

import concurrent.futures
import json
import logging
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import serving_tensors as tensors
import serving_world as world
from prometheus_client.parser import text_string_to_metric_families

from mainspring.core import errors, ports
from mainspring.core import logs as core_logs
from mainspring.core.client import serving as client_module
from mainspring.core.contracts.deployment import TrafficTable
from mainspring.core.contracts.prediction import PredictRequest
from mainspring.serving import logs
from mainspring.serving.models import repository

pytestmark = pytest.mark.integration

BODY = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1.0]}]}
PATH = "/v2/models/held/infer"


class HeldBundle:
    """The function of a bundle that answers when it is let."""

    def __init__(self) -> None:
        self.held = tensors.Held()

    def __call__(self, batch: ports.ModelInput) -> Any:
        self.held({"x": batch.dense})
        return world.linear(batch)


class Loaded:
    """A server with one thread and one waiting place, and its two held models."""

    def __init__(self, served: world.Served, held: tensors.Held, bundle: tensors.Held) -> None:
        self.served = served
        self.held = held
        self.bundle = bundle
        self.pool = concurrent.futures.ThreadPoolExecutor(4)

    def post(self, path: str, document: Any, **headers: str) -> httpx.Response:
        names = {k.replace("_", "-"): v for k, v in headers.items()}
        return httpx.post(self.served.url + path, json=document, headers=names, trust_env=False, timeout=60)

    def later(self, path: str, document: Any, **headers: str) -> concurrent.futures.Future[httpx.Response]:
        return self.pool.submit(self.post, path, document, **headers)

    def metric(self, name: str, **labels: str) -> float:
        text = httpx.get(self.served.url + "/metrics", trust_env=False).text
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return float(sample.value)
        return 0.0

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline, "it never became so"


@pytest.fixture(params=world.WAYS)
def loaded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Loaded]:
    held, function = tensors.Held(), HeldBundle()
    bundle = world.World(name="held-bundle", function=function)
    models: dict[str, repository.ModelFactory] = {"held": held.model, "linear": tensors.linear_function}
    with world.serve(
        tmp_path,
        bundle,
        models=models,
        workers=1,
        max_waiting=1,
        max_body_bytes=100_000,
        max_held_body_bytes=60_000,
        body_timeout_seconds=1.0,
        **world.WAYS[request.param],
    ) as served:
        with client_module.ServingClient(served.url, token=served.tokens.token_of("service@local")) as c:
            c.load_bundle(bundle.digest)
            c.set_traffic(TrafficTable(endpoint="flights", version=1, stable=bundle.digest))
        world_loaded = Loaded(served, held, function.held)
        yield world_loaded
        held.go.set()
        function.held.go.set()
        world_loaded.pool.shutdown()


def occupy(loaded: Loaded) -> tuple[concurrent.futures.Future[httpx.Response], ...]:
    """One request runs and one waits."""
    running = loaded.later(PATH, BODY)
    assert loaded.held.entered.acquire(timeout=30)
    waiting = loaded.later(PATH, BODY)
    loaded.until(lambda: loaded.metric("mainspring_waiting_requests") == 1)
    return running, waiting


def test_a_full_queue_sheds_on_every_route(loaded: Loaded) -> None:
    accepted = occupy(loaded)
    shed = loaded.post(PATH, BODY)
    assert (shed.status_code, set(shed.json())) == (503, {"error"})
    assert shed.headers["x-error-code"] == "overloaded"
    assert int(shed.headers["retry-after"]) >= 1
    by_entity = loaded.post(
        "/v1/endpoints/flights:predict", {"as_of": world.AS_OF, "entities": [world.entity()]}
    )
    assert (by_entity.status_code, by_entity.json()["code"]) == (503, "overloaded")
    assert int(by_entity.headers["retry-after"]) >= 1
    loaded.held.go.set()
    assert [a.result().status_code for a in accepted] == [200, 200]
    assert loaded.metric("mainspring_shed_requests_total") == 2
    assert loaded.metric("mainspring_model_failures_total", model="held", code="overloaded") == 1
    assert loaded.bundle.calls == 0


def test_a_deadline_is_kept_in_the_queue_and_while_running(loaded: Loaded) -> None:
    running = loaded.later(PATH, BODY, x_deadline_ms="300")
    assert loaded.held.entered.acquire(timeout=30)
    late = loaded.post(PATH, BODY, x_deadline_ms="20")
    assert (late.status_code, late.headers["x-error-code"]) == (504, "deadline_exceeded")
    assert "stage `queue`" in late.json()["error"]
    by_parameter = loaded.post(PATH, BODY | {"parameters": {"timeout": 20_000}})
    assert by_parameter.status_code == 504
    by_entity = loaded.post(
        "/v1/endpoints/flights:predict", {"entities": [world.entity()]}, x_deadline_ms="20"
    )
    assert (by_entity.status_code, by_entity.json()["code"]) == (504, "deadline_exceeded")
    assert "stage `run`" in running.result().json()["error"]
    loaded.held.go.set()
    loaded.until(lambda: loaded.metric("mainspring_running_requests") == 0)
    assert loaded.post(PATH, BODY, x_deadline_ms="60000").status_code == 200
    assert (loaded.held.calls, loaded.bundle.calls) == (2, 0)


def test_our_client_sends_its_deadline(loaded: Loaded) -> None:
    asked = PredictRequest.model_validate({"as_of": world.AS_OF, "entities": [world.entity()]})
    with client_module.ServingClient(loaded.served.url) as client:
        with pytest.raises(errors.DeadlineExceeded):
            client.predict("flights", asked, deadline_seconds=0.05)
        with pytest.raises(errors.InvalidRequest, match="x-deadline-ms"):
            client.predict("flights", asked, deadline_seconds=0.0)
        loaded.bundle.go.set()
        loaded.until(lambda: loaded.metric("mainspring_running_requests") == 0)
        assert client.predict("flights", asked, deadline_seconds=60).predictions


@pytest.mark.parametrize("path", [PATH, "/v1/endpoints/flights:predict"])
def test_a_client_that_leaves_the_queue_is_never_run(loaded: Loaded, path: str) -> None:
    running = loaded.later(PATH, BODY)
    assert loaded.held.entered.acquire(timeout=30)
    document: Any = BODY if path == PATH else {"as_of": world.AS_OF, "entities": [world.entity()]}
    content = json.dumps(document).encode()
    with connected(loaded) as leaving:
        leaving.sendall(request_head(path, len(content)) + content)
        loaded.until(lambda: loaded.metric("mainspring_waiting_requests") == 1)
    loaded.until(lambda: loaded.metric("mainspring_left_requests_total") == 1)
    assert loaded.metric("mainspring_waiting_requests") == 0
    loaded.held.go.set()
    assert running.result().status_code == 200
    assert (loaded.held.calls, loaded.bundle.calls) == (1, 0)
    if path == PATH:
        assert loaded.metric("mainspring_model_failures_total", model="held", code="cancelled") == 1


def connected(loaded: Loaded) -> socket.socket:
    host, port = loaded.served.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=30)


def request_head(path: str, length: int) -> bytes:
    return f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n".encode()


@pytest.mark.parametrize("path", [PATH, "/v1/endpoints/flights:predict"])
def test_a_body_that_stops_coming_is_given_up(loaded: Loaded, path: str) -> None:
    with connected(loaded) as slow:
        slow.sendall(request_head(path, 100) + b"{")
        answer = slow.recv(65536)
    assert answer.startswith(b"HTTP/1.1 408")


def test_bodies_that_fill_the_memory_for_them_are_refused(loaded: Loaded) -> None:
    with connected(loaded) as first:
        first.sendall(request_head(PATH, 90_000) + b" " * 50_000)
        loaded.until(lambda: loaded.metric("mainspring_body_bytes_held") > 30_000)
        with connected(loaded) as second:
            second.sendall(request_head(PATH, 90_000) + b" " * 50_000)
            answers = [s.recv(65536) for s in (second,)]
    assert answers[0].startswith(b"HTTP/1.1 503"), answers
    loaded.until(lambda: loaded.metric("mainspring_body_bytes_held") == 0)


def test_large_bodies_count_until_they_are_answered(loaded: Loaded) -> None:
    n = 12_500
    tensor = {"name": "x", "datatype": "FP32", "shape": [n], "parameters": {"binary_data_size": 4 * n}}
    head = json.dumps({"inputs": [tensor]}).encode()
    content = head + bytes(4 * n)
    headers = {"inference-header-content-length": str(len(head))}

    def send() -> httpx.Response:
        url = loaded.served.url + PATH
        return httpx.post(url, content=content, headers=headers, trust_env=False, timeout=60)

    running = loaded.pool.submit(send)
    assert loaded.held.entered.acquire(timeout=30)
    assert loaded.metric("mainspring_body_bytes_held") == len(content)
    refused = send()
    assert (refused.status_code, refused.headers["x-error-code"]) == (503, "overloaded")
    loaded.held.go.set()
    assert running.result().status_code == 200
    loaded.until(lambda: loaded.metric("mainspring_body_bytes_held") == 0)


def test_metrics_tell_of_models_phases_and_bundles(loaded: Loaded) -> None:
    x = np.ones((3, 8), np.float32)
    document = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [3, 8], "data": x.ravel().tolist()}]}
    asked = 0
    # The first one is measured in a thread; once runs are known to be short, they are inline: on a busy machine after some.
    while loaded.metric("mainspring_inline_requests_total") == 0:
        assert loaded.post("/v2/models/linear/infer", document).status_code == 200
        asked += 1
        assert asked < 1000
    assert asked >= 2
    of = {"model": "linear", "version": "1"}
    assert loaded.metric("mainspring_model_rows_total", **of) == 3 * asked
    assert loaded.metric("mainspring_model_request_seconds_count", **of) == asked
    assert loaded.metric("mainspring_model_request_seconds_sum", **of) > 0
    assert loaded.metric("mainspring_model_request_rows_bucket", le="2", **of) == 0
    assert loaded.metric("mainspring_model_request_rows_bucket", le="4", **of) == asked
    assert loaded.metric("mainspring_model_phase_seconds_total", phase="infer", **of) > 0
    loaded.bundle.go.set()
    two = {"as_of": world.AS_OF, "entities": [world.entity()] * 2}
    assert loaded.post("/v1/endpoints/flights:predict", two).status_code == 200
    assert loaded.metric("mainspring_endpoint_rows_total", endpoint="flights", role="stable") == 2
    assert loaded.metric("process_resident_memory_bytes") > 1e6
    loaded.post("/v2/models/made-up/infer", document)
    text = httpx.get(loaded.served.url + "/metrics", trust_env=False).text
    assert "made-up" not in text


def test_logs_carry_the_id_of_their_request(loaded: Loaded, caplog: pytest.LogCaptureFixture) -> None:
    line = core_logs.EcsLines("mainspring-serving", "1", logs.labels)
    with caplog.at_level(logging.INFO, "mainspring.serving.access"):
        caplog.handler.setFormatter(line)
        loaded.held.go.set()
        loaded.post(PATH, BODY, x_request_id="abc-1")
        loaded.post("/v1/bundles:load", {}, x_request_id="abc-2")
        loaded.until(lambda: len(caplog.text.splitlines()) >= 2)
    first, second = (json.loads(text) for text in caplog.text.splitlines()[:2])
    status = "http.response.status_code"
    assert (first["labels.request_id"], first[status], first["url.path"]) == ("abc-1", 200, PATH)
    assert (second["labels.request_id"], second[status]) == ("abc-2", 401)
    assert second["http.request.method"] == "POST" and second["event.outcome"] == "failure"
    assert first["event.duration"] > 0 and first["event.outcome"] == "success"
