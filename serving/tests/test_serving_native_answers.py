"""Native models by one native call on the fast path: the same bytes as without it, and the same guard, limits and books."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
import serving_tensors as tensors
import serving_world as world
from hypothesis import strategies as st

from mainspring.core import identity, traces
from mainspring.native import mlp
from mainspring.serving import app
from mainspring.serving.http import payload
from mainspring.serving.models import native_model

INFER = "/v2/models/copy/infer"
WIDTH = 3
Fields = dict[str, str]


def copy() -> native_model.NativeModel:
    """What comes goes."""
    layer = mlp.Layer(np.eye(WIDTH, dtype=np.float32))
    return native_model.NativeModel("copy", mlp.make(WIDTH, [layer]), max_rows=64)


class Answered:
    """What an app sent: nothing, if the client had left."""

    def __init__(self, messages: list[dict[str, Any]]) -> None:
        self.messages = messages
        self.status = messages[0]["status"] if messages else 0
        self.fields = {k.decode(): v.decode() for k, v in messages[0]["headers"]} if messages else {}
        self.body = b"".join(m.get("body", b"") for m in messages[1:])


class Asked:
    """An app in this process, asked without a server: which messages bring the body is the test's to say."""

    def __init__(self, directory: Path, **serving: Any) -> None:
        directory.mkdir(exist_ok=True)
        self.tokens = identity.ensure_token_file(directory / "tokens.json")
        self.settings = world.settings_in(directory, builds_routes_ahead=False, **serving)
        self.app: Any = app.create_app(
            self.settings,
            online=world.filled_store(),
            loader=world.DictLoader({}),
            issuer=self.tokens,
            models={"copy": copy, "linear": tensors.network, "floats": tensors.models()["floats"]},
        )
        self.loop = asyncio.new_event_loop()
        self._has_started, self._stopping = False, asyncio.Event()
        self._life = self.loop.create_task(self._live())
        self.loop.run_until_complete(asyncio.sleep(0))

    async def _live(self) -> None:
        async def receive() -> dict[str, Any]:
            if not self._has_started:
                self._has_started = True
                return {"type": "lifespan.startup"}
            await self._stopping.wait()
            return {"type": "lifespan.shutdown"}

        async def send(message: dict[str, Any]) -> None:
            assert message["type"].endswith("complete"), message

        await self.app({"type": "lifespan"}, receive, send)

    def close(self) -> None:
        self._stopping.set()
        self.loop.run_until_complete(self._life)
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()

    def ask(
        self, path: str, body: bytes = b"", fields: Fields | None = None, *, pieces: int = 1, method: str = "POST",
        leaves: bool = False, waits: bool = False,
    ) -> Answered:  # fmt: skip
        """In that many pieces; or the client `leaves` before its body is whole; `waits`: no message is there at once."""
        fields = {"content-length": str(len(body)), **(fields or {})}
        size = math.ceil(len(body) / pieces) or 1
        parts = [body[i : i + size] for i in range(0, len(body), size)] or [b""]
        coming: list[dict[str, Any]] = [
            {"type": "http.request", "body": part, "more_body": i < len(parts) - 1}
            for i, part in enumerate(parts)
        ]
        if leaves:
            coming[-1] = {"type": "http.disconnect"}
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            if waits:
                await asyncio.sleep(0)
            if not coming:
                await asyncio.Event().wait()  # the client stays
            return coming.pop(0)

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = {
            "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"",
            "headers": [(k.lower().encode(), v.encode()) for k, v in fields.items()], "http_version": "1.1", "scheme": "http",
            "server": ("h", 1), "client": ("c", 2), "root_path": "", "state": {},
        }  # fmt: skip
        self.loop.run_until_complete(self.app(scope, receive, send))
        return Answered(sent)

    def natively(self) -> int:
        """Requests that one native call answered."""
        return sum(entry.requests for entry in self.app._hot._natives.entries().values())

    def statistics(self, model: str = "copy") -> dict[str, Any]:
        (found,) = json.loads(self.ask(f"/v2/models/{model}/stats", method="GET").body)["model_stats"]
        return dict(found)

    def gate(self) -> Any:
        return self.app._hot._infer.inference.gate


