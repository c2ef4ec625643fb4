"""Predictions by the native front: byte for byte what the app says, in the same books, for whatever is asked of both."""

from __future__ import annotations

import contextlib
import json
import math
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import httpx
import hypothesis
import numpy as np
import pytest
import serving_native_world as native_world
import serving_world as world
from hypothesis import strategies as st
from serving_both import Both
from serving_native_world import ROW, body, path, put

from mainspring.core import canonical
from mainspring.core.contracts import inputs, metering
from mainspring.core.contracts.deployment import TrafficTable
from mainspring.native import front
from mainspring.serving import traffic

pytestmark = pytest.mark.integration

MAX_ROWS: Final = 100
ENDPOINTS: Final = ("flights", "canaried", "trees", "derived", "ranged")


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """`canaried` shares its traffic, `derived` has request-time features in Python, `ranged` declares its inputs."""
    directory = tmp_path_factory.mktemp("predict")
    with native_world.serve(directory, max_rows_per_request=MAX_ROWS) as (pair, home):
        one, other = (native_world.write_network(home, seed) for seed in (1, 2))
        derived = native_world.write_network(home, 3, project="tiny-project")
        policy = native_world.POLICY.model_dump_json().encode()
        ranged = native_world.write_network(home, 4, extra_files={inputs.FILE: policy})
        tables = [
            TrafficTable(endpoint="flights", version=1, stable=one),
            TrafficTable(endpoint="canaried", version=1, stable=one, canary=other, canary_percent=40),
            TrafficTable(endpoint="derived", version=1, stable=derived),
            TrafficTable(endpoint="ranged", version=1, stable=ranged),
        ]
        with contextlib.suppress(ImportError):
            tables.append(TrafficTable(endpoint="trees", version=1, stable=native_world.write_trees(home)))
        for table in tables:
            put(pair, table)
        yield pair


def ask(both: Both, endpoint: str, asked: bytes, **fields: str) -> httpx.Response:
    return both.ask(path(endpoint), asked, fields)


E = world.entity
ONE: Final = [E()]
MANY: Final = [
    E(),
    E(origin="LGA", distance=None),
    E(origin="EWR", carrier=None, flight=9),
    E(origin=None, dep_us=-(2**63), distance=1e-30),
    E(carrier="köln", origin="", flight=2**63 - 1, distance=-0.0),
]


@pytest.mark.parametrize("endpoint", ["flights", "canaried", "trees"])
@pytest.mark.parametrize(
    "asked",
    [
        body(entities=ONE, as_of=world.AS_OF),
        body(entities=MANY, as_of=world.AS_OF),
        body(entities=MANY, as_of="2013-12-01T12:13:20.000001Z"),
        body(entities=MANY, as_of="2013-12-01T13:13:19.5Z", overrides={}),
        body(entities=ONE, as_of="1970-01-01T00:00:00Z", rows=None),
        body(entities=MANY, as_of="9999-12-31T23:59:59.999999Z"),
        body(entities=MANY, as_of=world.AS_OF, overrides={"origin_stats__mean_delay": 3, "origin_stats__weather": "fog"}),
        body(entities=MANY, as_of=world.AS_OF, overrides={"distance": None, "dep_us": 7, "flight_stats__mean_delay": 1e9}),
        body(entities=MANY, as_of=world.AS_OF, overrides={"origin_stats__weather": None, "flight_stats__mean_delay": None}),
        body(rows=[ROW]),
        body(rows=[ROW, ROW | {"distance": 0.1, "origin_stats__weather": 'Zürich 😀', "dep_us": -3}] * 3),
        body(rows=[ROW], entities=None, as_of=None, overrides={}),
        body(rows=[ROW | {"distance": 2**64 - 1}, ROW | {"distance": 10**30}, ROW | {"distance": -1e-5}]),
        b' {\n"rows" : [{"carrier":"k\\u00f6ln","dep_us":-3 , "distance":-0,"flight_stats__mean_delay":1E2,'
        b'"origin_stats__mean_delay": null,"origin_stats__weather":"\\ud83d\\ude00"\t}\r]}',
    ],
)  # fmt: skip
def test_what_is_usual_is_answered_by_the_front(both: Both, endpoint: str, asked: bytes) -> None:
    if endpoint == "trees":
        pytest.importorskip("lightgbm")
    before = both.answered_by_the_front()
    answer = ask(both, endpoint, asked)
    assert answer.status_code == 200, answer.text
    # Which bundle answers depends on how Python writes a text, of which the front knows ASCII's.
    if endpoint != "canaried" or (asked.isascii() and b"\\u" not in asked):
        assert both.answered_by_the_front() == before + 1
    answers = answer.json()["predictions"]
    known = json.loads(asked)
    assert len(answers) == len(known.get("entities") or known["rows"])


