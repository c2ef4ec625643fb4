"""Traces without any I/O: headers read and passed on, who decides what is kept, and what a process without a receiver costs."""

from __future__ import annotations

import asyncio
import contextvars
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from mainspring.core import errors, otlp, settings, traces
from mainspring.core.client import control, serving

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"


class Kept(list[traces.Span]):
    """An exporter that keeps."""

    def add(self, one: traces.Span) -> None:
        self.append(one)


@pytest.fixture(autouse=True)
def _no_trace_is_left() -> Iterator[None]:
    before = traces._CURRENT.set(None)
    yield
    traces._CURRENT.reset(before)


def collecting(share: float = 1.0) -> tuple[traces.Tracer, list[bytes], otlp.SpanSender]:
    sent: list[bytes] = []
    exporter = otlp.SpanSender(sent.append, "mainspring-serving", "1", every_seconds=3600)
    return traces.Tracer(exporter, share), sent, exporter


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "garbage",
        SAMPLED.upper(),
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{TRACE}-{PARENT}",
    ],
)
def test_a_header_that_is_none_begins_a_trace_of_its_own(header: str | None) -> None:
    tracer, sent, exporter = collecting()
    tracer.begin(header)
    assert traces.current_trace_id() not in ("", TRACE)
    tracer.end("x", {})
    exporter.close()
    (span,) = json.loads(sent[0])["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert "parentSpanId" not in span and len(span["traceId"]) == 32 and len(span["spanId"]) == 16


def test_later_versions_of_the_header_are_read_as_far_as_they_are_known() -> None:
    tracer, _, exporter = collecting()
    tracer.begin(f"01-{TRACE}-{PARENT}-03-more")
    assert traces.current_trace_id() == TRACE
    exporter.close()


def test_the_client_decides_and_else_the_share() -> None:
    for share, header, expected in ((0.0, SAMPLED, 1), (1.0, UNSAMPLED, 0), (0.0, None, 0), (1.0, None, 1)):
        tracer, sent, exporter = collecting(share)
        tracer.begin(header)
        with traces.span("inner"):
            pass
        tracer.end("x", {})
        exporter.close()
        assert (len(sent), exporter.sent) == (expected, 2 * expected)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp, "MAX_WAITING_SPANS", 5)
    tracer, _, exporter = collecting()
    tracer.begin(None)
    for _ in range(9):
        tracer.end("x", {})
    exporter.close()
    assert (exporter.sent, exporter.dropped) == (5, 4)


def test_who_is_asked_next_is_told_the_trace() -> None:
    kept = Kept()
    tracer = traces.Tracer(kept, 1.0)
    assert traces.outgoing() == "" and traces.headers() == {}
    tracer.begin(SAMPLED)
    told = traces.outgoing()
    trace_id, parent_id, is_sampled = traces.read(told)
    assert (trace_id, is_sampled) == (TRACE, True) and parent_id != PARENT
    tracer.end("outer", {})
    assert kept[0].span_id == parent_id and kept[0].parent_id == PARENT
    tracer.begin(UNSAMPLED)
    assert traces.outgoing().endswith("-00") and traces.trace_id_of(traces.outgoing()) == TRACE


def test_without_a_receiver_what_came_is_passed_on_as_it_was_and_nothing_is_made() -> None:
    tracer = traces.Tracer(None, 1.0)
    for header in (SAMPLED, UNSAMPLED):
        tracer.begin(header)
        assert traces.outgoing() == header
        with traces.span("inner"):
            pass
        tracer.end("outer", {})
    tracer.begin(None)
    assert traces.current() is None and traces.outgoing() == ""


def test_all_are_named_whose_trace_goes_on_record_and_those_kept_that_the_share_says() -> None:
    kept = Kept()
    traces.Tracer(kept, 0.0).begin(None)
    assert traces.current() is None
    tracer = traces.Tracer(kept, 0.0, names_all=True)
    tracer.begin(None)
    assert len(traces.current_trace_id()) == 32 and traces.outgoing().endswith("-00")
    tracer.end("outer", {})
    assert kept == []


def test_a_piece_of_work_is_one_span_and_gives_back_what_was_at_work_before() -> None:
    kept = Kept()
    tracer = traces.Tracer(kept, 1.0)
    tracer.begin(SAMPLED)
    before = traces.outgoing()
    with tracer.within(before, "step", lambda _: "", attempt=2):
        assert traces.current_trace_id() == TRACE and traces.outgoing() != before
    with pytest.raises(errors.Conflict), tracer.within(before, "step", lambda e: type(e).__name__):
        raise errors.Conflict("taken; use another", resource="x", name="y")
    assert traces.outgoing() == before
    first, second = kept
    assert {one.parent_id for one in kept} == {traces.read(before)[1]}
    assert (first.error, second.error, dict(first.attributes)) == ("", "Conflict", {"attempt": 2})
    assert "taken" not in str(second)


