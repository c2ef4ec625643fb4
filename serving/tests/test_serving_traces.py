"""Traces from the client's header to the model, over every protocol, at a receiver of OTLP; and what costs nothing."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import serving_access_world as access_world
import serving_tensors as tensors
import serving_world as world
import tritonclient.grpc as triton_grpc
from serving_access_world import ASKED, INFER, PREDICT, ROW
from serving_receiver import Receiver, attributes

from mainspring.core import errors, otlp, traces
from mainspring.core.client import serving as client_module
from mainspring.core.contracts.deployment import TrafficTable

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
STATUS_AND_CALLER = ("http.response.status_code", "mainspring.caller")
SAMPLED, UNSAMPLED = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    built = Receiver()
    yield built
    built.close()


@pytest.mark.integration
@pytest.mark.parametrize("way", world.WAYS)
def test_a_request_is_one_trace_from_the_clients_header_to_the_model(
    tmp_path: Path, receiver: Receiver, way: str
) -> None:
    bundle, port = world.World(), access_world.free_port()
    with world.serve(
        tmp_path,
        bundle,
        models={"linear": tensors.network},
        grpc_port=port,
        trace_endpoint=receiver.url,
        trace_headers="x-team=ml, authorization=Bearer t",
        **world.WAYS[way],
    ) as served:
        with client_module.ServingClient(served.url, token=served.tokens.token_of("service@local")) as c:
            c.load_bundle(bundle.digest)
            c.set_traffic(TrafficTable(endpoint="flights", version=1, stable=bundle.digest))
        headers = {"traceparent": SAMPLED, "x-request-id": "traced-1"}
        for path, document in ((PREDICT, ASKED), (INFER, ROW)):
            assert httpx.post(served.url + path, json=document, headers=headers, trust_env=False).is_success
        with triton_grpc.InferenceServerClient(f"127.0.0.1:{port}") as client:
            client.infer("linear", [access_world.filled(triton_grpc)], headers=headers)
        quiet = {"traceparent": UNSAMPLED, "x-request-id": "quiet"}
        assert httpx.post(served.url + INFER, json=ROW, headers=quiet, trust_env=False).is_success
        missing = served.url + "/v2/models/nowhere/infer"
        assert httpx.post(missing, json=ROW, headers=headers, trust_env=False).status_code == 404
    spans = [s for s in receiver.spans() if s["traceId"] == TRACE]
    roots = sorted(
        (s for s in spans if s["parentSpanId"] == PARENT), key=lambda s: int(s["startTimeUnixNano"])
    )
    assert [(s["name"], s["kind"]) for s in roots] == [
        (f"POST {PREDICT}", 2),
        (f"POST {INFER}", 2),
        ("GRPCInferenceService/ModelInfer", 2),
        ("POST /v2/models/nowhere/infer", 2),
    ]
    inner = {s["name"]: [x["name"] for x in spans if x["parentSpanId"] == s["spanId"]] for s in roots}
    assert list(inner.values()) == [["look up", "transform", "model"], ["infer"], ["infer"], []]
    for root in roots:
        inside = [x for x in spans if x["parentSpanId"] == root["spanId"]]
        for one in inside:
            assert (
                int(root["startTimeUnixNano"]) <= int(one["startTimeUnixNano"]) <= int(one["endTimeUnixNano"])
            )
            assert int(one["endTimeUnixNano"]) <= int(root["endTimeUnixNano"])
    told = attributes(roots[0])
    assert told["mainspring.request_id"] == "traced-1" and told["mainspring.caller"] == "anonymous"
    assert told["http.response.status_code"] == "200"
    assert attributes(roots[3])["http.response.status_code"] == "404" and "status" not in roots[3]
    assert attributes(roots[2])["rpc.grpc.status_code"] == "0"
    assert not [s for s in receiver.spans() if attributes(s).get("mainspring.request_id") == "quiet"]
    assert (receiver.headers[0]["x-team"], receiver.headers[0]["authorization"]) == ("ml", "Bearer t")
    # Traced or not, it answers what it can.
    assert served.front.counts().get("answered", 0) == (2 if way == "native-front" else 0)
    linear = next(s for s in spans if s["parentSpanId"] == roots[1]["spanId"])
    assert attributes(linear) == {"model": "linear", "rows": "1"} and linear["kind"] == 1
    assert attributes(roots[1]) == {
        "http.request.method": "POST",
        "url.path": INFER,
        "http.response.status_code": "200",
        "mainspring.request_id": "traced-1",
        "mainspring.caller": "anonymous",
    }


@pytest.mark.integration
@pytest.mark.parametrize("way", world.WAYS)
def test_with_keys_limits_and_traces_every_answer_is_let_in_counted_and_told_once(
    tmp_path: Path, receiver: Receiver, way: str
) -> None:
    how = {"require_token": True, "trace_endpoint": receiver.url, **world.WAYS[way]}
    with access_world.opened(tmp_path, **how) as house:
        key = house.key("team-a", "predict", "read")
        house.limit({"caller": "team-a", "requests_per_day": 3, "endpoint": "linear"})

        def ask(path: str, document: Any, **fields: str) -> int:
            sent = {"x-api-key": key, "x-request-id": "mine", **fields}
            return house.http.post(path, json=document, headers=sent).status_code

        read = {key: value for key, value in access_world.FEATURES.items() if key != "as_of"}
        assert ask(access_world.READ, read) == 200
        assert ask(INFER, ROW) == 200
        assert ask(INFER, ROW, traceparent=UNSAMPLED) == 200
        assert ask(INFER, {**ROW, "id": "\u00e9"}, traceparent=SAMPLED) == 200, (
            "the app's, where there is a front"
        )
        assert ask(INFER, ROW, traceparent=SAMPLED) == 429
        assert ask(INFER, ROW, **{"x-api-key": "msk_0_0"}) == 401
    told = [s for s in receiver.spans() if attributes(s).get("url.path") in (INFER, access_world.READ)]
    told.sort(key=lambda s: int(s["startTimeUnixNano"]))
    seen = [(s["name"], *(attributes(s)[f"{name}"] for name in STATUS_AND_CALLER)) for s in told]
    assert seen == [
        (f"POST {access_world.READ}", "200", "team-a"),
        (f"POST {INFER}", "200", "team-a"),
        (f"POST {INFER}", "200", "team-a"),
        (f"POST {INFER}", "429", "anonymous"),
        (f"POST {INFER}", "401", "anonymous"),
    ]
    assert [s["traceId"] == TRACE for s in told] == [False, False, True, True, False]
    assert all("parentSpanId" not in s for s in told if s["traceId"] != TRACE)
    assert len({s["spanId"] for s in receiver.spans()}) == len(receiver.spans())
    answered = house.served.front.counts().get("answered", 0)
    assert answered == (3 if way == "native-front" else 0)


@pytest.mark.integration
def test_what_is_sent_is_what_opentelemetry_reads(receiver: Receiver) -> None:
    service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
    json_format = pytest.importorskip("google.protobuf.json_format")
    sending = receiving(receiver.url)
    exporter = otlp.SpanSender(sending, "mainspring-serving", "1.2.3", every_seconds=3600)
    tracer = traces.Tracer(exporter, 1.0)
    tracer.begin(SAMPLED)
    with traces.span("inner", rows=3, share=0.5, is_first=True, name="x"):
        pass
    with pytest.raises(ZeroDivisionError), traces.span("broken"):
        raise ZeroDivisionError
    tracer.end("outer", {"a": 1}, "500")
    exporter.close()
    sending.close()
    (document,) = receiver.documents
    for span in receiver.spans():
        for name in ("traceId", "spanId", "parentSpanId"):  # hexadecimal in OTLP's JSON, base64 in protobuf's
            span[name] = base64.b64encode(bytes.fromhex(span[name])).decode()
    read = json_format.ParseDict(document, service.ExportTraceServiceRequest())
    inner, broken, outer = read.resource_spans[0].scope_spans[0].spans
    assert (inner.name, outer.name) == ("inner", "outer")
    assert inner.trace_id.hex() == outer.trace_id.hex() == TRACE
    assert inner.parent_span_id == outer.span_id and outer.parent_span_id.hex() == PARENT
    values = {a.key: a.value for a in inner.attributes}
    assert (values["rows"].int_value, values["share"].double_value, values["is_first"].bool_value) == (
        3,
        0.5,
        True,
    )
    assert (broken.status.code, broken.status.message) == (2, "ZeroDivisionError")
    assert (outer.status.code, inner.status.code) == (2, 0)
    assert {a.key: a.value.string_value for a in read.resource_spans[0].resource.attributes} == {
        "service.name": "mainspring-serving",
        "service.version": "1.2.3",
    }


def receiving(url: str, headers: str = "") -> otlp.Receiver:
    return otlp.Receiver(url, headers, group="serving")


@pytest.mark.integration
def test_a_receiver_that_fails_fails_nothing_else(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.status = 500
    sending = receiving(receiver.url)
    exporter = otlp.SpanSender(sending, "mainspring-serving", "1", every_seconds=3600)
    tracer = traces.Tracer(exporter, 1.0)
    for _ in range(3):
        tracer.begin(None)
        tracer.end("x", {})
        exporter.flush()
    assert (exporter.sent, exporter.dropped) == (0, 3)
    assert [r.getMessage() for r in caplog.records if "answered 500" in r.getMessage()] == [
        f"traces are not received: `{receiver.url}` answered 500: ; look at `serving.trace_endpoint` and"
        " `serving.trace_headers`"
    ]
    receiver.status = 200
    tracer.end("x", {})
    exporter.close()
    sending.close()
    assert exporter.sent == 1


def test_headers_for_the_receiver_that_are_none_are_refused() -> None:
    for wrong in ("novalue", "=x"):
        with pytest.raises(errors.InvalidSettings, match="`serving.trace_headers` is not usable"):
            receiving("http://127.0.0.1:1", wrong)