def test_ages_are_of_now_where_no_time_is_asked(both: Both) -> None:
    before = both.answered_by_the_front()
    ours = both.front.post(path("flights"), content=body(entities=ONE)).json()["predictions"][0]
    since = time.time() - (world.NOW_US - world.HOUR_US) / 1e6
    assert ours["feature_status"] == {"origin_stats": "outside_max_age", "flight_stats": "present"}
    for age in ours["feature_age_seconds"].values():
        assert since - 60 < age <= since
    assert both.answered_by_the_front() == before + 1


@pytest.mark.parametrize(
    ("endpoint", "asked", "fields", "status"),
    [
        ("flights", body(entities=[]), {}, 400),
        ("flights", body(rows=[]), {}, 400),
        ("flights", body(), {}, 400),
        ("flights", body(entities=ONE, rows=[ROW]), {}, 400),
        ("flights", body(rows=[ROW], overrides={"distance": 1}), {}, 400),
        ("flights", body(entities=ONE, overrides=None), {}, 400),
        ("flights", body(entities=ONE, overrides={"carrier": "UA"}), {}, 400),
        ("flights", body(entities=ONE, overrides={"nothing": 1}), {}, 400),
        ("flights", body(entities=ONE, overrides={"dep_us": 1.0}), {}, 422),
        ("flights", body(entities=ONE, overrides={"distance": 1e39}), {}, 400),
        # A double that no float32 holds is an infinity to the plan, and the score none.
        ("flights", body(entities=ONE, overrides={"flight_stats__mean_delay": 1e300}), {}, 500),
        ("flights", body(entities=ONE, as_of="2013-12-01"), {}, 400),
        ("flights", body(entities=ONE, as_of="2013-02-29T00:00:00Z"), {}, 400),
        ("flights", body(entities=ONE, as_of="2013-12-01T00:00:00"), {}, 400),
        ("flights", body(entities=ONE, as_of="2013-12-01T13:13:20+01:00"), {}, 200),
        ("flights", body(entities=ONE, as_of=1385900000), {}, 200),
        ("flights", body(entities=ONE, more=1), {}, 400),
        ("flights", body(entities=ONE * (MAX_ROWS + 1)), {}, 400),
        ("flights", body(entities=[E(more=1)]), {}, 400),
        ("flights", body(entities=[{"origin": "JFK"}]), {}, 400),
        ("flights", body(entities=[E(origin=1)]), {}, 422),
        ("flights", body(entities=[E(flight=None)]), {}, 422),
        ("flights", body(entities=[E(flight=1.0)]), {}, 422),
        ("flights", body(entities=[E(distance=True)]), {}, 422),
        ("flights", body(entities=[E(distance="1")]), {}, 422),
        ("flights", body(entities=[E(distance=1e39)]), {}, 400),
        ("flights", body(entities=[E(flight=2**63)]), {}, 400),
        ("flights", body(rows=[ROW]).replace(b"UA", b"\xff"), {}, 400),
        ("flights", body(rows=[ROW]).replace(b"UA", b"\\ud800"), {}, 400),
        ("flights", b"", {}, 400),
        ("flights", b"[]", {}, 400),
        ("flights", body(entities=ONE), {"x-deadline-ms": "soon"}, 400),
        ("flights", body(entities=ONE, as_of=world.AS_OF), {"content-encoding": "br"}, 400),
        ("derived", body(entities=ONE, as_of=world.AS_OF), {}, 200),
        ("nobody", body(entities=ONE), {}, 404),
        ("ranged", body(entities=[E(distance=1001.0)], as_of=world.AS_OF), {}, 200),
        ("ranged", body(entities=[E(distance=-0.5)], as_of=world.AS_OF), {}, 200),
        ("ranged", body(entities=[E(dep_us=-6)], as_of=world.AS_OF), {}, 200),
        ("ranged", body(entities=[E(carrier=None)], as_of=world.AS_OF), {}, 400),
        ("ranged", body(entities=[E(carrier="")], as_of=world.AS_OF), {}, 400),
        ("ranged", body(rows=[ROW | {"flight_stats__mean_delay": 11}]), {}, 400),
        ("ranged", body(rows=[ROW | {"flight_stats__mean_delay": None}]), {}, 400),
        ("ranged", body(entities=ONE, as_of=world.AS_OF, overrides={"flight_stats__mean_delay": 10.000001}), {}, 400),
    ],
)  # fmt: skip
def test_what_is_wrong_or_unusual_is_the_apps_to_answer(
    both: Both, endpoint: str, asked: bytes, fields: dict[str, str], status: int
) -> None:
    before, passed = both.answered_by_the_front(), both.served.front.counts()["passed"]
    assert ask(both, endpoint, asked, **fields).status_code == status
    assert both.answered_by_the_front() == before
    assert both.served.front.counts()["passed"] == passed + 1