@contextlib.contextmanager
def asking(directory: Path, **serving: Any) -> Iterator[Asked]:
    asked = Asked(directory, **serving)
    try:
        yield asked
    finally:
        asked.close()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Asked, Asked]]:
    folder = tmp_path_factory.mktemp("both")
    with (
        asking(folder / "fast", max_body_bytes=100_000) as fast,
        asking(folder / "slow", fast_path=False, max_body_bytes=100_000) as slow,
    ):
        yield fast, slow


@pytest.fixture
def fast(tmp_path: Path) -> Iterator[Asked]:
    with asking(tmp_path) as asked:
        yield asked


def alike(
    both: tuple[Asked, Asked], path: str, body: bytes, fields: Fields | None = None, **how: Any
) -> Answered:
    fields = {"x-request-id": "same", **(fields or {})}
    ours, theirs = (asked.ask(path, body, fields, **how) for asked in both)
    assert (ours.status, ours.body) == (theirs.status, theirs.body), body
    assert ours.fields == theirs.fields, body
    return ours


def document(data: Any, shape: list[int], **more: Any) -> bytes:
    return json.dumps(
        {"inputs": [{"name": "x", "shape": shape, "datatype": "FP32", "data": data}], **more}
    ).encode()


ONE = document([1, 2.5, -0.0], [1, 3])
JSON = document([1, 2, 3], [1, 3], id="a", outputs=[{"name": "y"}])
HEAD = json.dumps(
    {
        "inputs": [
            {"name": "x", "shape": [2, 3], "datatype": "FP32", "parameters": {"binary_data_size": 24}}
        ],
        "parameters": {"binary_data_output": True},
    }
).encode()
BINARY = HEAD + struct.pack("<6f", 1, -0.0, math.nan, math.inf, 1e-45, 5)
LENGTH = "inference-header-content-length"
PIECES = (
    *(b"[", b"]", b"{", b"}", b",", b":", b'"', b"0", b"-", b"1e9", b"\xff", b"\0", b"NaN"),
    *(b"null", b"true", b'"x"', b'"data"', b'"id":"\\n",', b'"parameters":{"priority":1},'),
)


@hypothesis.settings(max_examples=400, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(data=st.data())
def test_every_mutation_is_answered_alike(both: tuple[Asked, Asked], data: st.DataObject) -> None:
    """Truncated, cut and spliced bodies, in pieces and with fields that matter."""
    is_binary = data.draw(st.booleans())
    body = bytearray(BINARY if is_binary else JSON)
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(body)))
        match data.draw(st.integers(0, 2)):
            case 0:
                del body[at:]
            case 1:
                del body[at : at + data.draw(st.integers(1, 12))]
            case 2:
                body[at:at] = data.draw(st.sampled_from(PIECES))
    fields = {}
    if is_binary or data.draw(st.booleans()):
        said = st.sampled_from([len(HEAD), 0, len(body), len(body) + 1, -1, 1 << 65, "x", "²", ""])
        fields[LENGTH] = str(data.draw(said) if data.draw(st.booleans()) else len(HEAD))
    if data.draw(st.booleans()):
        fields["accept-encoding"] = data.draw(
            st.sampled_from(["gzip", "deflate, gzip;q=0.5", "identity", ""])
        )
    if data.draw(st.booleans()):
        fields["x-deadline-ms"] = data.draw(st.sampled_from(["60000", "0", "soon", "1e9"]))
    alike(
        both, INFER, bytes(body), fields, pieces=data.draw(st.integers(1, 3)), waits=data.draw(st.booleans())
    )


finite = st.floats(allow_nan=False, allow_infinity=False, width=32)


