"""What the front tells of answers that are sampled: whose trace, when, what ran; once, bounded, and nothing of the rest."""

from __future__ import annotations

import concurrent.futures
import hashlib
import re
import threading
import time
from collections.abc import Iterator

import front_testing as testing
import hypothesis
import pytest
from front_testing import ANSWER, PATH, Client, request
from hypothesis import strategies as st

from mainspring.native import front, status

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    with testing.app() as path:
        yield path


@pytest.fixture
def server(upstream: str) -> Iterator[front.Front]:
    with testing.serving(upstream) as running:
        running.set_traces(1.0, max_waiting=1000)
        yield running


@pytest.fixture
def client(server: front.Front) -> Iterator[Client]:
    with Client(server.port) as connected:
        yield connected


def told(server: front.Front) -> list[front.Span]:
    spans, dropped = server.drain_spans()
    assert dropped == 0
    return spans


def test_a_sampled_answer_is_a_span_and_its_models_within(server: front.Front, client: Client) -> None:
    began = time.time_ns()
    assert client.ask(request(traceparent=SAMPLED, x_request_id="mine")).body == ANSWER
    ended = time.time_ns()
    (span,) = told(server)
    assert (span.trace_id, span.parent_id, span.path, span.request_id) == (TRACE, PARENT, PATH, "mine")
    assert (span.model, span.rows, span.caller) == ("sum", 1, "anonymous")
    (part,) = span.parts
    assert part.name == "infer"
    assert began <= span.start_ns < part.start_ns <= part.end_ns < span.end_ns <= ended + 1_000_000
    ids = {span.span_id, part.span_id}
    assert len(ids) == 2 and all(re.fullmatch("[0-9a-f]{16}", one) and int(one, 16) for one in ids)
    assert told(server) == [], "told once"


def test_who_is_not_sampled_is_not_told_of(server: front.Front, client: Client) -> None:
    client.ask(request(traceparent=UNSAMPLED))
    server.set_traces(0.0, max_waiting=10)
    client.ask(request())
    assert told(server) == []
    client.ask(request(traceparent=SAMPLED))
    assert len(told(server)) == 1, "the client decides"


def test_a_share_is_a_share(server: front.Front, client: Client) -> None:
    server.set_traces(0.25, max_waiting=10_000)
    client.send(request() * 4000)
    for _ in range(4000):
        client.read()
    spans = told(server)
    assert 850 < len(spans) < 1150  # more than five standard deviations
    assert len({s.trace_id for s in spans}) == len(spans) and {s.parent_id for s in spans} == {""}
    assert len({s.request_id for s in spans}) == len(spans)


def test_without_traces_nothing_is_kept(upstream: str) -> None:
    with testing.serving(upstream) as server, Client(server.port) as client:
        client.ask(request(traceparent=SAMPLED))
        assert server.drain_spans() == ([], 0)


def test_what_is_passed_on_is_the_apps_to_trace(server: front.Front, client: Client) -> None:
    for odd in (
        request(body=b"{}", traceparent=SAMPLED),
        request("/elsewhere", traceparent=SAMPLED),
        request(traceparent=SAMPLED).replace(b"\r\n\r\n", b"\r\ntraceparent: x\r\n\r\n", 1),
        request(traceparent=SAMPLED, authorization="Bearer unknown"),
    ):
        seen = client.ask(odd).json()
        assert SAMPLED in [value for name, value in seen["fields"] if name == "traceparent"]
    assert told(server) == []
    server.set_traces(0.0, max_waiting=10)
    assert client.ask(request(authorization="Bearer unknown")).body == ANSWER, "nobody asks who it is"


def test_a_span_names_its_caller_and_begins_with_its_head(server: front.Front, client: Client) -> None:
    digest = hashlib.sha256(b"secret").digest()
    server.set_guard([front.Key("1", "team-a", digest, may_predict=True)], needs_key=True)
    data = request(x_api_key="msk_1_secret")
    client.send(data[:-3])
    time.sleep(0.1)
    client.send(data[-3:])
    assert client.read().body == ANSWER
    (span,) = told(server)
    assert span.caller == "team-a"
    (part,) = span.parts
    assert span.end_ns - span.start_ns > 90_000_000 > part.end_ns - part.start_ns