@pytest.mark.parametrize(
    ("endpoint", "asked"),
    [
        ("derived", body(rows=[ROW])),
        ("ranged", body(entities=[E(distance=1000.0)], as_of=world.AS_OF)),
        ("ranged", body(rows=[ROW | {"flight_stats__mean_delay": 10, "origin_stats__mean_delay": 99}])),
        ("ranged", body(rows=[ROW | {"flight_stats__mean_delay": 10, "distance": 0, "dep_us": -5}])),
    ],
)
def test_what_a_policy_accepts_and_rows_that_nothing_is_derived_of_are_the_fronts(
    both: Both, endpoint: str, asked: bytes
) -> None:
    before = both.answered_by_the_front()
    assert ask(both, endpoint, asked).status_code == 200
    assert both.answered_by_the_front() == before + 1


def test_whose_credentials_are_not_a_known_key_is_the_apps(both: Both) -> None:
    before = both.answered_by_the_front()
    asked = body(entities=ONE, as_of=world.AS_OF)
    assert ask(both, "flights", asked, **native_world.token(both)).status_code == 200
    ask(both, "flights", asked, **{"x-api-key": "nobody"})
    assert both.answered_by_the_front() == before


@pytest.mark.parametrize(
    ("fields", "is_the_fronts"),
    [
        ({}, True),
        ({"accept": "application/json", "content-type": "Application/JSON; charset=utf-8"}, True),
        ({"x-deadline-ms": "1000"}, True),
        ({"accept-encoding": "gzip"}, True),
        ({"accept": "application/jsonl"}, False),
        ({"accept": "application/json, application/vnd.apache.arrow.stream"}, False),
        ({"accept": "text/html, application/json"}, False),
        ({"content-type": "application/x-ndjson"}, False),
        ({"content-type": "application/vnd.apache.arrow.stream"}, False),
        ({"content-type": "text/plain"}, False),
        ({"x-mainspring-role": "canary"}, False),
        ({"x-mainspring-bundle": "sha256:0"}, False),
        ({"inference-header-content-length": "5"}, True),
    ],
)
def test_every_field_is_read_alike(both: Both, fields: dict[str, str], is_the_fronts: bool) -> None:
    if "arrow" in str(fields):
        pytest.importorskip("pyarrow")
    before = both.answered_by_the_front()
    ask(both, "flights", body(entities=ONE, as_of=world.AS_OF), **fields)
    assert both.answered_by_the_front() == before + is_the_fronts


