"""`:predict` by lines, by Arrow streams and as events: the same answers, whole or not at all, and the place of what is wrong."""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
import serving_world as world

from mainspring.core import ports
from mainspring.core.client import serving as client_module
from mainspring.core.contracts.deployment import TrafficTable
from mainspring.serving.http import predict_bodies

PATH = "/v1/endpoints/flights:predict"
ARROW = {"content-type": predict_bodies.ARROW}
LINES = {"content-type": "application/jsonl"}
EVENTS = {"accept": "text/event-stream"}
MAX_ROWS = 1100


class Slow:
    """The linear model, which waits for `go` where a batch begins with a distance of 13, and fails at 99."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.batches: list[int] = []

    def __call__(self, batch: ports.ModelInput) -> Any:
        self.batches.append(len(batch.dense))
        if batch.dense[0, 2] == 13.0:
            assert self.go.wait(20)
        if (batch.dense[:, 2] == 99.0).any():
            raise ZeroDivisionError
        return world.linear(batch)


@pytest.fixture(params=["fast-path", "native-front"])
def house(
    tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[tuple[httpx.Client, Slow, world.Served]]:
    slow = Slow()
    bundle = world.World(function=slow)
    ways = {**world.WAYS[request.param], "max_rows_per_request": MAX_ROWS, "max_body_bytes": 1 << 20}
    with world.serve(tmp_path, bundle, **ways) as served:
        with client_module.ServingClient(served.url, token=served.tokens.token_of("service@local")) as c:
            c.load_bundle(bundle.digest)
            c.set_traffic(TrafficTable(endpoint="flights", version=1, stable=bundle.digest))
        with httpx.Client(base_url=served.url, trust_env=False, timeout=30) as http:
            yield http, slow, served
            slow.go.set()


@pytest.fixture
def http(house: tuple[httpx.Client, Slow, world.Served]) -> httpx.Client:
    return house[0]


def row(i: int = 0, **changes: Any) -> dict[str, Any]:
    return {
        "carrier": "UA",
        "origin_stats__mean_delay": 1.5,
        "origin_stats__weather": None,
        "flight_stats__mean_delay": float(i),
        "distance": 100.0 + i,
        "distance_km": 160.9,
        **changes,
    }


def lines(*objects: Any) -> bytes:
    return b"\n".join(json.dumps(o).encode() for o in objects) + b"\n"


def ipc(columns: dict[str, Any], *, chunks: int = 1, **options: Any) -> bytes:
    table = pa.table(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, max_chunksize=max(1, -(-len(table) // chunks)))
    return bytes(sink.getvalue())


def in_columns(rows: list[dict[str, Any]]) -> dict[str, Any]:
    text = pa.dictionary(pa.int32(), pa.string())
    kinds = {"carrier": text, "origin_stats__weather": pa.string()}
    return {name: pa.array([r[name] for r in rows], kinds.get(name, pa.float32())) for name in row()}


def scores(answer: httpx.Response) -> list[float]:
    assert answer.status_code == 200, answer.text
    return [p["score"] for p in answer.json()["predictions"]]


def told(answer: httpx.Response) -> list[tuple[str, Any]]:
    """Events by name."""
    events = []
    for block in answer.text.strip().split("\n\n"):
        name, data = block.split("\n")
        events.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return events


def refused(answer: httpx.Response, status: int = 400) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["request_id"] == answer.headers["x-request-id"]
    return document


def test_every_form_gives_the_same_scores(http: httpx.Client) -> None:
    rows = [row(i) for i in range(7)] + [row(3, carrier=None, flight_stats__mean_delay=None)]
    want = scores(http.post(PATH, json={"rows": rows}))

    by_line = http.post(PATH, content=lines(*rows), headers=LINES)
    assert by_line.headers["content-type"].startswith("application/jsonl")
    answers = [json.loads(text) for text in by_line.text.splitlines()]
    assert [a["score"] for a in answers] == want
    assert {a["role"] for a in answers} == {"stable"}
    assert all(a["model_version"].startswith("sha256:") for a in answers)

    for chunks in (1, 3):
        by_column = http.post(PATH, content=ipc(in_columns(rows), chunks=chunks), headers=ARROW)
        table = pa.ipc.open_stream(by_column.content).read_all()
        assert table["score"].to_pylist() == pytest.approx(want)
        assert set(table["role"].to_pylist()) == {"stable"}
        assert set(table["model_version"].to_pylist()) == {answers[0]["model_version"]}
    as_json = http.post(PATH, content=ipc(in_columns(rows)), headers={**ARROW, "accept": "application/json"})
    assert scores(as_json) == pytest.approx(want)
    as_arrow = http.post(PATH, json={"rows": rows}, headers={"accept": predict_bodies.ARROW})
    assert pa.ipc.open_stream(as_arrow.content).read_all()["score"].to_pylist() == pytest.approx(want)
    events = told(http.post(PATH, content=lines(*rows), headers={**LINES, **EVENTS}))
    assert [name for name, _ in events] == ["predictions", "end"]
    assert [p["score"] for p in events[0][1]["predictions"]] == want


def test_entities_by_line_and_by_column_say_what_was_found(http: httpx.Client) -> None:
    entities = [world.entity(), world.entity(origin="EWR"), world.entity(origin="LGA", distance=7)]
    want = http.post(PATH, json={"entities": entities, "as_of": world.AS_OF}).json()["predictions"]
    query = {"by": "entity", "as_of": world.AS_OF}
    answer = http.post(PATH, params=query, content=lines(*entities), headers=LINES)
    for text, expected in zip(answer.text.splitlines(), want, strict=True):
        got = json.loads(text)
        assert {name: got[name] for name in expected} == expected
    # Columns are asked as of now, when everything is older than the view's TTL or was never there.
    columns = {name: pa.array([e[name] for e in entities]) for name in entities[0]}
    answer = http.post(PATH, params={"by": "entity"}, content=ipc(columns), headers=ARROW)
    table = pa.ipc.open_stream(answer.content).read_all()
    assert table["origin_stats__status"].to_pylist() == ["outside_max_age", "not_found", "outside_max_age"]
    ages = table["origin_stats__age_seconds"].to_pylist()
    assert ages[1] is None
    assert ages[0] > 86400


def test_one_bad_line_refuses_all_and_is_named(house: tuple[httpx.Client, Slow, world.Served]) -> None:
    http, slow, _ = house
    for bad, number, hint in (
        (b'{"carrier": }', 2, "is not JSON"),
        (b"[1]", 2, "no JSON object"),
        (lines({"carrier": {"a": 1}}).strip(), 2, "no single value"),
        (lines(row(distance="far")).strip(), 2, "expected float32"),
        (lines(row(tail=1)).strip(), 0, "unknown field `tail`"),
        (b'{"carrier": "UA"}', 2, "absent"),
        (b"\xff\xfe", 2, "is not JSON"),
        (b'{"a":' * 2000, 2, "is not JSON"),
        (lines(row(distance=1e300)).strip(), 2, "out of the range"),
    ):
        body = lines(row(1)) + b"\n" + bad + b"\n" + lines(row(2))
        document = refused(http.post(PATH, content=body, headers=LINES), 422 if "expected" in hint else 400)
        assert hint in document["message"]
        # A blank line counts as one, so that editors show the same numbers.
        assert number == 0 or f"line {number + 1}" in document["message"]
    assert slow.batches == []
    document = refused(http.post(PATH, content=b" \n\n", headers=LINES))
    assert "no line" in document["message"]
    too_many = lines(*[row()] * (MAX_ROWS + 1))
    assert f"more than {MAX_ROWS}" in refused(http.post(PATH, content=too_many, headers=LINES))["message"]


def test_bad_lines_are_answered_one_by_one_if_asked_for(http: httpx.Client) -> None:
    sent: list[bytes] = [lines(row(i)).strip() for i in range(40)]
    bad = {
        0: b"nothing",
        7: b'{"carrier": "UA"}',
        8: lines(row(distance="far")).strip(),
        39: lines(row(tail=1)).strip(),
    }
    for at, text in bad.items():
        sent[at] = text
    answer = http.post(PATH, params={"errors": "lines"}, content=b"\n".join(sent), headers=LINES)
    assert answer.status_code == 200
    answers = [json.loads(text) for text in answer.text.splitlines()]
    assert len(answers) == 40
    assert {i for i, a in enumerate(answers) if "error" in a} == set(bad)
    assert [answers[at]["line"] for at in bad] == [at + 1 for at in bad]
    assert answers[8]["error"]["code"] == "schema_mismatch"
    assert "line 9" in answers[8]["error"]["message"]
    good = [a["score"] for a in answers if "score" in a]
    assert good == scores(http.post(PATH, json={"rows": [row(i) for i in range(40) if i not in bad]}))
    # All are bad: each is answered.
    answer = http.post(PATH, params={"errors": "lines"}, content=b"1\n2\n", headers=LINES)
    assert ["error" in json.loads(text) for text in answer.text.splitlines()] == [True, True]


def test_what_the_query_cannot_say_is_refused(http: httpx.Client) -> None:
    for query, headers in (
        ({"by": "both"}, LINES),
        ({"errors": "ignore"}, LINES),
        ({"as_of": "yesterday"}, LINES),
        ({"as_of": world.AS_OF}, ARROW),
        ({"errors": "lines"}, ARROW),
    ):
        document = refused(http.post(PATH, params=query, content=lines(row()), headers=headers))
        assert document["details"]["field"] == next(iter(query))
    refused(http.post(PATH.replace("flights", "nothing"), content=lines(row()), headers=LINES), 404)


def wrong(name: str, values: Any) -> bytes:
    return ipc({**in_columns([row(1), row(2)]), name: values})


@pytest.mark.parametrize(
    ("body", "status", "hint"),
    [
        (b"", 400, "no Arrow IPC stream"),
        (b"\x00" * 64, 400, "0 rows|no Arrow IPC stream"),
        (ipc(in_columns([row()]))[:-200], 400, "no Arrow IPC stream"),
        (ipc(in_columns([row()]))[:200], 400, "no Arrow IPC stream"),
        (ipc({n: c[:0] for n, c in in_columns([row()]).items()}), 400, "0 rows"),
        (ipc(in_columns([row()] * 5), compression="zstd"), 400, "compressed inside"),
        (ipc({"carrier": pa.nulls(MAX_ROWS + 1)}), 400, f"more than {MAX_ROWS}"),
        (
            ipc({"carrier": pa.nulls(1237)}).replace(struct.pack("<q", 1237), struct.pack("<q", 1 << 40)),
            400,
            f"more than {MAX_ROWS}",
        ),
        (ipc({"tail": pa.array([1])}), 400, "unknown field `tail`"),
        (ipc({"carrier": pa.array(["UA"])}), 400, "is absent"),
        (wrong("distance", pa.array(["far", "near"])), 422, "rows.distance` is string, expected float32"),
        (wrong("carrier", pa.array([1, 2])), 422, "is int64, expected string"),
        (wrong("distance", pa.array([1e300, 1.0])), 400, r"rows\[0\].distance` is out of the range"),
        (wrong("distance", pa.array([1.0, np.inf])), 400, "infinite"),
        (wrong("distance", pa.array([[1.0], [2.0]])), 422, "send floats"),
        (wrong("distance", pa.array([1, 2], pa.timestamp("us"))), 422, "times as int64"),
        (wrong("distance", pa.array([1 << 63, 2], pa.uint64())), 400, "beyond int64"),
    ],
)
def test_arrow_streams_that_are_not_what_the_bundle_asks(
    http: httpx.Client, body: bytes, status: int, hint: str
) -> None:
    document = refused(http.post(PATH, content=body, headers=ARROW), status)
    assert re.search(hint, document["message"]), document["message"]


def test_whole_numbers_and_doubles_do_for_a_float_column(http: httpx.Client) -> None:
    want = scores(http.post(PATH, json={"rows": [row(distance=5), row(distance=None)]}))
    for values in (
        pa.array([5, None], pa.int16()),
        pa.array([5.0, None], pa.float64()),
        pa.array([5.0, np.nan], pa.float16()),
    ):
        columns = {**in_columns([row(), row()]), "distance": values}
        answer = http.post(PATH, content=ipc(columns), headers={**ARROW, "accept": "application/json"})
        assert scores(answer) == pytest.approx(want)
    nothing = {**in_columns([row()]), "distance": pa.nulls(1), "carrier": pa.array([None], pa.large_string())}
    assert scores(http.post(PATH, content=ipc(nothing), headers={**ARROW, "accept": "application/json"}))


def test_damaged_streams_never_break_the_server(http: httpx.Client) -> None:
    """Every byte of a small stream turned, a few at a time: an answer or a refusal, and the next request is answered."""
    good = bytearray(ipc(in_columns([row(1), row(2)])))
    random = np.random.default_rng(1)
    seen = set()
    for _ in range(250):
        body = bytearray(good)
        for at in random.integers(0, len(body), random.integers(1, 4)):
            body[at] = random.integers(0, 256)
        answer = http.post(PATH, content=bytes(body), headers=ARROW)
        seen.add(answer.status_code)
        assert answer.status_code in (200, 400, 422), answer.text
    assert 400 in seen
    assert http.post(PATH, content=bytes(good), headers=ARROW).status_code == 200


def test_a_stream_answers_in_batches_of_as_many_rows_as_come(
    house: tuple[httpx.Client, Slow, world.Served],
) -> None:
    http, slow, _ = house
    n = 3 * predict_bodies.BATCH_ROWS + 5
    assert n > MAX_ROWS  # more than a whole answer may have
    columns = in_columns([row(i % 90) for i in range(n)])
    events = told(http.post(PATH, content=ipc(columns), headers={**ARROW, **EVENTS}))
    assert [name for name, _ in events] == ["predictions"] * 4 + ["end"]
    assert events[-1][1] == {"rows": n}
    assert [e[1]["first"] for e in events[:-1]] == [0, 512, 1024, 1536]
    assert slow.batches == [512, 512, 512, 5]
    assert sum(len(e[1]["predictions"]) for e in events[:-1]) == n


def test_what_is_wrong_from_the_start_has_its_status_and_later_is_an_event(
    house: tuple[httpx.Client, Slow, world.Served],
) -> None:
    http, _, _ = house
    refused(http.post(PATH, content=b"", headers={**LINES, **EVENTS}))
    refused(http.post(PATH, json={"rows": []}, headers=EVENTS))
    refused(http.post(PATH, content=lines(row(tail=1)), headers={**LINES, **EVENTS}))
    refused(http.post(PATH, content=lines(row(), row(distance=99.0)), headers={**LINES, **EVENTS}), 500)
    sent = [row(i % 90) for i in range(600)]
    sent[550] = row(distance=99.0)
    for bad, code in ((row(distance="far"), "schema_mismatch"), (row(distance=99.0), "invariant_violated")):
        sent[550] = bad
        answer = http.post(PATH, content=lines(*sent), headers={**LINES, **EVENTS})
        assert answer.status_code == 200
        events = told(answer)
        assert [name for name, _ in events] == ["predictions", "error"]
        document = events[1][1]
        assert document["code"] == code
        assert document["request_id"] == answer.headers["x-request-id"]
    assert (
        "line 551"
        in told(
            http.post(PATH, content=lines(*sent[:550], row(distance="far")), headers={**LINES, **EVENTS})
        )[1][1]["message"]
    )


def test_batches_come_as_they_are_made_and_stop_when_the_client_leaves(
    house: tuple[httpx.Client, Slow, world.Served],
) -> None:
    http, slow, served = house
    sent = [row(i % 5) for i in range(4 * predict_bodies.BATCH_ROWS)]
    sent[predict_bodies.BATCH_ROWS] = row(distance=13.0)  # the second batch waits
    body = lines(*sent)
    head = (
        f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-type: application/jsonl\r\naccept: text/event-stream\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as s:
        s.sendall(head.encode() + body)
        seen = b""
        while b"event: predictions" not in seen:
            seen += s.recv(65536)
        assert b"event: end" not in seen
        # RST, as a process that is killed leaves.
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    time.sleep(0.3)
    slow.go.set()
    time.sleep(0.3)
    assert slow.batches == [512, 512]  # what ran ended; the rest was not asked
    assert len(scores(http.post(PATH, json={"rows": [row()]}))) == 1


def test_rows_of_every_form_count_against_limits(house: tuple[httpx.Client, Slow, world.Served]) -> None:
    http, _, served = house
    admin = {"authorization": f"Bearer {served.tokens.token_of('admin@local')}"}
    rules = {"version": 1, "rules": [{"endpoint": "flights", "rows_per_day": 9}]}
    assert http.put("/v1/limits", json=rules, headers=admin).status_code == 200
    rows = [row(i) for i in range(4)]
    assert http.post(PATH, content=lines(*rows), headers=LINES).status_code == 200
    assert http.post(PATH, content=ipc(in_columns(rows)), headers=ARROW).status_code == 200
    assert http.post(PATH, content=lines(*rows), headers={**LINES, **EVENTS}).status_code == 200
    answer = http.post(PATH, content=lines(*rows), headers=LINES)
    assert refused(answer, 429)["code"] == "rate_limited"
    assert int(answer.headers["retry-after"]) > 0