@hypothesis.settings(max_examples=200, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(rows=st.lists(st.lists(finite, min_size=WIDTH, max_size=WIDTH), min_size=1, max_size=64))
def test_every_matrix_is_answered_alike_in_one_call(
    both: tuple[Asked, Asked], rows: list[list[float]]
) -> None:
    before = both[0].natively()
    answer = alike(both, INFER, document(rows, [len(rows), WIDTH]), {"accept-encoding": "gzip"})
    text = gzip.decompress(answer.body) if "content-encoding" in answer.fields else answer.body
    got = np.array(json.loads(text)["outputs"][0]["data"], np.float32)
    np.testing.assert_array_equal(got, np.array(rows, np.float32).ravel())
    assert both[0].natively() == before + 1


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"x-request-id": "no good id"},
        {"accept-encoding": "gzip, br"},
        {"x-deadline-ms": "60000"},
        {"content-encoding": "identity"},
        {"authorization": "Basic eDp5"},
        {"x-api-key": "unknown"},
        {"expect": "100-continue"},
        {"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-00"},
    ],
)
@pytest.mark.parametrize("how", [{}, {"pieces": 3}, {"waits": True}])
def test_these_heads_are_answered_in_one_call(both: tuple[Asked, Asked], fields: Fields, how: Any) -> None:
    before = both[0].natively()
    asked = both[0].ask(INFER, ONE, fields, **how)
    assert (asked.status, json.loads(asked.body)["outputs"][0]["data"]) == (200, [1.0, 2.5, -0.0])
    alike(both, INFER, ONE, {**fields, "x-request-id": "same"}, **how)
    assert both[0].natively() == before + 2


def test_versions_other_models_and_no_models_are_told_apart(both: tuple[Asked, Asked]) -> None:
    before = both[0].natively()
    for path in ("/v2/models/copy/versions/1/infer", "/v2/models/linear/infer"):
        width = 3 if "copy" in path else 8
        assert alike(both, path, document([1.0] * width, [1, width])).status == 200
    assert both[0].natively() == before + 2
    for path in ("/v2/models/copy/versions/2/infer", "/v2/models/cop/infer", "/v2/models//infer"):
        assert alike(both, path, ONE).status == 404
    assert alike(both, "/v2/models/floats/infer", document([1.0], [1, 1])).status == 200
    assert both[0].natively() == before + 2


def test_large_bodies_meet_the_limits(both: tuple[Asked, Asked]) -> None:
    before = both[0].natively()
    for size in (payload.LARGE_BYTES, 70_000):
        padded = ONE + b" " * (size - len(ONE))
        assert alike(both, INFER, padded).status == 200
    assert both[0].natively() == before + 1, "the larger one is read in a thread"
    assert alike(both, INFER, ONE + b" " * 100_000).status == 413
    assert alike(both, INFER, ONE, {"content-length": "100001"}, pieces=2).status == 413
    limits = both[0].app._hot._infer.limits
    assert limits.held == 0
    limits.held = limits.max_held_bytes
    try:
        assert both[0].ask(INFER, ONE + b" " * payload.LARGE_BYTES).status == 503
        assert both[0].ask(INFER, ONE).status == 200
    finally:
        limits.held = 0


@pytest.mark.parametrize("fields", [{}, {"x-deadline-ms": "5000"}])
@pytest.mark.parametrize("pieces", [1, 2])
def test_who_left_gets_no_answer(both: tuple[Asked, Asked], fields: Fields, pieces: int) -> None:
    before = both[0].natively()
    assert both[0].ask(INFER, ONE, fields, pieces=pieces, leaves=True).messages == []
    assert both[0].natively() == before