def test_events_and_queries_are_the_apps(both: Both) -> None:
    before = both.answered_by_the_front()
    asked = body(entities=ONE, as_of=world.AS_OF)
    answer = both.front.post(path("flights"), content=asked, headers={"accept": "text/event-stream"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = {"content-type": "application/jsonl"}
    row = json.dumps(ROW).encode() + b"\n"
    assert both.ask(path("flights") + "?by=row", row, lines).status_code == 200
    assert both.answered_by_the_front() == before


strings = st.sampled_from(
    ["UA", "AA", "JFK", "LGA", "", "köln", "a'b", 'a"b', "a'\"\\", "\t", "Zürich 😀", None]
)
floats = st.one_of(
    st.none(),
    st.integers(-(2**70), 2**70),
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.floats(-1e39, 1e39),
    st.sampled_from([0.0, -0.0, 1e16, 1e15, 123456789.0, 1e-4, 1e-5, 1e22, 0.1]),
)
whole = st.one_of(
    st.sampled_from([7, -3, world.NOW_US, 0, -(2**63), 2**63 - 1]), st.integers(-(2**64), 2**64)
)
anything = st.one_of(strings, floats, whole, st.booleans(), st.just([1]))
SENT: Final = {"origin": strings, "carrier": strings, "flight": whole, "distance": floats, "dep_us": whole}
READ: Final = {
    "origin_stats__mean_delay": floats,
    "flight_stats__mean_delay": floats,
    "dep_us": whole,
    "distance": floats,
    "carrier": strings,
    "origin_stats__weather": strings,
}
OVERRIDES: Final = {k: v for k, v in {**READ, "distance": floats}.items() if k != "carrier"}
times = st.sampled_from(
    [
        world.AS_OF, world.AS_OF, "2013-12-01T13:13:20Z", "2013-12-01T13:13:20.1Z", "2016-02-29T23:59:59.999999Z",
        "2013-12-01T11:13:19.999999Z", "2100-02-29T00:00:00Z", "1969-12-31T23:59:59Z", "2013-12-01t12:13:20z",
        "2013-12-01T24:00:00Z", "2013-12-01T12:13:60Z", "2013-12-01T12:13Z", "2013-12-01T12:13:20.1234567Z", 0, 1e9, None,
    ]
)  # fmt: skip


@st.composite
def questions(draw: st.DrawFn) -> dict[str, Any]:
    """Most are right. Some are wrong in one place."""
    by_entity = draw(st.booleans())
    columns = SENT if by_entity else READ
    names = draw(st.permutations([*columns]))
    n = draw(st.integers(1, 4))
    rows = [{name: draw(columns[name]) for name in names} for _ in range(n)]
    asked: dict[str, Any] = {"entities" if by_entity else "rows": rows, "as_of": world.AS_OF}
    if by_entity and draw(st.booleans()):
        chosen = draw(st.lists(st.sampled_from([*OVERRIDES]), unique=True, max_size=3))
        asked["overrides"] = {name: draw(OVERRIDES[name]) for name in chosen}
    if draw(st.booleans()):
        asked["as_of"] = draw(times)
    match draw(st.integers(0, 9)):
        case 0:
            rows[-1][draw(st.sampled_from([*names, "more", "é"]))] = draw(anything)
        case 1:
            del rows[0][names[0]]
        case 2:
            asked[draw(st.sampled_from(["rows", "entities", "overrides", "x"]))] = draw(
                st.one_of(anything, st.just([]), st.just({}), st.just([{}]))
            )
        case _:
            pass
    return asked


@hypothesis.settings(max_examples=800, deadline=None)
@hypothesis.given(
    endpoint=st.sampled_from(["flights", "canaried", "canaried", "trees", "ranged"]),
    asked=questions(),
    is_ascii=st.booleans(),
)
def test_every_question_is_answered_alike(
    both: Both, endpoint: str, asked: dict[str, Any], is_ascii: bool
) -> None:
    if asked.get("as_of") is None:  # the two are asked at two times
        asked["as_of"] = world.AS_OF
    ask(both, endpoint, json.dumps(asked, ensure_ascii=is_ascii, allow_nan=False).encode())


PIECES: Final = (
    *(b"[", b"]", b"{", b"}", b",", b":", b'"', b"0", b"-", b"1e9", b"\xff", b"\0", b"\\", b"\\u00e9", b"\\ud800"),
    *(b"null", b"true", b'"x"', b'"distance"', b" ", b"\xc3\xa9", b"\xed\xa0\x80"),
)  # fmt: skip
QUESTION: Final = body(
    entities=[E(), E(origin="köln")], as_of=world.AS_OF, overrides={"origin_stats__mean_delay": 1.25}
)


def _is_of_now(asked: bytes) -> bool:
    try:
        parsed = json.loads(asked)
    except ValueError:
        return False
    return isinstance(parsed, dict) and parsed.get("as_of") is None


@hypothesis.settings(max_examples=600, deadline=None)
@hypothesis.given(data=st.data())
def test_every_mutation_is_answered_alike(both: Both, data: st.DataObject) -> None:
    """Truncated, cut and spliced bodies. Without the time the two are asked at two times: they are left out."""
    asked = bytearray(QUESTION)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(asked)))
        match data.draw(st.integers(0, 3)):
            case 0:
                del asked[at:]
            case 1:
                del asked[at : at + data.draw(st.integers(1, 12))]
            case 2:
                asked[at:at] = data.draw(st.sampled_from(PIECES))
            case _:
                asked[at : at + 1] = data.draw(st.sampled_from(PIECES))
    hypothesis.assume(not _is_of_now(bytes(asked)))
    ask(both, "flights", bytes(asked))


