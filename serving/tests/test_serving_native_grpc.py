"""The native front before the real gRPC server: whoever answers, the answer is the same, and the books know of both."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import grpc
import httpx
import hypothesis
import numpy as np
import pytest
import serving_native_world as native_world
import serving_tensors as tensors
import serving_world as world
from hypothesis import strategies as st
from serving_both import Both
from serving_receiver import Receiver, attributes

from mainspring.core import errors
from mainspring.native import front, mlp, trees
from mainspring.serving import native_front
from mainspring.serving.grpc import schema
from mainspring.serving.models import native_model

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(bool(front.why_no_grpc()), reason=front.why_no_grpc()),
]

METHOD: Final = "/inference.GRPCInferenceService/ModelInfer"
WIDTH: Final = 3
Metadata = dict[str, str]

_Request = schema.message("ModelInferRequest")
_Response = schema.message("ModelInferResponse")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as s:
        return int(s.getsockname()[1])


def copy() -> native_model.NativeModel:
    """What comes goes."""
    layer = mlp.Layer(np.eye(WIDTH, dtype=np.float32))
    return native_model.NativeModel("copy", mlp.make(WIDTH, [layer]), max_rows=8)


def grown() -> native_model.NativeModel:
    """Trees that take and give doubles."""
    lightgbm = pytest.importorskip("lightgbm")
    x = np.random.default_rng(3).normal(size=(400, WIDTH))
    data = lightgbm.Dataset(x, x[:, 0], params={"verbose": -1})
    text = lightgbm.train({"verbose": -1, "num_threads": 1}, data, 3).model_to_string()
    return native_model.NativeModel("trees", trees.Trees.from_lightgbm(text), input="f", output="s")


class Asked:
    """What came of one call: its message or its refusal, and what was said beside it."""

    def __init__(
        self, channel: grpc.Channel, message: bytes, fields: Metadata, method: str, **how: Any
    ) -> None:
        self.message, self.code, self.words = b"", grpc.StatusCode.OK, ""
        call: Any
        try:
            self.message, call = channel.unary_unary(method).with_call(
                message, metadata=tuple(fields.items()), **{"timeout": 30.0} | how
            )
        except grpc.RpcError as error:
            call = error
            self.code, self.words = call.code(), call.details()
        self.leading = sorted((k, v) for k, v in call.initial_metadata() or ())
        self.trailing = sorted((k, v) for k, v in call.trailing_metadata() or ())

    def all(self) -> tuple[Any, ...]:
        return self.message, self.code, self.words, self.leading, self.trailing


class BothGrpc:
    """The same call to the front and to grpc.aio behind it."""

    def __init__(self, served: world.Served, port: int) -> None:
        self.served, self.port = served, port
        self.front = grpc.insecure_channel(f"127.0.0.1:{port}")
        self.app = grpc.insecure_channel(f"unix:{served.front.grpc_socket}")

    def close(self) -> None:
        self.front.close()
        self.app.close()

    def ask(
        self, message: bytes, fields: Metadata | None = None, *, method: str = METHOD, **how: Any
    ) -> Asked:
        ours = Asked(self.front, message, fields or {}, method, **how)
        theirs = Asked(self.app, message, fields or {}, method, **how)
        assert ours.all() == theirs.all(), message
        return ours

    def of_front(self, message: bytes, fields: Metadata | None = None, **how: Any) -> Asked:
        return Asked(self.front, message, fields or {}, METHOD, **how)

    def answered(self) -> int:
        return self.served.front.counts()["answered"]

    def is_the_fronts(self, message: bytes, fields: Metadata | None = None) -> bool | None:
        """Or the app's; None: it was refused."""
        before = self.answered()
        asked = self.of_front(message, fields)
        return self.answered() == before + 1 if asked.code is grpc.StatusCode.OK else None


