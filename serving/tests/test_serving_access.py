"""Who may ask, over every protocol and whoever answers: keys, tokens, scopes, revocation."""

from __future__ import annotations

import json
import logging
import queue
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import serving_access_world as access_world
import serving_world as world
from serving_access_world import ASKED, FEATURES, INFER, PREDICT, READ, ROW, House
from tritonclient.grpc import service_pb2 as messages
from tritonclient.grpc import service_pb2_grpc

from mainspring.core import errors
from mainspring.core import logs as core_logs
from mainspring.core.client.serving import ServingClient
from mainspring.core.contracts.prediction import PredictRequest
from mainspring.serving import logs

pytestmark = pytest.mark.integration

QUESTIONS = ((PREDICT, ASKED), (INFER, ROW), (READ, FEATURES))


@pytest.fixture(scope="module", params=world.WAYS)
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    directory = tmp_path_factory.mktemp("access")
    with access_world.opened(directory, require_token=True, **world.WAYS[request.param]) as opened:
        yield opened


@pytest.fixture(scope="module")
def key(house: House) -> str:
    return house.key("team-a/checkout", "predict", "read", project="shop")


@pytest.mark.parametrize(("path", "document"), QUESTIONS)
def test_without_a_key_nothing_is_answered(house: House, path: str, document: object) -> None:
    for wrong in ("", "msk_0123456789ab_no", "no-token"):
        answer = house.ask(path, document, wrong)
        assert (answer.status_code, answer.headers["x-error-code"]) == (401, "unauthenticated"), answer.text
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.headers["x-request-id"]
    is_v2 = path.startswith("/v2")
    assert set(answer.json()) == {"error"} if is_v2 else answer.json()["code"] == "unauthenticated"


@pytest.mark.parametrize(("path", "document"), QUESTIONS)
def test_with_a_key_or_a_token_it_is(house: House, key: str, path: str, document: object) -> None:
    for known in (key, house.served.tokens.token_of("developer@local")):
        assert house.ask(path, document, known).status_code == 200
    assert house.http.post(path, json=document, headers={"x-api-key": key}).status_code == 200
    lower = {"Authorization": f"bearer  {key}"}
    assert house.http.post(path, json=document, headers=lower).status_code == 200


def test_the_acceptance_clients_are_asked_too(house: House, key: str) -> None:
    for ask in (house.triton, house.triton_grpc):
        ask(key)
        assert "no bearer token" in access_world.refused(ask).message()
        assert "not known here" in access_world.refused(lambda ask=ask: ask("msk_0123456789ab_no")).message()


def test_scopes_are_kept_on_every_protocol(house: House) -> None:
    reads, predicts = house.key("reader", "read"), house.key("scorer", "predict")
    assert [house.ask(p, d, reads).status_code for p, d in QUESTIONS] == [403, 403, 200]
    assert [house.ask(p, d, predicts).status_code for p, d in QUESTIONS] == [200, 200, 403]
    for ask in (house.triton, house.triton_grpc):
        ask(predicts)
        assert (
            "`reader` may read, this needs `predict`"
            in access_world.refused(lambda a=ask: a(reads)).message()
        )
    assert house.http.get("/v1/endpoints", headers=access_world.bearer(predicts)).status_code == 403
    assert house.http.get("/v1/endpoints", headers=access_world.bearer(reads)).status_code == 200
    viewer = house.served.tokens.token_of("approver@local")
    assert house.ask(PREDICT, ASKED, viewer).status_code == 200


def test_grpc_has_its_own_words_for_it(house: House, key: str) -> None:
    reads = house.key("reader", "read")
    with grpc.insecure_channel(f"127.0.0.1:{house.grpc_port}") as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        asked = messages.ModelInferRequest(model_name="linear")

        def code(call: object, *credentials: tuple[str, str]) -> grpc.StatusCode:
            with pytest.raises(grpc.RpcError) as refused:
                result = call(metadata=credentials)  # type: ignore[operator]
                list(result)
            trailing = dict(refused.value.trailing_metadata())
            assert trailing["x-error-code"] in ("unauthenticated", "permission_denied", "invalid_request")
            return refused.value.code()

        def infer(**k: object) -> object:
            return stub.ModelInfer(asked, **k)

        def stream(**k: object) -> object:
            return stub.ModelStreamInfer(iter([asked]), **k)

        def load(**k: object) -> object:
            return stub.RepositoryModelLoad(messages.RepositoryModelLoadRequest(model_name="linear"), **k)

        for call in (infer, stream, load):
            assert code(call) is grpc.StatusCode.UNAUTHENTICATED
            assert code(call, ("authorization", f"Bearer {reads}")) is grpc.StatusCode.PERMISSION_DENIED
        assert code(infer, ("x-api-key", key)) is grpc.StatusCode.INVALID_ARGUMENT, (
            "no inputs: it came to that"
        )
        raw = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        assert code(lambda **k: raw(b"\xff\xff\xff", **k)) is grpc.StatusCode.UNAUTHENTICATED, "not parsed"
        got = code(lambda **k: raw(b"\xff\xff\xff", **k), ("x-api-key", key))
        assert got is grpc.StatusCode.INVALID_ARGUMENT
        assert stub.ServerLive(messages.ServerLiveRequest()).live