@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(
    values=st.lists(st.tuples(st.floats(width=32), st.floats(), st.text(max_size=8)), min_size=1, max_size=6)
)
def test_every_stored_value_is_taken_alike(both: Both, values: Sequence[tuple[float, float, str]]) -> None:
    """A batch is pushed and asked for at once."""
    n, store = len(values), both.served.online
    delays, averages, texts = zip(*values, strict=True)
    words = [text.encode("utf-8", "replace").decode() for text in texts]
    at = np.full(n, world.NOW_US - 1)
    store.upsert(
        "origin_stats", {"origin": [f"o{i}" for i in range(n)]}, event_us=at, created_us=at,
        columns={"mean_delay": np.array(delays, np.float32), "weather": words},
    )  # fmt: skip
    store.upsert(
        "flight_stats", {"carrier": ["X"] * n, "flight": range(n)}, event_us=at, created_us=at,
        columns={"mean_delay": [None if math.isnan(v) else v for v in averages]},
    )  # fmt: skip
    entities = [E(origin=f"o{i}", carrier="X", flight=i) for i in range(n)]
    for endpoint in ("flights", "canaried"):
        ask(both, endpoint, body(entities=entities, as_of=world.AS_OF))


def test_the_choice_is_the_routers_for_every_key() -> None:
    digests = [canonical.digest(i) for i in range(2)]
    for percent in (1, 37, 50, 99):
        table = TrafficTable(
            endpoint="flights", version=1, stable=digests[0], canary=digests[1], canary_percent=percent
        )
        for i in range(25_000):
            key = f"[['{i}é'], [{i * i}]]" + "x" * (i % 70)
            expected = traffic.route(table, key)[1] == traffic.CANARY
            assert front.goes_to_canary("flights", key, percent) is expected, key