@contextlib.contextmanager
def serving(directory: Path, **chosen: Any) -> Iterator[BothGrpc]:
    port = free_port()
    models: dict[str, Any] = {"copy": copy, "trees": grown, "floats": tensors.models()["floats"]}
    directory.mkdir(exist_ok=True)
    how: dict[str, Any] = {"grpc_port": port, "grpc_front": "auto", "models": models}
    with world.serve(directory, **how | chosen) as served:
        both = BothGrpc(served, port)
        try:
            yield both
        finally:
            both.close()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BothGrpc]:
    with serving(tmp_path_factory.mktemp("grpc")) as pair:
        yield pair


def asked(values: Any = ((1.0, 2.0, 3.0),), **changes: Any) -> Any:
    """A request to `copy`, raw."""
    x = np.asarray(values, np.float32)
    request = _Request(model_name="copy", raw_input_contents=[x.tobytes()])
    request.inputs.add(name="x", datatype="FP32", shape=list(x.shape))
    request.MergeFrom(_Request(**changes))
    return request


ONE: Final[bytes] = asked().SerializeToString()


def test_every_float_comes_back_whatever_its_bits(both: BothGrpc) -> None:
    bits = np.random.default_rng(1).integers(0, 1 << 32, (8, WIDTH), np.uint32)
    bits[0] = 0x7F800000, 0x7FC00000, 0x80000000  # infinity, NaN, -0.0
    before = both.answered()
    # What a product with 1 and sums with 0 leave of them.
    answer = both.ask(asked(bits.view(np.float32)).SerializeToString())
    got = _Response.FromString(answer.message)
    assert (got.model_name, got.model_version, list(got.outputs[0].shape)) == ("copy", "1", [8, WIDTH])
    assert both.answered() == before + 1


def spoilt(how: str, draw: Callable[[Any], Any]) -> bytes:
    """A request to `copy` or `trees` that is changed in one way; most are wrong, some only unusual."""
    request = asked(np.ones((draw(st.integers(1, 9)), WIDTH)))
    name = draw(st.sampled_from(["copy", "x", "y", "", "trees", "é", "a/b", "floats", "copy/versions/1"]))
    number = draw(st.sampled_from([-1, 0, 1, 2, 3, 4, 8, 9, 1 << 31, (1 << 63) - 1]))
    one = request.inputs[0]
    match how:
        case "model":
            request.model_name = name
        case "version":
            request.model_version = draw(st.sampled_from(["1", "2", "", "01", "latest", "a/b"]))
        case "id":
            request.id = draw(st.text(max_size=200))
        case "input":
            one.name = name
        case "datatype":
            one.datatype = draw(st.sampled_from(["FP32", "FP64", "fp32", "", "INT32", "BYTES"]))
        case "shape":
            del one.shape[:]
            one.shape.extend(draw(st.lists(st.just(number) | st.integers(-3, 9), max_size=4)))
        case "parameter":
            place = draw(st.sampled_from([request.parameters, one.parameters]))
            key = draw(st.sampled_from(["timeout", "priority", "sequence_id", "other", "binary_data_output"]))
            place[key].int64_param = number
        case "outputs":
            for _ in range(draw(st.integers(1, 2))):
                request.outputs.add(name=draw(st.sampled_from(["y", "z", ""])))
        case "contents":
            del request.raw_input_contents[:]
            one.contents.fp32_contents.extend(np.ones(draw(st.sampled_from([0, 1, 3, 6, 24]))).tolist())
        case "other contents":
            one.contents.int64_contents.append(number)
        case "inputs":
            request.inputs.add(name=name, datatype="FP32", shape=[1, WIDTH])
        case "raw":
            request.raw_input_contents.append(draw(st.binary(max_size=40)))
        case "no raw":
            del request.raw_input_contents[:]
        case "length":
            request.raw_input_contents[0] = draw(st.binary(max_size=100))
    return bytes(request.SerializeToString())


SPOILS: Final = (
    "nothing", "model", "version", "id", "input", "datatype", "shape", "parameter", "outputs", "contents",
    "other contents", "inputs", "raw", "no raw", "length",
)  # fmt: skip