def test_probes_metrics_and_the_description_are_open(house: House) -> None:
    for path in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/v2/health/live", "/v2/health/ready"):
        assert house.http.get(path).status_code == 200, path
    for path in ("/v1/endpoints", "/v1/bundles", "/v2", "/v2/models/linear", "/v1/keys", "/nowhere"):
        assert house.http.get(path).status_code == 401, path


def test_nothing_is_read_before_the_sender_is_known(house: House) -> None:
    """A body that would be refused for its size is refused for its sender."""
    answer = house.http.post(INFER, content=b"[" * (17 << 20))
    assert answer.status_code == 401


def test_a_revoked_key_is_refused_at_the_next_request(house: House) -> None:
    key = house.key("leaver", "predict")
    assert house.ask(INFER, ROW, key).status_code == 200
    house.revoke(key)
    answer = house.ask(INFER, ROW, key)
    assert (answer.status_code, "was revoked" in answer.text) == (401, True)
    assert "was revoked" in access_world.refused(lambda: house.triton_grpc(key)).message()


def test_a_stream_ends_with_its_key(house: House) -> None:
    key = house.key("streamer", "predict")
    asked: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with grpc.insecure_channel(f"127.0.0.1:{house.grpc_port}") as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        metadata = [("authorization", f"Bearer {key}")]
        answers = stub.ModelStreamInfer(iter(asked.get, None), metadata=metadata, timeout=20)
        one = messages.ModelInferRequest(model_name="linear", raw_input_contents=[bytes(32)])
        one.inputs.add(name="x", datatype="FP32", shape=[1, 8])
        asked.put(one)
        assert not next(answers).error_message
        house.revoke(key)
        asked.put(one)
        with pytest.raises(grpc.RpcError) as told:
            next(answers)
        asked.put(None)
    assert told.value.code() is grpc.StatusCode.UNAUTHENTICATED and "was revoked" in told.value.details()


def test_only_an_admins_token_makes_keys(house: House) -> None:
    """A key of every scope does not: who leaks one would leak them all."""
    powerful = house.key("robot", "predict", "read", "admin")
    asked = {"caller": "mine"}
    assert house.ask("/v1/keys", asked).status_code == 401
    assert house.ask("/v1/keys", asked, powerful).status_code == 401
    assert house.ask("/v1/keys", asked, house.served.tokens.token_of("service@local")).status_code == 403
    assert house.as_admin("POST", "/v1/keys", {"caller": "Bad Name"}).status_code == 400
    assert house.as_admin("POST", "/v1/keys", {"caller": "a", "scopes": ["fly"]}).status_code == 400
    assert house.as_admin("DELETE", "/v1/keys/ffffffffffff").status_code == 404
    listed = house.as_admin("GET", "/v1/keys")
    assert "sha256" not in listed.text and "msk_" not in listed.text
    loaded = house.http.post("/v2/repository/models/linear/load", headers=access_world.bearer(powerful))
    assert loaded.status_code == 200, "it may change what is served"


def test_the_client_shows_its_key(house: House, key: str) -> None:
    asked = PredictRequest.model_validate(ASKED)
    with ServingClient(house.served.url, token=key) as client:
        assert client.predict("flights", asked).predictions
    with ServingClient(house.served.url) as client, pytest.raises(errors.Unauthenticated):
        client.predict("flights", asked)


def test_refusals_are_counted(house: House) -> None:
    def count() -> float:
        lines = house.http.get("/metrics").text.splitlines()
        found = (
            line
            for line in lines
            if line.startswith('mainspring_callers_refused_total{code="unauthenticated"}')
        )
        return float(next(found, "0 0").split()[1])

    before = count()
    house.ask(INFER, ROW)
    assert count() == before + 1


@pytest.mark.parametrize("way", world.WAYS)
def test_where_no_token_is_demanded_everybody_may_ask(tmp_path: Path, way: str) -> None:
    with access_world.opened(tmp_path, **world.WAYS[way]) as house:
        for path, document in QUESTIONS:
            for shown in ("", "a-proxys-own", house.key("reader", "read")):
                assert house.ask(path, document, shown).status_code == 200
        house.triton_grpc()
        assert house.ask("/v1/bundles:load", {"digest": "sha256:" + "0" * 64}).status_code == 401


NATIVE = [(INFER, ROW), (READ, {key: value for key, value in FEATURES.items() if key != "as_of"})]


def answered_by_the_front(house: House, path: str, document: object, key: str = "") -> bool | None:
    """Or by the app; None: it was refused."""
    before = house.served.front.counts()["answered"]
    answer: httpx.Response = house.ask(path, document, key)
    is_ours = house.served.front.counts()["answered"] == before + 1
    assert answer.status_code == 200 or not is_ours
    return is_ours if answer.status_code == 200 else None