def test_the_choice_is_the_apps_for_all_values(both: Both) -> None:
    """Texts and numbers in one-row requests and in longer ones; of 300 floats a request each digit counts."""
    before, roles = both.answered_by_the_front(), []
    for i in range(400):
        asked = [E(origin=f"o{i}'", carrier='"' * (i % 3), flight=i * j) for j in range(1 + i % 5)]
        roles.append(ask(both, "canaried", body(entities=asked, as_of=world.AS_OF)).json()["role"])
    for i in range(200):
        row = ROW | {"distance": [i, i / 7, i * 1e15, i * 1e-6][i % 4]}
        roles.append(ask(both, "canaried", body(rows=[row])).json()["role"])
    generator = np.random.default_rng(5)
    names = [name for name in ROW if "delay" in name or name == "distance"]
    for _ in range(100):
        values = generator.normal(size=(MAX_ROWS, 3)) * 10.0 ** generator.integers(-30, 30, (MAX_ROWS, 3))
        rows = [ROW | dict(zip(names, row, strict=True)) for row in values.tolist()]
        roles.append(ask(both, "canaried", body(rows=rows)).json()["role"])
    n = len(roles)
    assert both.answered_by_the_front() == before + n
    assert 0.3 < roles.count("canary") / n < 0.5
    assert roles.count("canary") + roles.count("stable") == n


def stats(both: Both, endpoint: str) -> dict[str, Any]:
    answer: dict[str, Any] = both.front.get(f"/v1/endpoints/{endpoint}/stats").json()
    return answer


def test_one_book_has_what_both_answered(tmp_path: Path) -> None:
    with native_world.serve(tmp_path) as (both, home):
        digests = [native_world.write_network(home, seed) for seed in (1, 2)]
        put(both, TrafficTable(endpoint="flights", version=1, stable=digests[0]))
        asked = body(entities=MANY, as_of=world.AS_OF)
        answers = [both.front.post(path("flights"), content=asked) for _ in range(30)]
        answers += [both.app.post(path("flights"), content=asked) for _ in range(3)]
        (seen,) = stats(both, "flights")["bundles"]
        assert (seen["requests"], seen["rows"], seen["errors"], seen["role"]) == (33, 33 * 5, 0, "stable")
        mean = np.mean([p["score"] for a in answers for p in a.json()["predictions"]])
        assert seen["mean_score"] == pytest.approx(mean, rel=1e-12)
        assert 0 < seen["latency_p50_ms"] <= seen["latency_p99_ms"]
        assert both.served.front.predictions()[0].requests == 30

        put(
            both,
            TrafficTable(
                endpoint="flights", version=2, stable=digests[0], canary=digests[1], canary_percent=50
            ),
        )
        assert stats(both, "flights")["bundles"] == []  # the window began anew
        for i in range(40):
            both.front.post(path("flights"), content=body(entities=[E(flight=i)], as_of=world.AS_OF))
        seen = {b["role"]: b for b in stats(both, "flights")["bundles"]}
        assert seen["stable"]["requests"] + seen["canary"]["requests"] == 40
        assert seen["canary"]["bundle_digest"] == digests[1]
        text = both.front.get("/metrics").text
        assert 'mainspring_front_predictions_total{endpoint="flights"} 70.0' in text