@hypothesis.settings(max_examples=250, deadline=None)
@hypothesis.given(data=st.data(), how=st.sampled_from(SPOILS))
def test_whoever_answers_the_answer_is_the_same(both: BothGrpc, data: st.DataObject, how: str) -> None:
    both.ask(spoilt(how, data.draw))


@hypothesis.settings(max_examples=250, deadline=None)
@hypothesis.given(data=st.data())
def test_bytes_that_were_changed_on_their_way_are_read_alike(both: BothGrpc, data: st.DataObject) -> None:
    message = bytearray(asked(id="an-id", model_version="1").SerializeToString())
    for _ in range(data.draw(st.integers(1, 3))):
        if not message:
            break
        at = data.draw(st.integers(0, len(message) - 1))
        match data.draw(st.sampled_from(["set", "insert", "delete", "cut"])):
            case "set":
                message[at] = data.draw(st.integers(0, 255))
            case "insert":
                message[at:at] = data.draw(st.binary(min_size=1, max_size=4))
            case "delete":
                del message[at : at + data.draw(st.integers(1, 4))]
            case _:
                del message[at + 1 :]
    both.ask(bytes(message))


def test_the_usual_forms_are_answered_here(both: BothGrpc) -> None:
    typed = asked()
    del typed.raw_input_contents[:]
    typed.inputs[0].contents.fp32_contents.extend([1.0, 2.0, 3.0])
    doubles = _Request(model_name="trees", id="t", raw_input_contents=[np.ones((2, WIDTH)).tobytes()])
    doubles.inputs.add(name="f", datatype="FP64", shape=[2, WIDTH])
    named = asked(model_version="1", id="x" * 300, outputs=[{"name": "y"}])
    for request in (asked(), typed, doubles, named):
        before = both.answered()
        both.ask(request.SerializeToString(), {"x-request-id": "mine", "user": "fields are not looked at"})
        assert both.answered() == before + 1


def test_what_is_unusual_is_the_apps(both: BothGrpc) -> None:
    before = both.answered()
    assert both.ask(
        asked(model_name="", parameters={"other": {"int64_param": 3}}).SerializeToString()
    ).message
    assert both.ask(ONE, compression=grpc.Compression.Gzip).message
    assert both.ask(ONE, {"x-mainspring-role": "stable"}).message
    floats = _Request(model_name="floats", raw_input_contents=[b"\0" * 8])
    floats.inputs.add(name="x", datatype="FP32", shape=[1, 2])
    assert both.ask(floats.SerializeToString()).message
    assert both.ask(b"", method="/inference.GRPCInferenceService/ServerLive").message
    assert (
        both.ask(b"", method="/inference.GRPCInferenceService/Nothing").code is grpc.StatusCode.UNIMPLEMENTED
    )
    assert both.ask(b"", method="/other.Service/ModelInfer").code is grpc.StatusCode.UNIMPLEMENTED
    assert both.answered() == before