@pytest.mark.parametrize(("path", "document"), NATIVE)
def test_the_native_front_knows_keys_and_is_no_way_round(
    tmp_path: Path, path: str, document: dict[str, Any]
) -> None:
    with access_world.opened(tmp_path, front="on", require_token=True) as house:
        key = house.key("a", "predict", "read")
        assert answered_by_the_front(house, path, document, key) is True
        assert answered_by_the_front(house, path, document) is None
        assert answered_by_the_front(house, path, document, key + "x") is None
        assert answered_by_the_front(house, path, document, house.key("b", "admin")) is None
        token = house.served.tokens.token_of("developer@local")
        assert answered_by_the_front(house, path, document, token) is False, "tokens are the app's to know"
        house.revoke(key)
        assert answered_by_the_front(house, path, document, key) is None
        for ended in ("1970-01-01T00:00:00Z", "1960-01-01T00:00:00Z", "2020-01-01T00:00:00Z"):
            over = house.key("a", "predict", "read", expires_at=ended)
            assert answered_by_the_front(house, path, document, over) is None
        later = house.key("a", "predict", "read", expires_at="2099-01-01T00:00:00Z")
        assert answered_by_the_front(house, path, document, later) is True
        key = house.key("a", "predict", "read")
        assert answered_by_the_front(house, path, document, key) is True
        # As another process of this host revokes all of them.
        keys = next(tmp_path.rglob("keys.json"))
        keys.with_name("other").write_text('{"keys": []}')
        keys.with_name("other").rename(keys)
        began = time.monotonic()
        while answered_by_the_front(house, path, document, key):
            assert time.monotonic() < began + 10
            time.sleep(0.02)
        assert time.monotonic() < began + 2, "within a second, and what a busy machine adds"


@pytest.mark.parametrize(("path", "document"), NATIVE)
def test_the_native_front_takes_from_the_limits_that_the_app_takes_from(
    tmp_path: Path, path: str, document: dict[str, Any]
) -> None:
    with access_world.opened(tmp_path, front="on") as house:
        key = house.key("eager", "predict", "read")
        odd = {**document, "as_of": world.AS_OF} if path == READ else {**ROW, "id": "\u00e9"}
        house.limit({"caller": "eager", "requests_per_day": 4})
        assert answered_by_the_front(house, path, document, key) is True
        assert answered_by_the_front(house, path, odd, key) is False, "the app answers, and takes it"
        assert answered_by_the_front(house, path, document, key) is True
        assert answered_by_the_front(house, path, odd, key) is False
        for asked in (document, odd):
            answer = house.ask(path, asked, key)
            assert (answer.status_code, answer.headers["x-error-code"]) == (429, "rate_limited")
        assert answered_by_the_front(house, path, document) is True, "anonymous has no limit"
        text = house.http.get("/metrics").text
        name = "linear" if path == INFER else "features"
        assert f'mainspring_caller_limited_total{{caller="eager",endpoint="{name}"}} 2.0' in text
        assert 'mainspring_callers_refused_total{code="rate_limited"} 2.0' in text
        house.limit()
        assert answered_by_the_front(house, path, document, key) is True
        # As another process of this host sets them.
        limits = next(tmp_path.rglob("limits.json"))
        limits.with_name("other").write_text('{"version": 9, "rules": [{"requests_per_day": 1}]}')
        limits.with_name("other").rename(limits)
        began = time.monotonic()
        while answered_by_the_front(house, path, document):
            assert time.monotonic() < began + 10
            time.sleep(0.02)
        assert time.monotonic() < began + 2, "within a second, and what a busy machine adds"


@pytest.mark.parametrize("way", world.WAYS)
def test_log_lines_say_who_asked_over_every_protocol(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    how = {"require_token": True, "log_requests": True, **world.WAYS[way]}
    with access_world.opened(tmp_path, **how) as house:
        key = house.key("team-a/checkout", "predict")
        with caplog.at_level(logging.INFO, "mainspring.serving.access"):
            caplog.handler.setFormatter(core_logs.EcsLines("mainspring-serving", "1", logs.labels))
            named = {"authorization": f"Bearer {key}", "x-request-id": "over-http"}
            for path, document in ((PREDICT, ASKED), (INFER, ROW)):
                assert house.http.post(path, json=document, headers=named).status_code == 200
            house.ask(INFER, ROW)
            house.triton_grpc(key)
            access_world.refused(house.triton_grpc)
            deadline = time.monotonic() + 30
            while len(caplog.text.splitlines()) < 5:
                assert time.monotonic() < deadline
                time.sleep(0.01)
        lines = [json.loads(line) for line in caplog.text.splitlines()]
    assert [(x["message"], x["labels.caller"]) for x in lines] == [
        (f"POST {PREDICT} 200", "team-a/checkout"),
        (f"POST {INFER} 200", "team-a/checkout"),
        (f"POST {INFER} 401", "anonymous"),
        ("GRPC ModelInfer OK", "team-a/checkout"),
        ("GRPC ModelInfer UNAUTHENTICATED", "anonymous"),
    ]
    assert [x["labels.request_id"] for x in lines[:2]] == ["over-http"] * 2
    assert all(x["labels.request_id"] and x["event.duration"] > 0 for x in lines)
    assert lines[3]["labels.grpc_status"] == "OK" and lines[0]["http.response.status_code"] == 200
    assert key not in caplog.text