def test_the_book_has_answers_and_refusals(fast: Asked) -> None:
    for body in (ONE, document([0.0] * 12, [4, 3]), b"{"):
        fast.ask(INFER, body)
    fast.ask(INFER, document([1, 2, 3], [1, 3], parameters={"priority": 1}))
    assert fast.natively() == 2
    seen = fast.statistics()
    assert (seen["inference_count"], seen["execution_count"]) == (6, 3)
    assert seen["inference_stats"]["success"]["count"] == 3
    assert seen["inference_stats"]["fail"]["count"] == 1
    assert fast.gate().counts.inline + fast.gate().counts.threaded == 3
    text = fast.ask("/metrics", method="GET").body.decode()
    assert 'mainspring_model_rows_total{model="copy",version="1"} 6.0' in text


def test_counts_go_on_over_loads(fast: Asked) -> None:
    admin = {"authorization": f"Bearer {fast.tokens.token_of('service@local')}"}
    fast.ask(INFER, ONE)
    assert fast.ask("/v2/repository/models/copy/unload", b"", admin).status == 200
    refused = fast.ask(INFER, ONE)
    assert (refused.status, b"is not loaded" in refused.body) == (503, True)
    assert fast.ask("/v2/repository/models/copy/load", b"", admin).status == 200
    assert fast.ask(INFER, ONE).status == 200
    assert fast.natively() == 2
    assert fast.statistics()["inference_count"] == 2


def test_who_must_show_a_token_is_asked_for_it(tmp_path: Path) -> None:
    with asking(tmp_path, require_token=True) as fast:
        assert fast.ask(INFER, ONE).status == 401
        assert fast.ask(INFER, b"{").status == 401, "nothing of a body is told to a stranger"
        assert fast.ask(INFER, ONE, {"authorization": "Bearer no"}).status == 401
        assert fast.natively() == 0
        token = {"authorization": f"Bearer {fast.tokens.token_of('service@local')}"}
        assert fast.ask(INFER, ONE, token).status == 200
        assert fast.natively() == 1


def test_limits_are_charged_for_requests_and_rows(fast: Asked) -> None:
    admin = {"authorization": f"Bearer {fast.tokens.token_of('admin@local')}"}
    rule = {"caller": "*", "endpoint": "copy", "rows_per_day": 5}
    body = json.dumps({"version": 1, "rules": [rule]}).encode()
    changed = fast.ask("/v1/limits", body, admin, method="PUT")
    assert changed.status == 200, changed.body
    four = document([0.0] * 12, [4, 3])
    assert [fast.ask(INFER, four).status for _ in range(3)] == [200, 200, 429]
    assert fast.natively() == 2
    assert fast.ask("/v2/models/linear/infer", document([1.0] * 8, [1, 8])).status == 200


def test_what_waits_goes_first(fast: Asked) -> None:
    fast.gate().counts.waiting = 1
    try:
        assert fast.ask(INFER, ONE).status == 200
        assert fast.ask(INFER, ONE, {"x-deadline-ms": "60000"}).status == 200
    finally:
        fast.gate().counts.waiting = 0
    assert fast.natively() == 0


def test_a_sampled_request_has_a_span_of_its_model(tmp_path: Path) -> None:
    parent = "00-" + "a" * 32 + "-" + "b" * 16
    with asking(tmp_path, trace_endpoint="http://127.0.0.1:9/v1/traces") as fast:
        assert fast.ask(INFER, ONE, {"traceparent": parent + "-00"}).status == 200
        assert fast.natively() == 1
        spans: list[traces.Span] = []
        fast.app._hot._tracer._exporter.add = spans.append
        assert fast.ask(INFER, ONE, {"traceparent": parent + "-01"}).status == 200
        assert [span.name for span in spans] == ["infer", f"POST {INFER}"]
        assert fast.natively() == 1


def test_a_failure_of_ours_is_answered_and_logged(fast: Asked, caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def answer(self, body: bytes, length: int | None) -> None:
            raise ZeroDivisionError("a mistake of ours")

    fast.app._hot._natives._by_path = {INFER: Broken()}
    answer = fast.ask(INFER, ONE, {"x-request-id": "mine"})
    assert (answer.status, answer.fields["x-request-id"]) == (500, "mine")
    assert "request mine failed" in caplog.text