PIECES = st.sampled_from(["-", "--", "0", "f", "F", "ff", "g", "00", TRACE, PARENT, "01", " ", "é"])
WRITTEN = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)


@pytest.fixture(scope="module")
def half(upstream: str) -> Iterator[tuple[front.Front, Client]]:
    with testing.serving(upstream) as running, Client(running.port) as connected:
        running.set_traces(1.0, max_waiting=10)
        yield running, connected


@hypothesis.settings(max_examples=500, deadline=None)
@hypothesis.given(data=st.data())
def test_every_traceparent_is_read_as_the_app_reads_it(
    half: tuple[front.Front, Client], data: st.DataObject
) -> None:
    server, client = half
    flags = data.draw(st.integers(0, 255))
    version = data.draw(st.sampled_from(["00", "01", "fe", "ff", "0A"]))
    text = f"{version}-{TRACE}-{PARENT}-{flags:02x}"
    for _ in range(data.draw(st.integers(0, 2))):
        at = data.draw(st.integers(0, len(text)))
        end = data.draw(st.sampled_from([at, at + 1, at + 2, at + 16]))
        text = text[:at] + data.draw(PIECES) + text[end:]
    raw = request().replace(b"host: test", b"host: test\r\ntraceparent: " + text.encode("latin-1"), 1)
    assert client.ask(raw).body == ANSWER
    (spans, _), found = server.drain_spans(), WRITTEN.fullmatch(text.strip(" \t"))
    is_known = found is not None
    if found is not None:
        kind, trace, parent, flag, more = found.groups()
        is_known = kind != "ff" and not (kind == "00" and more) and bool(int(trace, 16) and int(parent, 16))
        if is_known and not int(flag, 16) & 1:
            assert spans == []
            return
        if is_known:
            assert [(s.trace_id, s.parent_id) for s in spans] == [(trace, parent)]
            return
    assert [(s.trace_id == TRACE, s.parent_id) for s in spans] == [(False, "")]


def test_what_waits_is_bounded_and_what_finds_no_room_is_counted(server: front.Front, client: Client) -> None:
    server.set_traces(1.0, max_waiting=5)
    for _ in range(9):
        client.ask(request())
    spans, dropped = server.drain_spans()
    assert (len(spans), dropped) == (5, 8), "four requests, and their models"
    client.ask(request())
    assert len(told(server)) == 1, "there is room again"


def test_every_answer_is_told_of_once_while_somebody_takes_them(upstream: str) -> None:
    over, taken = threading.Event(), list[front.Span]()
    with testing.serving(upstream, threads=2) as server:
        server.set_traces(1.0, max_waiting=1 << 20)

        def take() -> None:
            while not over.is_set():
                taken.extend(told(server))

        def ask(i: int) -> None:
            with Client(server.port) as client:
                for n in range(300):
                    assert client.ask(request(x_request_id=f"{i}.{n}")).body == ANSWER

        with concurrent.futures.ThreadPoolExecutor(9) as pool:
            taking = pool.submit(take)
            for one in [pool.submit(ask, i) for i in range(8)]:
                one.result(60)
            over.set()
            taking.result(60)
        server.stop()
        taken.extend(told(server))
    assert sorted(s.request_id for s in taken) == sorted(f"{i}.{n}" for i in range(8) for n in range(300))
    assert len({x for s in taken for x in (s.span_id, s.parts[0].span_id)}) == 2 * len(taken)


@pytest.mark.parametrize(("share", "room"), [(-0.1, 1), (1.1, 1), (float("nan"), 1), (0.5, 0)])
def test_settings_that_make_no_sense_are_refused(server: front.Front, share: float, room: int) -> None:
    with pytest.raises(status.NativeError, match="expected 0 to 1") as refused:
        server.set_traces(share, max_waiting=room)
    assert refused.value.code == "bad_spec"