def test_large_messages_stream_through(both: BothGrpc) -> None:
    """Several megabytes both ways, beyond what is collected and beyond every window."""
    values = np.arange(3_000_000, dtype=np.float32)
    request = _Request(model_name="floats", raw_input_contents=[values.tobytes()])
    request.inputs.add(name="x", datatype="FP32", shape=[1, len(values)])
    options = [("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(f"127.0.0.1:{both.port}", options) as channel:
        got = Asked(channel, request.SerializeToString(), {}, METHOD)
    assert got.code is grpc.StatusCode.OK, got.words
    answer = _Response.FromString(got.message)
    np.testing.assert_array_equal(np.frombuffer(answer.raw_output_contents[0], np.float32), values)
    assert both.served.front.counts()["held_bytes"] == 0


def test_many_calls_at_once_on_one_connection(both: BothGrpc) -> None:
    before = both.answered()
    call = both.front.unary_unary(METHOD)
    calls = [
        (i, call.future(asked([[i, 0, 0]], id=str(i)).SerializeToString(), timeout=30)) for i in range(600)
    ]
    for i, future in calls:
        answer = _Response.FromString(future.result())
        assert answer.id == str(i)
        assert np.frombuffer(answer.raw_output_contents[0], np.float32)[0] == i
    assert both.answered() == before + 600


def test_both_are_in_the_statistics(both: BothGrpc) -> None:
    def counts() -> tuple[int, int]:
        asked = schema.message("ModelStatisticsRequest")(name="copy").SerializeToString()
        answer = both.front.unary_unary("/inference.GRPCInferenceService/ModelStatistics")(asked)
        (entry,) = schema.message("ModelStatisticsResponse").FromString(answer).model_stats
        return entry.inference_count, entry.inference_stats.success.count

    rows, requests = counts()
    both.ask(asked(np.ones((5, WIDTH))).SerializeToString())
    assert counts() == (rows + 10, requests + 2)


def test_a_known_key_is_answered_here_and_is_no_way_round(tmp_path: Path) -> None:
    with serving(tmp_path, require_token=True) as both:
        http = Both(both.served)
        key = native_world.key(http, "team-a", "predict")
        reader = native_world.key(http, "reader", "read")
        assert both.is_the_fronts(ONE, {"x-api-key": key}) is True
        assert both.is_the_fronts(ONE, {"authorization": f"Bearer {key}"}) is True
        assert both.is_the_fronts(ONE, native_world.token(http)) is False, "tokens are the app's to judge"
        for fields in ({}, {"x-api-key": key + "x"}, {"authorization": "Basic x"}):
            assert both.ask(ONE, fields).code is grpc.StatusCode.UNAUTHENTICATED
        assert both.ask(ONE, {"x-api-key": reader}).code is grpc.StatusCode.PERMISSION_DENIED
        gone = http.front.delete(f"/v1/keys/{key.split('_')[1]}", headers=native_world.token(http, "admin"))
        assert gone.status_code == 200
        assert both.ask(ONE, {"x-api-key": key}).code is grpc.StatusCode.UNAUTHENTICATED
        http.close()


def test_limits_are_one_account(tmp_path: Path) -> None:
    with serving(tmp_path) as both:
        http = Both(both.served)
        key = {"x-api-key": native_world.key(http, "eager", "predict")}
        rules = {"version": 1, "rules": [{"caller": "eager", "rows_per_day": 5, "endpoint": "copy"}]}
        admin = native_world.token(http, "admin")
        http.front.put("/v1/limits", json=rules, headers=admin).raise_for_status()
        two = asked(np.ones((2, WIDTH))).SerializeToString()
        odd = asked(parameters={"other": {"int64_param": 3}}).SerializeToString()
        assert both.is_the_fronts(two, key) is True
        assert both.is_the_fronts(odd, key) is False, "the app answers, and charges a row"
        assert both.is_the_fronts(two, key) is True
        for message in (two, odd):
            refused = both.of_front(message, key)
            assert refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert dict(refused.trailing)["x-error-code"] == "rate_limited"
        assert both.is_the_fronts(two) is True, "anonymous has no limit"
        http.close()


def test_traces_are_told_as_the_app_tells_them(tmp_path: Path) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    with contextlib.closing(Receiver()) as receiver:
        with serving(tmp_path, trace_endpoint=receiver.url) as both:
            fields = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01", "x-request-id": "mine"}
            before = both.answered()
            both.ask(ONE, fields)
            assert both.answered() == before + 1
        spans = [s for s in receiver.spans() if s["traceId"] == trace]
    assert len(spans) == 4
    told = [{k: s[k] for k in ("name", "kind")} | {"attributes": attributes(s)} for s in spans]
    assert told.count(told[0]) == 2
    assert told.count(told[1]) == 2
    assert told[1]["name"] == "GRPCInferenceService/ModelInfer"


def test_deadlines_go_on_to_the_app_and_cancelled_calls_end_there(tmp_path: Path) -> None:
    held = tensors.Held()
    with serving(tmp_path, models={"held": held.model, "copy": copy}, workers=1, max_waiting=4) as both:
        request = _Request(model_name="held", raw_input_contents=[b"\0" * 4])
        request.inputs.add(name="x", datatype="FP32", shape=[1])
        message = request.SerializeToString()
        call = both.front.unary_unary(METHOD)
        running = call.future(message, timeout=30)
        assert held.entered.acquire(timeout=30)
        began = time.monotonic()
        assert both.of_front(message, timeout=0.3).code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert time.monotonic() - began < 10
        waiting = [call.future(message, timeout=30) for _ in range(3)]
        time.sleep(0.2)
        for one in waiting:
            one.cancel()
        # Their places are free again, though the model still runs.
        again = [call.future(message, timeout=30) for _ in range(3)]
        time.sleep(0.2)
        held.go.set()
        assert running.result()
        assert all(one.result() for one in again)
        assert held.calls == 4


def test_calls_at_work_end_and_the_next_ones_go_elsewhere_when_the_front_stops(tmp_path: Path) -> None:
    held = tensors.Held()
    with serving(tmp_path, models={"held": held.model, "copy": copy}) as both:
        request = _Request(model_name="held", raw_input_contents=[b"\0" * 4])
        request.inputs.add(name="x", datatype="FP32", shape=[1])
        running = both.front.unary_unary(METHOD).future(request.SerializeToString(), timeout=30)
        assert held.entered.acquire(timeout=30)
        failed: list[Asked] = []
        stopping = threading.Event()

        def ask() -> None:
            while not stopping.is_set():
                got = both.of_front(ONE)
                if got.code is not grpc.StatusCode.OK:
                    failed.append(got)
                    return

        asking = threading.Thread(target=ask)
        asking.start()
        stop = threading.Thread(target=both.served.front.stop, args=(10.0,))
        stop.start()
        time.sleep(0.3)
        held.go.set()
        assert running.result(), "what was at work was answered"
        stop.join(20)
        stopping.set()
        asking.join(30)
        assert all(one.code is grpc.StatusCode.UNAVAILABLE for one in failed)


def test_an_app_that_is_away_is_unavailable(both: BothGrpc) -> None:
    sockets = [front.listen("127.0.0.1", 0, threads=1) for _ in range(2)]
    options = front.Options(upstream="/nowhere/app.sock", grpc_upstream="/nowhere/grpc.sock")
    with front.Front(sockets[0], options, grpc_listeners=sockets[1]) as alone:
        alone.set_models([copy_for_front()])
        with grpc.insecure_channel(f"127.0.0.1:{sockets[1][0].getsockname()[1]}") as channel:
            assert Asked(channel, ONE, {}, METHOD).message
            refused = Asked(channel, b"", {}, "/inference.GRPCInferenceService/ServerLive")
        assert refused.code is grpc.StatusCode.UNAVAILABLE
        assert "app behind the front does not listen" in refused.words
        assert dict(refused.trailing)["x-error-code"] == errors.DependencyDown.code


def copy_for_front() -> Any:
    made = copy().for_front()
    assert made is not None
    return made


def test_the_port_is_the_apps_where_the_front_is_not_wanted(tmp_path: Path) -> None:
    for n, chosen in enumerate(({"front": "off"}, {"grpc_front": "off"})):
        with serving(tmp_path / str(n), **chosen) as both:
            assert both.served.front.grpc_socket == ""
            assert both.of_front(ONE).message
            assert both.served.front.counts().get("answered", 0) == 0


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        chosen = world.settings_in(tmp_path, front="on", grpc_front="auto", grpc_port=port).serving
        before = native_front.NativeFront(chosen)
        before.take_grpc()
        (http,) = front.listen("127.0.0.1", 0, threads=1)
        with http, pytest.raises(errors.PortInUse, match=f"port {port}"):
            before.start([http])
        before.stop(0)


def test_http_and_grpc_are_one_process(both: BothGrpc) -> None:
    answer = httpx.get(f"{both.served.url}/v2/health/live", trust_env=False)
    assert answer.status_code == 200