@pytest.mark.parametrize("stored", ["", "garbage", SAMPLED])
def test_what_is_taken_up_again_belongs_to_its_own_trace(stored: str) -> None:
    traces.Tracer(None, 1.0).begin(f"00-{'b' * 32}-{'c' * 16}-01")
    before = traces.outgoing()
    with traces.resumed(stored):
        assert traces.outgoing() == (SAMPLED if stored == SAMPLED else "")
    assert traces.outgoing() == before


def test_clients_tell_the_trace_at_work_and_leave_a_callers_own_header() -> None:
    seen: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("traceparent"))
        return httpx.Response(200, json={})

    async def awaited() -> None:
        async with control.AsyncControlClient(
            "http://c", "t", transport=httpx.MockTransport(answer)
        ) as client:
            await client.is_ready()

    traces.Tracer(None, 1.0).begin(SAMPLED)
    with control.ControlClient("http://c", "t", transport=httpx.MockTransport(answer)) as client:
        client.is_ready()
        asyncio.run(awaited())
        traces._CURRENT.set(None)
        client.is_ready()
    assert seen == [SAMPLED, SAMPLED, None]
    with serving.ServingClient("http://s") as data:
        assert data._http.event_hooks["request"] == [traces.on_request]
    request = httpx.Request("GET", "http://c", headers={"traceparent": UNSAMPLED})
    contextvars.copy_context().run(
        lambda: (traces.Tracer(None, 1.0).begin(SAMPLED), traces.on_request(request))
    )
    assert request.headers["traceparent"] == UNSAMPLED


def test_a_process_without_a_receiver_starts_no_thread(tmp_path: Path) -> None:
    told = otlp.told_by(settings.load({}, directory=tmp_path).telemetry, "mainspring-x", "1")
    with told:
        assert told.sender is None and told.tracer.exporter is None
        assert not [one for one in threading.enumerate() if one.name == "traces"]


OTEL = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.mark.parametrize(
    ("environ", "endpoint", "headers"),
    [
        ({}, "", ""),
        ({OTEL: "http://c:4318/"}, "http://c:4318/v1/traces", ""),
        ({OTEL: "http://c:4318", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "", ""),
        ({OTEL: "http://c:4318", "OTEL_SDK_DISABLED": "true"}, "", ""),
        (
            {
                OTEL: "http://c:4318",
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://d/x",
                "OTEL_EXPORTER_OTLP_HEADERS": "a=b%20c",
            },
            "http://d/x",
            "a=b c",
        ),
        (
            {OTEL: "http://c:4318", "MAINSPRING_TELEMETRY_TRACE_ENDPOINT": "http://ours/t"},
            "http://ours/t",
            "",
        ),
    ],
)
def test_opentelemetrys_own_variables_are_taken_where_ours_say_nothing(
    environ: dict[str, str], endpoint: str, headers: str, tmp_path: Path
) -> None:
    found = settings.load(environ, directory=tmp_path)
    assert (found.telemetry.trace_endpoint, found.telemetry.trace_headers) == (endpoint, headers)
    assert (found.serving.trace_endpoint, found.serving.trace_headers) == (endpoint, headers)
    # What a process starts has the same.
    again = settings.load(settings.to_environment(found), directory=tmp_path)
    assert again.telemetry == found.telemetry


def test_headers_that_are_for_one_receiver_are_not_sent_to_another(tmp_path: Path) -> None:
    environ = {
        "MAINSPRING_TELEMETRY_TRACE_ENDPOINT": "http://ours/t",
        "MAINSPRING_TELEMETRY_TRACE_HEADERS": "authorization=Bearer t",
        "MAINSPRING_SERVING_TRACE_ENDPOINT": "http://another/t",
    }
    found = settings.load(environ, directory=tmp_path).serving
    assert (found.trace_endpoint, found.trace_headers) == ("http://another/t", "")


def test_a_started_process_is_told_its_trace_by_its_environment() -> None:
    assert settings.inherited_trace({"TRACEPARENT": SAMPLED}) == SAMPLED
    assert settings.inherited_trace({}) == ""