def test_traffic_is_in_force_before_who_set_it_is_answered(tmp_path: Path) -> None:
    with native_world.serve(tmp_path) as (both, home):
        digests = [native_world.write_network(home, seed) for seed in (1, 2)]
        asked = body(entities=ONE, as_of=world.AS_OF)
        assert ask(both, "flights", asked).status_code == 404
        for version in range(1, 8):
            digest = digests[version % 2]
            put(both, TrafficTable(endpoint="flights", version=version, stable=digest))
            before = both.answered_by_the_front()
            assert ask(both, "flights", asked).json()["model_version"] == digest
            assert both.answered_by_the_front() == before + 1
        # A shadow sees every request, which is the app's to send.
        put(both, TrafficTable(endpoint="flights", version=8, stable=digests[0], shadow=digests[1]))
        before = both.answered_by_the_front()
        assert ask(both, "flights", asked).json()["model_version"] == digests[0]
        assert both.answered_by_the_front() == before


def test_every_answer_under_changing_traffic_is_one_of_the_two_and_counted_once(tmp_path: Path) -> None:
    used: list[metering.ServingUsage] = []
    with native_world.serve(tmp_path, send_usage=used.extend, usage_report_seconds=0.05) as (both, home):
        digests = [native_world.write_network(home, seed) for seed in (1, 2)]
        put(both, TrafficTable(endpoint="flights", version=1, stable=digests[0]))
        asked, stop = body(entities=MANY, as_of=world.AS_OF), threading.Event()
        expected = {}
        for version, digest in enumerate(digests, 2):
            put(both, TrafficTable(endpoint="flights", version=version, stable=digest))
            expected[digest] = both.app.post(path("flights"), content=asked).json()["predictions"]
        answered = [0, 0]

        def ask_on(i: int) -> None:
            with httpx.Client(base_url=both.served.url, trust_env=False) as client:
                while not stop.is_set():
                    answer = client.post(path("flights"), content=asked).json()
                    assert answer["predictions"] == expected[answer["model_version"]]
                    answered[i] += 1

        threads = [threading.Thread(target=ask_on, args=(i,)) for i in range(2)]
        for thread in threads:
            thread.start()
        for version in range(4, 24):
            put(both, TrafficTable(endpoint="flights", version=version, stable=digests[version % 2]))
            time.sleep(0.01)
        stop.set()
        for thread in threads:
            thread.join()
        assert min(answered) > 0
        by_front = both.answered_by_the_front()
    assert by_front == sum(answered)
    # Windows are closed one after the other, the last one at the end: nothing is lost, nothing counted twice.
    assert sum(one.requests for one in used) == sum(answered) + 2
    assert sum(one.predictions for one in used) == 5 * (sum(answered) + 2)
    assert {one.caller for one in used} == {"anonymous"}
    assert {one.project for one in used} == {"plain-project"}
    assert sum(one.cpu_microseconds for one in used) > 0


@pytest.mark.parametrize(
    "serving",
    [
        {"record_reads": 0.5},
        {"extraction_min_rows": 1000},
        {"log_predictions": 0.5},
        {"bundle_memory_bytes": 1 << 30},
        {"require_token": True},
        {"log_requests": True},
    ],
)
def test_what_only_the_app_can_keep_track_of_is_passed_on(tmp_path: Path, serving: dict[str, Any]) -> None:
    if "log_predictions" in serving:
        pytest.importorskip("pyarrow")
    with native_world.serve(tmp_path, **serving) as (both, home):
        put(both, TrafficTable(endpoint="flights", version=1, stable=native_world.write_network(home, 1)))
        ask(both, "flights", body(entities=ONE, as_of=world.AS_OF))
        ask(both, "flights", body(rows=[ROW]))
        assert both.answered_by_the_front() == 0


def test_pinned_endpoints_are_answered_whatever_the_budget(tmp_path: Path) -> None:
    with native_world.serve(tmp_path, bundle_memory_bytes=1 << 30, pinned_endpoints="a, flights") as (
        both,
        home,
    ):
        put(both, TrafficTable(endpoint="flights", version=1, stable=native_world.write_network(home, 1)))
        assert ask(both, "flights", body(rows=[ROW])).status_code == 200
        assert both.answered_by_the_front() == 1
